"""Pictures of the rendered faces: a sheet of random ones, and each factor moved alone.

  python -m experiments.faces_sheet
  python -m experiments.faces_sheet --out=experiments/results --seed=0

Writes faces_sheet.png (96 random faces) and faces_factors.png (a row per factor: on one face with
glasses and beard it alone moves from 0 to 1, or over its values).
"""

import argparse
import pathlib

import jax
import numpy as np

from ivg import plots
from ivg.data import Factor, faces
from ivg.data.face_drawing import FRAME_SHAPES, HAIR_STYLES
from ivg.data.records import in_chunks

ROWS, COLUMNS = 8, 12
STEPS = 7  # values of a continuous factor
SCALE = 2  # pixels of the picture per pixel of a face

# The face on which each factor moves; the other factors stand in the middle.
FACE = {
    "glasses": 1.0,
    "beard": 1.0,
    "frame_thickness": 0.3,
    "lens_darkness": 0.1,
    "frame_shape": 0.0,
    "beard_length": 0.4,
    "beard_darkness": 0.6,
    "skin": 0.2,
    "hair_colour": 0.55,
    "hair_style": 1.0,
    "background_colour": 0.8,
}
VALUES = {
    "glasses": ("absent", "present"),
    "beard": ("absent", "present"),
    "frame_shape": FRAME_SHAPES,
    "hair_style": HAIR_STYLES,
}


def rendered(factors: np.ndarray) -> np.ndarray:
    """Enlarged faces: float [N, F] -> uint8 [N, H, W, 3]."""
    images = in_chunks(faces.render, factors.astype(np.float32))
    return images.repeat(SCALE, axis=1).repeat(SCALE, axis=2)


def contact_sheet(seed: int) -> np.ndarray:
    """Random faces of the default law, as a picture."""
    factors = faces.sample(jax.random.key(seed), ROWS * COLUMNS)
    return plots.grid(rendered(np.asarray(factors)), COLUMNS)


def row(factor: Factor) -> np.ndarray:
    """Factors of one row, [STEPS, F]: this factor alone moves."""
    values = [FACE.get(other.name, 0.5) for other in faces.FACTORS]
    factors = np.tile(values, (STEPS, 1))
    column = [other.name for other in faces.FACTORS].index(factor.name)
    last = max(factor.values - 1, 1)
    moved = np.linspace(0.0, last, STEPS)
    # A categorical factor's last value fills the row up; those places are blanked afterwards.
    factors[:, column] = np.minimum(np.arange(STEPS), last) if factor.values else moved
    return factors


def label(factor: Factor) -> str:
    """The factor's name, what owns it, and the names of its values."""
    words = factor.name.replace("_", " ")
    if factor.owner:
        words += f" (of {factor.owner})"
    return f"{words}: {', '.join(VALUES[factor.name])}" if factor.values else words


def factor_sheet() -> np.ndarray:
    """A row per factor, as a picture."""
    images = np.stack([rendered(row(factor)) for factor in faces.FACTORS])
    for i, factor in enumerate(faces.FACTORS):
        if factor.values:
            images[i, factor.values :] = 255
    return plots.traversal(images, row_labels=[label(factor) for factor in faces.FACTORS])


def main() -> None:
    """Writes both pictures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="of the random faces")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("experiments/results"))
    options = parser.parse_args()
    print(plots.save(options.out / "faces_sheet.png", contact_sheet(options.seed)))
    print(plots.save(options.out / "faces_factors.png", factor_sheet()))


if __name__ == "__main__":
    main()
