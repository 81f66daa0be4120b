"""DeepMind's own dSprites, where tfds has prepared it.

Everything else is as in configs/sprites.py.
"""

from ivg.configs import sprites


def get_config(method: str = "ibgan"):
    """The configuration; `method` is the suffix after the colon."""
    config = sprites.get_config(method)
    config.data.name = "dsprites"
    return config
