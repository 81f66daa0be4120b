"""The squared error of reconstructions, against a loop and for wrong arrays."""

import numpy as np
import pytest

from ivg.errors import UserError
from ivg.metrics.reconstruction import mean_squared_error


def test_against_a_loop_and_whatever_the_dtypes():
    rng = np.random.default_rng(0)
    x, x_hat = rng.integers(0, 256, (2, 3, 4, 4, 1), np.uint8)
    pairs = zip(x.ravel().tolist(), x_hat.ravel().tolist(), strict=True)
    wanted = sum(((a - b) / 127.5) ** 2 for a, b in pairs) / x.size
    scaled = x_hat.astype(np.float32) / 127.5 - 1.0
    assert mean_squared_error(x, x_hat) == pytest.approx(wanted, rel=1e-12)
    assert mean_squared_error(x, scaled) == pytest.approx(wanted, rel=1e-6)
    assert mean_squared_error(x, x) == 0.0


@pytest.mark.parametrize("shape", [(2, 4, 4, 1), (3, 4, 4), (0, 4, 4, 1)])
def test_arrays_that_do_not_fit(shape):
    with pytest.raises(UserError, match="as many reconstructions as images"):
        mean_squared_error(np.zeros((3, 4, 4, 1)) if shape[0] else np.zeros(shape), np.zeros(shape))
