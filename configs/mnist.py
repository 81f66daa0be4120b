"""MNIST, 28x28, through tfds."""

from configs import base


def get_config(method: str = "infovaegan"):
    """The configuration; `method` is the suffix after the colon."""
    config = base.get_config(method)
    config.data.name = "mnist"
    return config
