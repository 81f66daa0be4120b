"""The FID's Inception against torch-fidelity's, layer by layer, with made-up weights."""

import json
import subprocess
import sys

import inception_oracle
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ivg.errors import UserError
from ivg.networks import convert_inception, inception, inception_weights

STAGES = [layer.name for layer in inception.STEM if isinstance(layer, inception.Unit)]
STAGES += list(inception.BLOCKS)


@pytest.fixture(scope="module")
def arrays():
    return inception_oracle.weights(inception_weights.expected())


@pytest.fixture(scope="module")
def variables(arrays):
    return inception_weights.variables(arrays)


@jax.jit
def outputs(variables, images):
    """Every stage's output and every feature."""
    module, x = inception.Inception(), inception.prepared(images)
    found, state = module.apply(
        variables,
        x,
        capture_intermediates=lambda m, _: len(m.scope.path) == 1,
        mutable=["intermediates"],
    )
    return {name: state["intermediates"][name]["__call__"][0] for name in STAGES} | found


@pytest.mark.parametrize("size", inception_oracle.SIZES)
def test_every_layer_is_the_reference_s(variables, size):
    expected = json.loads(inception_oracle.FILE.read_text())["cases"]["x".join(map(str, size))]
    found = jax.device_get(outputs(variables, inception_oracle.images(size)))
    assert set(found) == set(expected)
    assert {name: found[name].shape[-1] for name in inception.LAYERS} == inception.LAYERS
    for name, row in expected.items():
        # Sums of thousands of float32 products against float64: 5e-7 was found.
        tolerance = 5e-6 * row["largest"]
        own = inception_oracle.summary(name, found[name])
        np.testing.assert_allclose(own["values"], row["values"], atol=tolerance, err_msg=name)
        for key in ("mean", "std", "largest"):
            assert own[key] == pytest.approx(row[key], abs=tolerance), (name, key)


def test_the_weights_are_those_of_the_expected_values(arrays):
    sha256 = json.loads(inception_oracle.FILE.read_text())["weights_sha256"]
    assert inception_weights.digest(arrays) == sha256


def naive_resize(x, size):
    """Bilinear, corner to corner of pixels: out[i] at i * in / out, the last row repeated.

    Places are float32 numbers, as in the reference; their rounding shows beyond 1e-3.
    """
    height, width = x.shape
    down, across = np.float32(height / size), np.float32(width / size)
    out = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            top, left = float(np.float32(i) * down), float(np.float32(j) * across)
            y, x_ = int(top), int(left)
            below, right = min(y + 1, height - 1), min(x_ + 1, width - 1)
            v, u = top - y, left - x_
            upper = x[y, x_] * (1 - u) + x[y, right] * u
            lower = x[below, x_] * (1 - u) + x[below, right] * u
            out[i, j] = upper * (1 - v) + lower * v
    return out


@pytest.mark.parametrize("shape", [(32, 32), (64, 64), (299, 299), (41, 77), (330, 31), (1, 1)])
def test_resizing_is_that_of_the_loops(shape):
    x = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    found = inception.resized(jnp.asarray(x)[None, ..., None], inception.SIZE)
    np.testing.assert_allclose(found[0, ..., 0], naive_resize(x, inception.SIZE), atol=1e-3)


def test_images_are_scaled_and_grey_ones_repeated():
    x = np.array([0, 128, 255], np.uint8).reshape(3, 1, 1, 1)
    found = np.asarray(inception.prepared(jnp.asarray(x)))
    assert found.shape == (3, 299, 299, 3)
    np.testing.assert_array_equal(np.unique(found), [-1, 0, 127 / 128])


def test_what_is_no_image():
    for x in (np.zeros((1, 8, 8, 3), np.float32), np.zeros((1, 8, 8, 4), np.uint8)):
        with pytest.raises(UserError, match="Inception takes bytes"):
            inception.features({}, x)
    with pytest.raises(UserError, match='no features "1024"'):
        inception.features({}, np.zeros((1, 8, 8, 3), np.uint8), ["1024"])


# ---- files of weights


def write_safetensors(path, arrays, *, halves=()):
    """As the format has it: a header's length, the header, the numbers."""
    header, numbers = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        own = array.astype("<f2").tobytes() if name in halves else array.astype("<f4").tobytes()
        header[name] = {
            "dtype": "F16" if name in halves else "F32",
            "shape": list(array.shape),
            "data_offsets": [len(numbers), len(numbers) + len(own)],
        }
        numbers += own
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + numbers)


@pytest.fixture
def small(monkeypatch):
    """Three arrays in place of all, so that files are small."""
    names = ("Conv2d_1a_3x3.conv.weight", "Conv2d_1a_3x3.bn.running_var", "fc.weight")
    shapes = {name: inception_weights.expected()[name] for name in names}
    monkeypatch.setattr(inception_weights, "expected", lambda: shapes)
    monkeypatch.setattr(inception_weights, "variables", dict)
    return inception_oracle.weights(shapes)


