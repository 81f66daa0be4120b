"""Fashion-MNIST, 28x28, through tfds.

The settings of MNIST, not tuned; no result is claimed.
"""

from ivg.configs import mnist


def get_config(method: str = "infovaegan_invariant"):
    """The configuration; `method` is the suffix after the colon."""
    config = mnist.get_config(method)
    config.data.name = "fashion_mnist"
    if method == "jointvae":  # its released code's
        config.jointvae.update(gamma=100.0, capacity_d=10.0, capacity_steps=50_000)
    return config
