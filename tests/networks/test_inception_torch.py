"""Every number of every layer against torch-fidelity's network, where it is installed."""

import inception_oracle
import jax
import numpy as np
import pytest
from test_inception import outputs

from ivg.networks import convert_inception, inception, inception_weights, torch_file

REFERENCE = inception_oracle.reference()
pytestmark = pytest.mark.skipif(
    REFERENCE is None, reason="needs torch and torch-fidelity, which are no part of ivg"
)


@pytest.fixture(scope="module")
def arrays():
    return inception_oracle.weights(inception_weights.expected())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_all_numbers_of_all_layers(arrays, tmp_path, dtype):
    images = inception_oracle.images((96, 80, 3))
    with inception_oracle.saved(arrays, tmp_path) as path:
        expected = inception_oracle.torch_outputs(REFERENCE[0], path, images, dtype=dtype)
    found = jax.device_get(outputs(inception_weights.variables(arrays), images))
    assert set(found) == set(expected)
    for name, array in expected.items():
        scale = np.abs(array).max()
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-5 * scale, err_msg=name)


@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (64, 64), (218, 178), (299, 299), (512, 300)])
def test_resizing(shape):
    import torch

    x = np.random.default_rng(0).integers(0, 256, (2, *shape, 3)).astype(np.float32)
    found = inception.resized(jax.numpy.asarray(x), inception.SIZE)
    expected = REFERENCE[1].interpolate_bilinear_2d_like_tensorflow1x(
        torch.from_numpy(x.transpose(0, 3, 1, 2).copy()), size=(299, 299), align_corners=False
    )
    np.testing.assert_allclose(found, expected.numpy().transpose(0, 2, 3, 1), atol=1e-3)


@pytest.mark.parametrize("zipped", [True, False])
def test_the_converter_reads_both_forms_of_file(arrays, tmp_path, zipped):
    import torch

    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    state |= {"fc.bias": torch.zeros(1008), "Mixed_5b.bn.num_batches_tracked": torch.tensor(3)}
    source, target = tmp_path / "w.pth", tmp_path / "w.npz"
    torch.save(state, source, _use_new_zipfile_serialization=zipped)
    assert set(torch_file.read(source)) == set(state)
    assert convert_inception.convert(source, target) == inception_weights.digest(arrays)
    source.unlink()
    target.unlink()
