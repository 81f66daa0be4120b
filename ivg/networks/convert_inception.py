"""The FID's weights from the well-known PyTorch file to an .npz that ivg reads.

  python -m ivg.networks.convert_inception pt_inception-2015-12-05-6726825d.pth inception.npz

Needs no PyTorch and runs nothing that is in the file: see `ivg.networks.torch_file`. Bad input is
answered by one sentence and exit code 2.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

import numpy as np

from ivg import command_line
from ivg.errors import UserError
from ivg.networks import inception_weights, torch_file


def convert(source: pathlib.Path, target: pathlib.Path) -> str:
    """Writes the network's arrays, float32 by PyTorch's names; returns their digest.

    Raises:
        UserError: the source cannot be read or is not these weights, or the target cannot be
            written.
    """
    if target.suffix != ".npz":
        raise UserError(f"{target} must end in .npz")
    arrays = inception_weights.checked(torch_file.read(source), str(source))
    draft = target.with_suffix(".tmp")
    try:
        with draft.open("wb") as file:
            np.savez(file, **arrays)
        draft.replace(target)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from None
    return inception_weights.digest(arrays)


def main(arguments: Sequence[str] | None = None) -> int:
    """Converts the file that the arguments name; returns the exit code."""
    try:
        flags = _flags(arguments)
        digest = convert(flags.source, flags.target)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{flags.target}: {len(inception_weights.expected())} arrays, sha256 {digest}")
    return 0


def _flags(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ivg.networks.convert_inception",
        description="Inception's weights for the FID: from PyTorch's file to .npz.",
        epilog="  python -m ivg.networks.convert_inception pt_inception-2015-12-05.pth W.npz",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=pathlib.Path, help="the .pth file")
    parser.add_argument("target", type=pathlib.Path, help="the .npz file to write")
    return command_line.parse(parser, arguments)


if __name__ == "__main__":
    sys.exit(main())
