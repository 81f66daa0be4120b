"""3D Chairs, 64x64 grey, from the extracted archive.

Aubry's chairs: --config.data.dir=rendered_chairs. Centre crop of 400 pixels, then resized. Settings
of IB-GAN's released code (Jeon et al., AAAI 2021): beta 0.325, shared trunk, 700,000 steps, ngf 32
and ndf 16 (its README says ndf 32, but the code overrides that). A GPU is wanted.
"""

from ivg.configs import base


def get_config(method: str = "ibgan"):
    """The configuration; `method` is the suffix after the colon."""
    config = base.get_config(method)
    config.data.name = "chairs"
    config.data.image_size = 64
    config.data.channels = 1
    config.num_steps = 700_000
    config.eval_every = 10_000
    base.set_faces(config, method, dim_r=10, beta=0.325, ngf=32, ndf=16)
    return config
