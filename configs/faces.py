"""Rendered faces, 64x64, with known factors: no download.

Does c hold what belongs to the attribute, and nothing else? The faces are drawn from 20 factors by
`ivg.data.faces`. The attribute is glasses; --config.attributes=glasses,beard takes both. Label
frequencies, ranges and correlations can be set: --config.data.priors=glasses:0.33
--config.data.correlations=glasses:hair_colour:0.8. Methods of Kim's MMVAE thesis (2019): `mmvae`
(default), `:csvae`, `:r_cvae`.

Made for a CPU: a quarter of the thesis' width, z of 64, smaller networks for information with a
hundred times its learning rate, since a run has an eightieth of its steps, and a weight on c's
divergence that starts at 10 (see `ivg.methods.r_cvae`). About ten minutes on one core, scores
included. `python -m experiments.mmvae_table2 --preset=paper` has the thesis' sizes.
"""

from ivg.configs import base


def get_config(method: str = "mmvae"):
    """The configuration; `method` is the suffix after the colon."""
    config = base.get_config(method)
    config.data.name = "faces"
    config.data.image_size = 64
    config.data.in_memory = "yes"  # rendered once, some seconds; "auto" draws each batch anew
    config.num_steps = 3_000  # 4.8 epochs of 40,000 images
    config.eval_every = 500
    config.log_every = 50
    base.set_faces(config, method, dim_r=15, beta=0.35, ngf=64, ndf=64)
    config.attributes = ("glasses",)
    if method in base.ATTRIBUTE_METHODS:
        own = config[method]
        config.batch_size = 64
        config.attribute_scores.classifier_steps = 300
        own.network.width = 0.25
        own.dim_z = 64
        own.kl_c_start, own.kl_c_steps = 10.0, 1_000
        if "statistics" in own:
            own.statistics = dict(width=128, depth=3)
        for player in own.optimizer:
            own.optimizer[player].learning_rate = 1e-3
    return config
