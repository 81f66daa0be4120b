"""CelebA-Glasses, 64x64: eyeglasses, twice as many without.

Kim, 2019: all images of CelebA with eyeglasses, and twice as many without. --config.data.dir names
a tfds directory, or a zip or folder with CelebA's own files, as for configs/celeba.py. Of full
CelebA 13,193 + 26,386 images, H(y) = 0.918 bits, 30,000 of them for training. `mmvae` (default),
`:csvae`, `:r_cvae` train as in the thesis, for 1,000 epochs, but are scored by smaller networks;
`python -m experiments.mmvae_table2 --preset=paper` takes the thesis'. Its Table 2: I(c; y) 0.908,
I(z; y) 0.175, I(z; c) 0.400 bits; Table 3: 97.17 % of attributes swapped. Another attribute:
--config.attributes=Wearing_Hat. A GPU is wanted; `--preset=cpu` there, with --data=celeba_glasses,
takes the sizes of configs/faces.py.
"""

from ivg.configs import base


def get_config(method: str = "mmvae"):
    """The configuration; `method` is the suffix after the colon."""
    config = base.get_config(method)
    config.data.name = "celeba_glasses"
    config.data.image_size = 64
    config.num_steps = 234_000  # 1,000 epochs of 30,000 images
    config.eval_every = 10_000
    base.set_faces(config, method, dim_r=15, beta=0.35, ngf=64, ndf=64)
    if method not in base.ATTRIBUTE_METHODS:
        config.attributes = ("Eyeglasses",)
    return config
