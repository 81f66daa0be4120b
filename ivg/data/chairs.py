"""3D Chairs (Aubry et al. 2014): 1,393 chairs, each rendered from 62 directions, 600 x 600.

Its archive, extracted, holds rendered_chairs/<chair>/renders/image_XXX_pYYY_tZZZ_rRRR.png: YYY is
the elevation and ZZZ the azimuth in degrees. A chair fills the middle of its picture, which is why
the middle is cut out before the picture is made small, not afterwards.
"""

import pathlib
import re

from ivg.data import batches, folder, resize
from ivg.data.decode import collect
from ivg.data.files import Files
from ivg.data.records import Dataset, Options, Split, fits_in_memory, select_attributes
from ivg.errors import UserError

_RENDER = re.compile(r"image_\d+_p\d+_t\d+_r\d+\.png", re.IGNORECASE)
_LAYOUT = "rendered_chairs/<chair>/renders/image_XXX_pYYY_tZZZ_rRRR.png"
_CROP = 400
# The named crops are CelebA's; of the methods with one, InfoVAEGAN's code has another for chairs.
_NAMED_CROPS = {"infovaegan": 300}


def load(options: Options) -> Dataset:
    """Loads the renders below a folder, or in a zip, grey on white.

    Whole chairs are held out: `test_fraction` of them, chosen by `seed`. The set itself has no
    split, and the papers train on all of it. `names` are the files, sorted in each split.

    Args:
        options: `crop` None keeps the centre 400 x 400; "infovaegan" 300. `image_size` None: 64.
            `channels` None: 1.

    Raises:
        UserError: no folder named or there, no renders in it, or one of them cannot be read.
    """
    select_attributes(None, (), options.attributes, "chairs")
    size, channels = options.image_size or 64, options.channels or 1
    crop, shape = _parse_crop(options.crop), (size, size, channels)
    files = _open(options.data_dir)
    train, test = _split(find_renders(files), options.test_fraction, options.seed)
    in_memory = fits_in_memory(options, len(train) + len(test), shape)

    advice = "extract it from the archive again"
    decode, _ = folder.readers(files, size=size, channels=channels, crop=crop, advice=advice)

    def split(paths: list[str], title: str) -> Split:
        images = collect(
            lambda i: decode(paths[i]), len(paths), shape, in_memory=in_memory, title=title
        )
        return Split(images, None, None, names=tuple(paths))

    return Dataset("chairs", split(train, "training chairs"), split(test, "test chairs"), shape)


def find_renders(files: Files) -> dict[str, list[str]]:
    """The renders of every chair (the folder above `renders`), sorted; other files do not matter.

    Raises:
        UserError: fewer than two chairs.
    """
    chairs: dict[str, list[str]] = {}
    for path in files.paths:
        parts = pathlib.PurePosixPath(path)
        if _RENDER.fullmatch(parts.name) and parts.parent.name == "renders":
            chairs.setdefault(parts.parent.parent.as_posix(), []).append(path)
    if len(chairs) < 2:
        found = "no renders" if not chairs else "renders of one chair only"
        raise UserError(
            f"{files.root} holds {found} of 3D Chairs ({_LAYOUT}): extract the archive, and name "
            "the folder rendered_chairs by --config.data.dir."
        )
    return chairs


def _open(path: pathlib.Path | None) -> Files:
    if path is None:
        raise UserError(
            "the data set 'chairs' needs --config.data.dir: the folder rendered_chairs, extracted "
            "from the archive of 3D Chairs (or a zip of it)."
        )
    return folder.open_files(path)


def _parse_crop(crop: int | str | None) -> int | str:
    if str(crop).lower() in resize.NAMED_CROPS:
        if str(crop).lower() not in _NAMED_CROPS:
            raise UserError(f"crop {crop!r} is one of CelebA; for chairs give a number of pixels.")
        crop = _NAMED_CROPS[str(crop).lower()]
    return resize.parse_crop(crop, _CROP)


def _split(
    chairs: dict[str, list[str]], test_fraction: float, seed: int
) -> tuple[list[str], list[str]]:
    """Paths of the training and of the test renders; at least one chair each."""
    names = sorted(chairs)
    shuffled = batches.order(len(names), seed=seed, start=0, count=len(names))
    num_test = min(max(round(len(names) * test_fraction), 1), len(names) - 1)
    held_out = {names[i] for i in shuffled[:num_test]}
    train = [path for name in names if name not in held_out for path in chairs[name]]
    test = [path for name in names if name in held_out for path in chairs[name]]
    return train, test
