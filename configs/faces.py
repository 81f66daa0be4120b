"""Rendered faces, 64x64, whose every factor is known: does c hold what belongs to the attribute?

No download: the faces are drawn from 20 factors by `ivg.data.faces`. The attribute is glasses;
--config.attributes=glasses,beard takes both. Label frequencies, ranges and correlations can be set:
--config.data.priors=glasses:0.33 --config.data.correlations=glasses:hair_colour:0.8. Methods of
Kim's MMVAE thesis (2019): `mmvae` (default), `:csvae`, `:r_cvae`, with its networks and weights.

A GPU is wanted at full width. Two CPU cores: --config.mmvae.network.width=0.5
--config.mmvae.dim_z=64 --config.mmvae.statistics.width=128 --config.mmvae.statistics.depth=3
--config.attribute_scores.mine_width=128 --config.attribute_scores.mine_depth=3.
"""

from configs import base


def get_config(method: str = "mmvae"):
    """The configuration; `method` is the suffix after the colon."""
    config = base.get_config(method)
    config.data.name = "faces"
    config.data.image_size = 64
    config.num_steps = 31_250  # 100 epochs of 40,000 images; the thesis trains 1,000 on CelebA
    config.eval_every = 3_125
    base.set_faces(config, method, dim_r=15, beta=0.35, ngf=64, ndf=64)
    config.attributes = ("glasses",)
    return config
