"""Your own images: --config.data.dir=FOLDER_OR_ZIP.

Of any sizes; they are cropped square and made 64x64. Labels are optional: `labels.csv` (a header
row; file names first; a column `label` for classes, every other column an attribute of 1, 0 or -1),
CelebA's `list_attr_celeba.txt`, or one subfolder per class. README.md beside this file says what is
read and what refused; --config.data.bad_images=skip leaves bad files out. The networks are those of
CelebA; see there for a CPU.
"""

from ivg.configs import celeba


def get_config(method: str = "infovaegan"):
    """The configuration; `method` is the suffix after the colon."""
    config = celeba.get_config(method)
    config.data.name = "images"
    return config
