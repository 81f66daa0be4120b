"""CelebA, 64x64, cropped as in InfoVAEGAN's code.

The centre crop is of 128 pixels. --config.data.dir names a tfds directory, or a zip or folder with
CelebA's own files (`img_align_celeba`, `list_attr_celeba.txt`). Paper: Ye & Bors, ICIP 2021, 10
continuous codes and K = 10; its FID is a chart without numbers. `:ibgan` is Jeon et al., AAAI 2021:
15 codes, beta 0.35, 1,000,000 steps. The published networks want a GPU; on two CPU cores
--config.infovaegan.network.width=0.125 --config.infovaegan.num_critic=1 takes one to two seconds a
step (300 steps give skin-coloured blobs, not yet faces).
"""

from ivg.configs import base


def get_config(method: str = "infovaegan"):
    """The configuration; `method` is the suffix after the colon."""
    config = base.get_config(method)
    config.data.name = "celeb_a"
    config.data.image_size = 64
    config.log_every = 50
    if method in base.INFORMATION_GANS:
        config.num_steps = 90_000 if method == "infogan_cr" else 1_000_000
    base.set_faces(config, method, dim_r=15, beta=0.35, ngf=64, ndf=64)
    return config