def test_npz_and_safetensors_hold_the_same(tmp_path, small):
    np.savez(tmp_path / "w.npz", other=np.zeros(3), **small)
    write_safetensors(tmp_path / "w.safetensors", small)
    one, digest = inception_weights.read(tmp_path / "w.npz")
    same, again = inception_weights.read(str(tmp_path / "w.safetensors"))
    assert digest == again == inception_weights.digest(small)
    for name, array in small.items():
        np.testing.assert_array_equal(one[name], array)
        np.testing.assert_array_equal(same[name], array)
    write_safetensors(tmp_path / "h.safetensors", small, halves=["fc.weight"])
    halves, other = inception_weights.read(tmp_path / "h.safetensors")
    np.testing.assert_allclose(halves["fc.weight"], small["fc.weight"], rtol=1e-3, atol=1e-6)
    assert halves["fc.weight"].dtype == np.float32 and other != digest


def test_arrays_go_where_their_names_say(arrays, variables):
    kernel = variables["params"]["Mixed_6b"]["branch7x7_2"]["conv"]["kernel"]
    assert kernel.shape == (1, 7, 128, 128)
    torch = arrays["Mixed_6b.branch7x7_2.conv.weight"]
    assert kernel[0, 5, 3, 100] == torch[100, 3, 0, 5]
    mean = variables["batch_stats"]["Conv2d_4a_3x3"]["bn"]["mean"]
    np.testing.assert_array_equal(mean, arrays["Conv2d_4a_3x3.bn.running_mean"])
    assert len(arrays) == 94 * 5 + 1  # 94 convolutions with batch norm, and fc


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc.weight": None}, "has no array fc.weight"),
        ({"fc.weight": np.zeros((1000, 2048))}, r"fc.weight in .* is \[1000, 2048\], not \[1008"),
        ({"Conv2d_1a_3x3.bn.running_var": np.full(32, np.nan)}, "running_var .* finite real"),
        ({"Conv2d_1a_3x3.bn.running_var": np.ones(32, int)}, "running_var .* finite real"),
        # The first that is wrong.
        ({"fc.weight": None, "Conv2d_1a_3x3.conv.weight": None}, "array Conv2d_1a_3x3.conv.weight"),
    ],
)
def test_files_of_other_weights(tmp_path, small, change, message):
    kept = {k: v for k, v in (small | change).items() if v is not None}
    np.savez(tmp_path / "w.npz", **kept)
    with pytest.raises(UserError, match=message):
        inception_weights.read(tmp_path / "w.npz")


def test_files_that_are_none(tmp_path, small):
    np.savez(tmp_path / "objects.npz", **{"fc.weight": np.array([object()])})
    np.save(tmp_path / "single.npy", np.zeros(3))
    (tmp_path / "single.npy").rename(tmp_path / "single.npz")
    (tmp_path / "text.npz").write_text("hello")
    for name in ("text", "short", "long"):
        content = {"text": b"hello, world", "short": b"", "long": b"\xff" * 9}[name]
        (tmp_path / f"{name}.safetensors").write_bytes(content)
    for name, message in (
        ("none.npz", "there is no file"),
        ("weights.pth", "ivg.networks.convert_inception .*weights.pth weights.npz"),
        ("weights.h5", "must be an .npz or .safetensors"),
        ("objects.npz", "no .npz file of plain arrays"),
        ("single.npz", "holds a single array"),
        ("text.npz", "no .npz file of plain arrays"),
        ("text.safetensors", "no .safetensors file"),
        ("short.safetensors", "no .safetensors file"),
        ("long.safetensors", "no .safetensors file"),
    ):
        with pytest.raises(UserError, match=message):
            inception_weights.read(tmp_path / name)


# ---- the converter


def test_the_converter_writes_what_is_read(tmp_path, small, monkeypatch, capsys):
    extra = {"Conv2d_1a_3x3.bn.num_batches_tracked": np.int64(0), "fc.bias": np.zeros(1008)}
    monkeypatch.setattr(convert_inception.torch_file, "read", lambda path: small | extra)
    target = tmp_path / "w.npz"
    assert convert_inception.main([str(tmp_path / "w.pth"), str(target)]) == 0
    _, digest = inception_weights.read(target)
    assert f"3 arrays, sha256 {digest}" in capsys.readouterr().out
    assert convert_inception.main([str(tmp_path / "w.pth"), str(tmp_path / "w.bin")]) == 2
    assert "must end in .npz" in capsys.readouterr().err
    assert convert_inception.main([str(target)]) == 2
    assert "required: target" in capsys.readouterr().err


def test_the_converter_runs_as_a_module(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "ivg.networks.convert_inception"]
    command += [str(tmp_path / "none.pth"), str(tmp_path / "w.npz")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.splitlines()[-1] == f"error: there is no file {tmp_path / 'none.pth'}"
