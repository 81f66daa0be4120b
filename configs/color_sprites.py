"""Sprites in a random colour at every access, 64x64.

The images are re-rendered dSprites. --config.data.coloring=ibgan (default) multiplies each channel
by one of 8 levels from 0 to 1, as IB-GAN's code does; dlib draws each channel from U(0.5, 1), as
disentanglement_lib does. Paper: Jeon et al., AAAI 2021, Table 1: GAN 0.35, InfoGAN 0.55, IB-GAN
0.79 at beta 0.071; the code's README gives 500,000 steps, the paper's figures 150,000.
"""

from ivg.configs import sprites


def get_config(method: str = "ibgan"):
    """The configuration; `method` is the suffix after the colon."""
    config = sprites.get_config(method)
    config.data.name = "color_sprites"
    if method == "ibgan":
        config.ibgan.beta = 0.071
        config.num_steps = 500_000
    return config
