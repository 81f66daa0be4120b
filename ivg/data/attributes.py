"""What the methods for attributes ask of a data set: binary labels, present and absent."""

import numpy as np

from ivg.data.records import Dataset
from ivg.errors import UserError


def entropy_bits(values: np.ndarray) -> float:
    """Entropy H(y) of a binary label, from how often it is present.

    Args:
        values: bool [N], at least one.

    Returns:
        Bits, 0 to 1; 0 where the label is constant. I(c;y) and I(z;y) cannot exceed it.

    Examples:
        >>> from ivg.data.attributes import entropy_bits
        >>> print(entropy_bits([True, False]), entropy_bits([True, False, False]).round(3))
        1.0 0.918
    """
    present = float(np.mean(np.asarray(values, bool)))
    # Adding 0.0 turns the -0.0 of a constant label into 0.0.
    return -sum(p * np.log2(p) for p in (present, 1 - present) if p > 0) + 0.0


def describe(dataset: Dataset) -> list[str]:
    """A line for every attribute: images that have it, all images (both splits), its entropy."""
    if dataset.train.attributes is None or dataset.test.attributes is None:
        return []
    values = np.concatenate([dataset.train.attributes, dataset.test.attributes])
    return [
        f"{name}: {int(column.sum()):,} of {len(column):,} images, "
        f"H(y) = {entropy_bits(column):.3f} bits"
        for name, column in zip(dataset.attribute_names, values.T, strict=True)
    ]


def require_attributes(dataset: Dataset, method: str) -> tuple[str, ...]:
    """The names of the attributes that `method` is to keep apart from the rest.

    Args:
        dataset: as loaded, with the attributes that were chosen.
        method: name of the method, for messages.

    Raises:
        UserError: there are no attributes, or one of them is the same on all training or on all
            test images.
    """
    splits = {"training": dataset.train.attributes, "test": dataset.test.attributes}
    if not dataset.attribute_names or any(values is None for values in splits.values()):
        raise UserError(
            f"{method} needs images with attributes, and {dataset.name} has none: use faces, "
            "celeba_glasses or celeb_a, or your own images with an attribute file (labels.csv, or "
            "--config.data.labels=FILE), and choose by --config.attributes=NAME,NAME."
        )
    for split, values in splits.items():
        for name, column in zip(dataset.attribute_names, values.T, strict=True):
            if column.all() or not column.any():
                which = "all" if column.any() else "none"
                raise UserError(
                    f"{method} needs images with and without {name!r}, but {which} of the "
                    f"{len(column)} {split} images of {dataset.name} have it: choose other "
                    "attributes by --config.attributes=NAME, or add images."
                )
    return dataset.attribute_names
