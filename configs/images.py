"""Your own images: --config.data.dir=FOLDER_OR_ZIP, any sizes, cropped square and made 64x64."""

from configs import celeba


def get_config(method: str = "infovaegan"):
    """The configuration; `method` is the suffix after the colon."""
    config = celeba.get_config(method)
    config.data.name = "images"
    return config
