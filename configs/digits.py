"""Handwritten digits, 8x8, 1,797 images that come with scikit-learn: no download, minutes on a CPU."""

from configs import base


def get_config(method: str = "infovaegan"):
    """The configuration; `method` is the suffix after the colon."""
    config = base.get_config(method)
    config.data.name = "digits"
    config.num_steps = 4_000
    config.steps_per_dispatch = 50  # perceptrons may be scanned on a CPU; convolutions must not be
    config.checkpoint_every = 1_000
    config.eval_every = 1_000
    own = config[method]
    own.network = dict(name="mlp", width=256)
    own.dim_z = 8
    own.dim_c = 2
    return config
