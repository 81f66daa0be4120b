"""Inception's weights from a file: .npz or .safetensors, arrays named and laid out as in PyTorch.

The original weights of the FID are not part of ivg. Their well-known PyTorch copy becomes such a
file by `python -m ivg.networks.convert_inception`.
"""

import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ivg import npz
from ivg.errors import UserError
from ivg.networks.inception import SIZE, Inception

# flax's name of a layer's array -> PyTorch's
NAMES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


@functools.cache
def _abstract() -> dict[str, Any]:
    """The network's variables, shapes only."""
    images = jnp.zeros((1, SIZE, SIZE, 3))
    return jax.eval_shape(lambda x: Inception().init(jax.random.key(0), x), images)


def _name(path: tuple) -> str:
    """("params", "Mixed_5b", "branch1x1", "conv", "kernel") -> "Mixed_5b.branch1x1.conv.weight"."""
    *layers, last = [entry.key for entry in path[1:]]
    return ".".join([*layers, NAMES[last]])


def _in_torch(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape as PyTorch has it: outputs, inputs, height, width."""
    return (*shape[:-3:-1], *shape[:-2]) if len(shape) > 1 else shape


def expected() -> dict[str, tuple[int, ...]]:
    """The arrays that a file must have and their shapes, in a fixed order."""
    leaves = jax.tree_util.tree_flatten_with_path(_abstract())[0]
    return {_name(path): _in_torch(leaf.shape) for path, leaf in leaves}


def checked(arrays: Mapping[str, np.ndarray], where: str) -> dict[str, np.ndarray]:
    """The network's arrays as float32, whatever else there is.

    Args:
        arrays: by PyTorch's names.
        where: what they are from, for the message.

    Raises:
        UserError: one is missing, or of another shape, or not finite; says which is the first.
    """
    found = {}
    for name, shape in expected().items():
        if name not in arrays:
            raise UserError(
                f"{where} has no array {name}: it does not hold the weights of the FID's Inception"
            )
        array = np.asarray(arrays[name])
        if array.shape != shape:
            raise UserError(
                f"{name} in {where} is {list(array.shape)}, not {list(shape)}: these are not the "
                "weights of the FID's Inception (others, such as torchvision's, give other numbers)"
            )
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise UserError(f"{name} in {where} is not made of finite real numbers")
        found[name] = array.astype(np.float32)
    return found


def variables(arrays: Mapping[str, np.ndarray]) -> Any:
    """The network's variables of arrays that are `checked`."""

    def place(path: tuple, leaf: Any) -> np.ndarray:
        array = arrays[_name(path)]
        axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[array.ndim]
        return np.ascontiguousarray(array.transpose(axes))

    return jax.tree_util.tree_map_with_path(place, _abstract())


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the values, by name: the same whatever kind of file they were in."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        total.update(f"{name} {list(arrays[name].shape)}\n".encode())
        total.update(np.ascontiguousarray(arrays[name], "<f4").tobytes())
    return total.hexdigest()


def read(path: str | pathlib.Path) -> tuple[Any, str]:
    """Variables for `inception.features` and the digest of the weights.

    Raises:
        UserError: the file is absent, of another kind, or does not hold the network's arrays.
    """
    path = pathlib.Path(path).expanduser()
    if path.suffix in (".pth", ".pt"):
        raise UserError(
            f"{path} is a PyTorch file; make an .npz of it once: python -m "
            f"ivg.networks.convert_inception {path} {path.with_suffix('.npz').name}"
        )
    if path.suffix not in (".npz", ".safetensors"):
        raise UserError(f"{path} must be an .npz or .safetensors file of Inception's weights")
    if not path.is_file():
        raise UserError(f"there is no file {path} of Inception's weights")
    arrays = _safetensors(path) if path.suffix == ".safetensors" else npz.read(path, expected())[0]
    arrays = checked(arrays, str(path))
    return variables(arrays), digest(arrays)


def _safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    """A header of JSON behind its length, then the numbers, little-endian, at named offsets."""
    try:
        content = path.read_bytes()
        start = 8 + int.from_bytes(content[:8], "little")
        header, numbers = json.loads(content[8:start]), memoryview(content)[start:]
        return {name: _array(header[name], numbers) for name in expected() if name in header}
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path} is damaged, or no .safetensors file of floats") from None


def _array(entry: Mapping[str, Any], numbers: memoryview) -> np.ndarray:
    first, last = entry["data_offsets"]
    if entry["dtype"] == "BF16":  # the upper half of a float32
        wide = np.frombuffer(numbers[first:last], "<u2").astype("<u4") << 16
        return wide.view("<f4").reshape(entry["shape"])
    dtype = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}[entry["dtype"]]
    return np.frombuffer(numbers[first:last], dtype).reshape(entry["shape"])
