"""Plain arrays out of an .npz file, whoever wrote it: no pickle, and a bad file is one sentence."""

import lzma
import pathlib
import zipfile
import zlib
from collections.abc import Collection

import numpy as np

from ivg.errors import UserError

# What a damaged archive may raise on the way; RuntimeError: a password or an unknown compression.
BROKEN = (ValueError, EOFError, RuntimeError, ArithmeticError, SyntaxError, TypeError)
BROKEN += (zipfile.BadZipFile, zlib.error, lzma.LZMAError)


def read(path: pathlib.Path, names: Collection[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Those of the named arrays that the file has, and the names of all of its arrays.

    Raises:
        UserError: there is no such file, or it is no .npz file of plain arrays.
    """
    try:
        # Opened here, since numpy leaves a file open that turns out to be no archive.
        with path.open("rb") as handle:
            file = np.load(handle, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise UserError(f"{path} holds a single array: save it as .npz, by its name")
            return {name: file[name] for name in names if name in file.files}, file.files
    except FileNotFoundError:
        raise UserError(f"there is no file {path}: give the path of an .npz file") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except MemoryError:
        raise UserError(f"the arrays of {path} do not fit into memory") from None
    except BROKEN:
        raise UserError(
            f"{path} is no .npz file of plain arrays: write it with numpy.savez"
        ) from None
