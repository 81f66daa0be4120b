"""dHSIC against a naive loop, in value and gradient; what does not change it; what it tells."""

import math

import chex
import jax
import numpy as np
import oracles

from ivg.losses import independence

RANDOM = np.random.default_rng(0).normal(size=(3, 6, 2))
dhsic = jax.jit(independence.dhsic)


def naive_dhsic(codes):
    n, batch, size = codes.shape
    deviation = 2 * math.gamma((size + 1) / 2) / math.gamma(size / 2)

    def kernel(k, i, j):
        return math.exp(-sum((codes[k, i] - codes[k, j]) ** 2) / (2 * deviation**2))

    everyone = range(batch)
    joint = cross = 0.0
    for i in everyone:
        joint += sum(math.prod(kernel(k, i, j) for k in range(n)) for j in everyone)
        cross += math.prod(sum(kernel(k, i, j) for j in everyone) / batch for k in range(n))
    product = math.prod(
        sum(kernel(k, i, j) for i in everyone for j in everyone) / batch**2 for k in range(n)
    )
    return math.sqrt(joint / batch**2 + product - 2 * cross / batch + independence.EPSILON)


class NaiveLoopsTest(chex.TestCase):
    @chex.all_variants
    def test_values_and_gradients(self):
        table = {"dhsic": (independence.dhsic, naive_dhsic, (RANDOM,))}
        oracles.check_naive(self.variant, table)


def test_invariances():
    """Moves and turns of a code, the codes' order and the images' order change nothing."""
    rng = np.random.default_rng(1)
    codes = rng.normal(size=(3, 40, 2)).astype(np.float32)
    codes[1] += codes[0]
    value = dhsic(codes)
    turn = np.linalg.qr(rng.normal(size=(2, 2)))[0]
    for other in (
        codes @ turn + np.float32([3.0, -1.0]),
        codes[[2, 0, 1]],
        codes[:, rng.permutation(40)],
    ):
        np.testing.assert_allclose(dhsic(np.float32(other)), value, rtol=1e-3)
    broken = codes.copy()
    broken[0] = codes[0, rng.permutation(40)]  # which image belongs to which does matter
    assert dhsic(broken) < 0.8 * value


def test_codes_far_from_0_keep_their_digits():
    """Each code elsewhere: what tells them apart is a ten-thousandth of their squares."""
    shift = np.float32([[[300.0]], [[-300.0]], [[0.0]]])
    shifted = np.float32(RANDOM) + shift
    np.testing.assert_allclose(dhsic(shifted), dhsic(shifted - shift), rtol=1e-4)


def test_dependent_codes_have_more():
    rng = np.random.default_rng(2)
    independent = rng.normal(size=(2, 400, 3)).astype(np.float32)
    first = independent[0]
    copied, squared = (np.stack([first, other]) for other in (first, first**2 - 1))
    low = dhsic(independent)
    assert low < 0.06 and dhsic(copied) > 3 * low and dhsic(squared) > 1.5 * low
    # Dependent only all three together: pairwise independent signs whose product is 1.
    signs = np.sign(rng.normal(size=(2, 400, 1)))
    together = np.concatenate([signs, signs[:1] * signs[1:]]).astype(np.float32)
    assert dhsic(together) > 3 * dhsic(np.sign(rng.normal(size=(3, 400, 1))).astype(np.float32))


def test_finite_where_the_root_is_of_zero():
    for codes in (np.zeros((3, 4, 2)), np.ones((2, 1, 5)), 1e4 * RANDOM):
        oracles.check_finite(independence.dhsic, codes)
    np.testing.assert_allclose(dhsic(np.zeros((2, 4, 3), np.float32)), 1e-4, rtol=1e-3)


def test_bandwidth_is_the_mean_distance_of_normal_points():
    points = np.random.default_rng(3).normal(size=(2, 100_000, 5))
    measured = np.linalg.norm(points[0] - points[1], axis=-1).mean()
    np.testing.assert_allclose(independence.mean_distance(5), measured, rtol=1e-2)
