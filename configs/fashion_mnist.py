"""Fashion-MNIST, 28x28, through tfds: the settings of MNIST, not tuned; no result is claimed."""

from configs import mnist


def get_config(method: str = "infovaegan_invariant"):
    """The configuration; `method` is the suffix after the colon."""
    config = mnist.get_config(method)
    config.data.name = "fashion_mnist"
    return config
