"""Handwritten digits, 8x8, 1,797 images that come with scikit-learn: no download needed."""

from configs import base


def get_config(method: str = "infovaegan_invariant"):
    """The configuration; `method` is the suffix after the colon."""
    config = base.get_config(method)
    config.data.name = "digits"
    config.num_steps = 6_000
    config.steps_per_dispatch = 50  # perceptrons may be scanned on a CPU; convolutions must not be
    config.checkpoint_every = 1_000
    config.eval_every = 1_000
    own = config[method]
    own.network = dict(name="mlp", width=256, generator_norm="none", encoder_norm="batch")
    own.dim_z = 8
    own.dim_c = 2
    for player in own.optimizer:
        own.optimizer[player].learning_rate = 5e-4
    if method == "infovaegan_invariant":
        own.optimizer.q_d.learning_rate = 1e-3
        own.translation = 0.5  # pixels of an 8x8 image
        own.rotation = 15.0
        own.shear = 0.2
        own.scale = 0.15
    return config
