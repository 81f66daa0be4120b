"""Digits of scikit-learn, 8x8: no download.

1,797 handwritten digits. The default method is our extension `infovaegan_invariant`: one-to-one
clustering accuracy of about 0.92 on the 360 test images, where k-means on the pixels has 0.79, in
about a minute on two CPU cores. The paper's own method is `--config=configs/digits.py:infovaegan`.
experiments/README.md has both.
"""

from ivg.configs import autoencoders, base


def get_config(method: str = "infovaegan_invariant"):
    """The configuration; `method` is the suffix after the colon."""
    config = base.get_config(method)
    config.data.name = "digits"
    config.num_steps = 6_000
    config.steps_per_dispatch = 50  # perceptrons may be scanned on a CPU; convolutions must not be
    config.eval_every = 1_000
    own = config[method]
    if method in base.INFORMATION_GANS:
        own.network = dict(name="mlp", width=256)
        base.set_known(own, dim_z=16, noise_steps=4_000, cr_start=4_000)
    elif method in base.AUTOENCODERS:
        autoencoders.set_data(config, method, "digits")
    elif method not in base.ATTRIBUTE_METHODS:
        own.network = dict(name="mlp", width=256, generator_norm="batch")
        if method != "wgan_gp":
            own.network.encoder_norm = "batch"
        base.set_known(own, dim_z=16 if method == "ali" else 8, dim_c=2)
    for player in () if method in base.AUTOENCODERS else own.optimizer:
        own.optimizer[player].learning_rate = 5e-4
    if method == "infovaegan_invariant":
        own.num_critic = 3
        own.optimizer.q_d.learning_rate = 1e-3
        own.rotation, own.scale, own.shear = 15.0, 0.15, 0.2
        own.translation = 0.5  # pixels of an 8x8 image
    return config
