"""Donsker-Varadhan's bound and the label losses against reference values, closed forms, loops."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from ivg.losses import information

RANDOM = np.random.default_rng(0).normal(size=(3, 6, 5))
LABELS = np.random.default_rng(1).integers(0, 2, size=(6, 5)).astype(np.float64)
JOINT, PRODUCT = 2 * RANDOM[0, :, 0], 2 * RANDOM[1].ravel()  # of unequal sizes, 6 and 30

donsker_varadhan_ema = functools.partial(information.donsker_varadhan_ema, rate=0.25)


# --- reference values -----------------------------------------------------------------------------


def donsker_varadhan(a):
    value, gradients = jax.value_and_grad(information.donsker_varadhan, (0, 1))(
        a["t_joint"], a["t_marginal"]
    )
    return {
        "dv_nats": value,
        "dv_bits": value / math.log(2),
        "expected_grad_t_joint": gradients[0],
        "expected_grad_t_marginal": gradients[1],
    }


CASES = ["dv_moderate", "dv_overflow", "dv_all_plus200", "dv_all_minus200", "dv_unequal_sizes"]


class ReferenceValuesTest(chex.TestCase):
    @pytest.fixture(autouse=True)
    def _load(self, shared):
        self.cases = oracles.load(shared, "05_losses")

    @chex.all_variants
    def test_single_precision(self):
        oracles.check(self.cases, dict.fromkeys(CASES, donsker_varadhan), variant=self.variant)

    def test_double_precision(self):
        with jax.enable_x64(True):
            oracles.check(self.cases, dict.fromkeys(CASES, donsker_varadhan), dtype="float64")

    def test_constant_scores(self):
        # The reference's 0 is its own rounding, -4e-16, to which nothing can be relative.
        case = self.cases["dv_constant_scores"]
        outputs = donsker_varadhan(jax.tree.map(jnp.asarray, case.inputs))
        assert outputs["dv_nats"] == 0
        values = {"dv_nats", "dv_bits"}
        oracles.check_outputs(case, outputs, name="dv_constant_scores", elsewhere=values)


# --- naive loops ----------------------------------------------------------------------------------


def naive_donsker_varadhan(joint, product):
    total = sum(math.exp(score) for score in product)
    return sum(joint) / len(joint) - math.log(total / len(product))


def naive_negentropy(logits):
    result = np.zeros(len(logits))
    for b, i in np.ndindex(logits.shape):
        p = 1 / (1 + math.exp(-logits[b, i]))
        result[b] += p * math.log(p) + (1 - p) * math.log(1 - p)
    return result


def naive_cross_entropy(logits):
    result = np.zeros(len(logits))
    for b, i in np.ndindex(logits.shape):
        p = 1 / (1 + math.exp(-logits[b, i]))
        result[b] -= math.log(p) if LABELS[b, i] else math.log(1 - p)
    return result


def cross_entropy(logits):
    return information.label_cross_entropy(LABELS, logits)


NAIVE = {
    "donsker_varadhan": (information.donsker_varadhan, naive_donsker_varadhan, (JOINT, PRODUCT)),
    # With all of the average from this batch the corrected gradient is the plain one.
    "donsker_varadhan_ema": (
        lambda joint, product: information.donsker_varadhan_ema(
            joint, product, jnp.float32(3.0), rate=1.0
        )[0],
        naive_donsker_varadhan,
        (JOINT, PRODUCT),
    ),
    "label_negentropy": (information.label_negentropy, naive_negentropy, 3 * RANDOM[:1]),
    "label_cross_entropy": (cross_entropy, naive_cross_entropy, 3 * RANDOM[:1]),
}


class NaiveLoopsTest(chex.TestCase):
    @chex.all_variants
    def test_values_and_gradients(self):
        oracles.check_naive(self.variant, NAIVE)


# --- the corrected gradient -----------------------------------------------------------------------


class MovingAverageTest(chex.TestCase):
    @chex.all_variants
    def test_value_gradient_and_average(self):
        before = -0.7
        function = self.variant(jax.value_and_grad(donsker_varadhan_ema, (0, 1), has_aux=True))
        arguments = (np.float32(JOINT), np.float32(PRODUCT), np.float32(before))
        (value, after), gradients = function(*arguments)
        average = 0.75 * math.exp(before) + 0.25 * np.mean(np.exp(PRODUCT))
        np.testing.assert_allclose(value, naive_donsker_varadhan(JOINT, PRODUCT), rtol=1e-5)
        np.testing.assert_allclose(after, math.log(average), rtol=1e-5)
        # Eq. 12: E[dT(joint)] - E[exp T(product) dT(product)] / average.
        np.testing.assert_allclose(gradients[0], np.full(6, 1 / 6), rtol=1e-5)
        np.testing.assert_allclose(gradients[1], -np.exp(PRODUCT) / 30 / average, rtol=1e-4)


def test_average_moves_by_a_hundredth_unless_told_otherwise():
    before = np.float32(1.5)
    _, after = information.donsker_varadhan_ema(np.float32(JOINT), np.float32(PRODUCT), before)
    expected = math.log(0.99 * math.exp(1.5) + 0.01 * np.mean(np.exp(PRODUCT)))
    np.testing.assert_allclose(after, expected, rtol=1e-6)


def test_mean_of_no_scores_is_not_a_number():
    assert np.isnan(information.log_mean_exp(jnp.zeros(0)))


def test_average_forgets_and_carries_no_gradient():
    average = jnp.float32(9.0)
    for _ in range(80):
        _, average = donsker_varadhan_ema(JOINT, np.full(5, 2.0, np.float32), average)
    np.testing.assert_allclose(average, 2.0, atol=1e-4)
    through = jax.grad(lambda p, m: donsker_varadhan_ema(JOINT, p, m)[1], (0, 1))
    before = jax.grad(lambda m: donsker_varadhan_ema(JOINT, PRODUCT, m)[0])
    for gradient in (*through(jnp.asarray(PRODUCT), average), before(average)):
        np.testing.assert_array_equal(gradient, np.zeros_like(gradient))


@pytest.mark.parametrize("score", [200.0, -200.0])
@pytest.mark.parametrize("before", [200.0, 0.0, -200.0])
def test_gradient_of_extreme_scores_is_bounded(score, before):
    function = jax.grad(donsker_varadhan_ema, (0, 1), has_aux=True)
    gradients, after = function(jnp.full(4, -score), jnp.full(5, score), jnp.float32(before))
    assert np.isfinite(after)
    np.testing.assert_allclose(gradients[0], np.full(4, 0.25))
    ratio = -np.sum(gradients[1])
    # 1 where the past agrees, 0 where the past was larger by far, 1 / rate where smaller by far.
    expected = 1.0 if score == before else 0.0 if score < before else 4.0
    np.testing.assert_allclose(ratio, expected, rtol=1e-4, atol=1e-30)


# --- closed forms ---------------------------------------------------------------------------------


def gaussian_nats(d, rho):
    return -0.5 * d * math.log(1 - rho**2)


def log_ratio(x, y, rho):
    """Log p(x, y) / p(x) p(y) of standard normals with correlation rho in each coordinate."""
    squares = (x**2 + y**2) * rho**2 - 2 * rho * x * y
    return np.sum(-0.5 * math.log(1 - rho**2) - squares / (2 * (1 - rho**2)), axis=-1)


@pytest.mark.parametrize(("d", "rho"), [(1, 0.9), (1, 0.99), (2, 0.7), (2, 0.9), (20, 0.1)])
def test_bound_is_tight_at_the_true_ratio_and_only_there(d, rho):
    x, y_bar, noise = np.random.default_rng(d).normal(size=(3, 200_000, d))
    y = rho * x + math.sqrt(1 - rho**2) * noise
    scores = [log_ratio(x, other, rho).astype(np.float32) for other in (y, y_bar)]
    best = information.donsker_varadhan(*scores)
    np.testing.assert_allclose(best, gaussian_nats(d, rho), atol=0.03)
    # A constant does not matter; any other change of the scores does.
    shifted = information.donsker_varadhan(*(score + 7 for score in scores))
    np.testing.assert_allclose(shifted, best, atol=1e-4)
    for scale in (0.5, 1.5, -1.0):
        assert information.donsker_varadhan(*(scale * score for score in scores)) < best - 0.01


def test_closed_form_of_gaussians(shared):
    for name, case in oracles.load(shared, "04_mutual_information").items():
        if name.startswith("gaussian_d"):
            expected = gaussian_nats(case.facts["d"], case.facts["rho"])
            assert case.facts["nats"] == pytest.approx(expected, abs=1e-12)


def test_bound_of_label_mixtures(shared):
    cases = oracles.load(shared, "04_mutual_information")
    mixtures = {k: v for k, v in cases.items() if k.startswith("mixture") and "c" in v.arrays}
    assert len(mixtures) == 10
    for name, case in mixtures.items():
        c, y = case.arrays["c"], case.arrays["y"]
        # The exact density at every c under both labels, then scores of all pairs (c, y).
        means, sds = (np.array(case.facts[key])[:, None, None] for key in
                      ("means_per_coordinate", "sds"))  # fmt: skip
        log_p = np.sum(-0.5 * ((c[None] - means) / sds) ** 2 - np.log(sds), axis=-1)
        ratio = log_p - np.logaddexp(*(log_p + np.log(case.facts["prior"])[:, None]))[None]
        joint, product = ratio[y, np.arange(len(c))], ratio[np.roll(y, 1), np.arange(len(c))]
        bound = information.donsker_varadhan(jnp.asarray(joint), jnp.asarray(product))
        np.testing.assert_allclose(bound, case.facts["nats"], atol=0.06, err_msg=name)


# --- the label losses -----------------------------------------------------------------------------


def test_extreme_logits_stay_finite():
    logits = np.array([[1e4, 0, -1e4], [-1e4, 80, 1e4], [-1e-4, -80, -1e4]])
    labels = np.array([[0, 1, 1], [1, 0, 0], [0, 1, 0]])
    oracles.check_finite(information.label_negentropy, logits)
    oracles.check_finite(information.label_cross_entropy, labels, logits)


def test_label_losses_at_their_ends():
    logits = np.array([[0.0, 0.0], [1e4, -1e4]], np.float32)
    negentropy = information.label_negentropy(logits)
    np.testing.assert_allclose(negentropy, [-2 * math.log(2), 0], atol=1e-6)
    slope = jax.grad(lambda logits: jnp.sum(information.label_negentropy(logits)))(logits)
    np.testing.assert_array_equal(slope, np.zeros((2, 2)))
    right, wrong = np.array([[True, False]] * 2), np.array([[False, True]] * 2)
    np.testing.assert_allclose(
        information.label_cross_entropy(right, logits), [2 * math.log(2), 0], atol=1e-6
    )
    np.testing.assert_allclose(
        information.label_cross_entropy(wrong, logits), [2 * math.log(2), 2e4], rtol=1e-6
    )


def test_losses_have_the_precision_of_the_scores():
    oracles.check_precision(information.donsker_varadhan, JOINT, PRODUCT)
    oracles.check_precision(information.donsker_varadhan_ema, JOINT, PRODUCT, 0.5)
    oracles.check_precision(information.label_negentropy, RANDOM[0])
    # Whatever the labels have.
    for labels in (np.asarray(LABELS, kind) for kind in (bool, np.int32, np.float64)):
        oracles.check_precision(
            functools.partial(information.label_cross_entropy, labels), RANDOM[0]
        )
