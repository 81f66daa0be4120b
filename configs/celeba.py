"""CelebA, 64x64, centre crop of 128 pixels as in the InfoVAEGAN paper's code."""

from configs import base


def get_config(method: str = "infovaegan"):
    """The configuration; `method` is the suffix after the colon."""
    config = base.get_config(method)
    config.data.name = "celeb_a"
    config.data.image_size = 64
    own = config[method]
    own.network = dict(name="infovaegan64", width=1.0)
    own.dim_z = 100
    own.dim_c = 10
    return config
