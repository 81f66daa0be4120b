"""Inception with made-up weights: what torch-fidelity's network makes of them.

  PYTHONPATH=tests python tests/networks/inception_oracle.py       (needs torch and torch-fidelity)

writes inception_oracle.json beside this file. The weights follow from their names alone, the images
from a seed, so that the expected values are all that has to be kept.
"""

import contextlib
import importlib.util
import json
import pathlib
import sys
import types
import zlib

import numpy as np

FILE = pathlib.Path(__file__).with_suffix(".json")
VALUES = 16  # of a layer's output
SIZES = ((40, 52, 3), (299, 299, 1))  # images: enlarged, and grey of the network's own size


def weights(shapes):
    """By PyTorch's names: numbers that keep the activations' size through all layers."""
    made = {}
    for name, shape in shapes.items():
        rng = np.random.RandomState(zlib.crc32(name.encode()))
        if name.endswith("running_var") or name.endswith("bn.weight"):
            array = rng.uniform(0.5, 1.5, shape)
        elif len(shape) == 1:
            array = 0.1 * rng.standard_normal(shape)
        else:
            array = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        made[name] = array.astype(np.float32)
    return made


def images(size):
    """Two images uint8 [2, H, W, C]: noise, and a ramp that has edges."""
    height, width, channels = size
    rng = np.random.RandomState(0)
    noise = rng.randint(0, 256, size).astype(np.uint8)
    ramp = (np.arange(height)[:, None] * 7 + np.arange(width)[None] * 3) % 256
    return np.stack([noise, np.repeat(ramp[..., None], channels, -1).astype(np.uint8)])


def summary(name, output):
    """Mean, deviation and some values of an output, [B, H, W, C] or [B, n]."""
    flat = np.asarray(output, np.float64).ravel()
    places = np.random.RandomState(zlib.crc32(name.encode())).randint(0, flat.size, VALUES)
    return {
        "mean": float(flat.mean()),
        "std": float(flat.std()),
        "largest": float(np.abs(flat).max()),
        "values": [round(float(v), 8) for v in flat[places]],
    }


# --- torch-fidelity -------------------------------------------------------------------------------


def reference():
    """torch-fidelity's two modules, without the packages that the rest of it needs; or None."""
    spec = importlib.util.find_spec("torch_fidelity")
    if spec is None or importlib.util.find_spec("torch") is None:
        return None
    if "torch_fidelity" not in sys.modules:
        package = types.ModuleType("torch_fidelity")
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules["torch_fidelity"] = package
    try:
        return [
            importlib.import_module(f"torch_fidelity.{name}")
            for name in ("feature_extractor_inceptionv3", "interpolate_compat_tensorflow")
        ]
    except (ImportError, OSError):
        return None


@contextlib.contextmanager
def saved(arrays, folder):
    """A file as PyTorch writes it."""
    import torch

    path = pathlib.Path(folder) / "weights.pth"
    arrays = arrays | {"fc.bias": np.ones(1008, np.float32)}  # no feature depends on it
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, path)
    yield path
    path.unlink()


def torch_outputs(module, path, x, *, dtype="float64"):
    """Every stage's output [B, H, W, C] and every feature [B, n] by name; x uint8 [B, H, W, C]."""
    import torch

    network = module.FeatureExtractorInceptionV3(
        "own",
        ["64", "192", "768", "2048", "logits_unbiased"],
        feature_extractor_weights_path=str(path),
        feature_extractor_internal_dtype=dtype,
    )
    found = {}

    def keep(name):
        def hook(_, __, output):
            found[name] = output.numpy().transpose(0, 2, 3, 1)

        return hook

    for name, child in network.named_children():
        if name.startswith(("Conv2d", "Mixed")):
            child.register_forward_hook(keep(name))
    x = torch.from_numpy(np.repeat(x, 3 // x.shape[-1], -1).transpose(0, 3, 1, 2).copy())
    for name, feature in zip(network.features_list, network(x), strict=True):
        found[name] = feature.numpy()
    return found


def main():
    """Writes the expected values."""
    import tempfile

    import torch

    from ivg.networks import inception_weights

    module, _ = reference()
    arrays = weights(inception_weights.expected())
    content = {
        "made_with": {"torch": torch.__version__, "torch_fidelity": "0.4.0", "dtype": "float64"},
        "weights_sha256": inception_weights.digest(arrays),
        "cases": {},
    }
    with tempfile.TemporaryDirectory() as folder, saved(arrays, folder) as path:
        for size in SIZES:
            outputs = torch_outputs(module, path, images(size))
            rows = {name: summary(name, output) for name, output in outputs.items()}
            content["cases"]["x".join(map(str, size))] = rows
    FILE.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
