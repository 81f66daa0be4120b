"""Total correlation and its kin against reference values, naive loops and closed forms."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from scipy import stats

from ivg.distributions import Gaussian
from ivg.losses import total_correlation as tc

RANDOM = np.random.default_rng(0).normal(size=(3, 4, 3))  # z, means, log-variances
LOGITS = 2 * np.random.default_rng(1).normal(size=(2, 4, 2))
DATASET_SIZE = 50


# --- reference values -----------------------------------------------------------------------------


def gaussian(a):
    return {"value": tc.gaussian_total_correlation(a["cov"])}


def minibatch_weighted(a, *, size):
    arguments = a["z"], a["mu"], a["logvar"]

    def decompose(z, mean, log_var):
        log = tc.minibatch_weighted(z, Gaussian(mean, log_var), dataset_size=size)
        return tc.decomposition(log), log

    parts, log = decompose(*arguments)
    bare = tc.total_correlation(a["z"], Gaussian(a["mu"], a["logvar"]))
    return {
        "expected_logqz_condx": log.conditional,
        "expected_logqz": log.joint,
        "expected_logqz_prodmarginals": log.product,
        "expected_logpz": log.prior,
        "mutual_information": parts.mutual_information,
        "total_correlation": parts.total_correlation,
        "dimension_wise_kl": parts.dimension_kl,
        "sum_of_three": sum(parts),
        "beta6_loss_without_reconstruction": sum(parts) + 5.0 * parts.total_correlation,
        "total_correlation_without_constants": bare,
        "constant": parts.total_correlation - bare,
    }


def with_gradients(a, *, size):
    def bare(z, mean, log_var):
        return tc.total_correlation(z, Gaussian(mean, log_var))

    # With constants, the gradients are those of the naive loops below.
    gradients = jax.grad(bare, (0, 1, 2))(a["z"], a["mu"], a["logvar"])
    names = ("z", "mu", "logvar")
    named = {f"expected_grad_tc_{n}": g for n, g in zip(names, gradients, strict=True)}
    return minibatch_weighted(a, size=size) | named


GAUSSIAN = [f"total_correlation_{kind}" for kind in ("gaussian", "equicorrelated", "diagonal")]
WEIGHTED = {
    "mws_small": with_gradients,
    "mws_batch_equals_data": minibatch_weighted,
    "mws_larger": minibatch_weighted,
}


class ReferenceValuesTest(chex.TestCase):
    @pytest.fixture(autouse=True)
    def _load(self, shared):
        self.cases = oracles.load(shared, "05_losses")
        self.functions = dict.fromkeys(GAUSSIAN, gaussian)
        for name, function in WEIGHTED.items():
            size = self.cases[name].facts["dataset_size"]
            self.functions[name] = functools.partial(function, size=size)

    @chex.all_variants
    def test_small_cases_in_single_precision(self):
        small = {name: self.functions[name] for name in ("total_correlation_gaussian", "mws_small")}
        oracles.check(self.cases, small, variant=self.variant)

    def test_single_precision(self):
        oracles.check(self.cases, self.functions)

    def test_double_precision(self):
        with jax.enable_x64(True):
            oracles.check(self.cases, self.functions, dtype="float64")


# --- naive loops ----------------------------------------------------------------------------------


def normal(z, mean, log_var):
    variance = math.exp(log_var)
    return math.exp(-((z - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


def naive_decomposition(z, mean, log_var):
    batch, size = z.shape
    result = np.zeros(3)
    for i in range(batch):
        own, prior, joint, product = 1.0, 1.0, 0.0, 1.0
        for j in range(batch):
            each = [normal(z[i, d], mean[j, d], log_var[j, d]) for d in range(size)]
            joint += math.prod(each) / (batch * DATASET_SIZE)
            own = math.prod(each) if i == j else own
        for d in range(size):
            total = sum(normal(z[i, d], mean[j, d], log_var[j, d]) for j in range(batch))
            product *= total / (batch * DATASET_SIZE)
            prior *= normal(z[i, d], 0.0, 0.0)
        result += np.log([own / joint, joint / product, product / prior]) / batch
    return result


def naive_discriminator_loss(logits, permuted):
    result = np.zeros(len(logits))
    for b in range(len(logits)):
        for row, label in ((logits[b], 0), (permuted[b], 1)):
            result[b] -= 0.5 * math.log(math.exp(row[label]) / sum(math.exp(v) for v in row))
    return result


def naive_density_ratio(logits):
    d = np.array([math.exp(a) / (math.exp(a) + math.exp(b)) for a, b in logits])
    return np.log(d / (1 - d))


def naive_covariance(values):
    batch, size = values.shape
    result = np.zeros((size, size))
    for i, j, b in np.ndindex(size, size, batch):
        centred = values[b, i] - values[:, i].mean(), values[b, j] - values[:, j].mean()
        result[i, j] += centred[0] * centred[1] / batch
    return result


def naive_codes_covariance(mean, log_var):
    return naive_covariance(mean) + np.diag(np.exp(log_var).mean(axis=0))


def naive_penalty(covariance):
    return sum(
        7.0 * (entry - 1) ** 2 if i == j else 3.0 * entry**2
        for (i, j), entry in np.ndenumerate(covariance)
    )


def naive_total_correlation(z, mean, log_var):
    batch, size = z.shape
    constant = (size - 1) * math.log(batch * DATASET_SIZE)  # of the decomposition's, not of this
    return naive_decomposition(z, mean, log_var)[1] - constant


NAIVE = {
    "total_correlation": (
        lambda z, mean, log_var: tc.total_correlation(z, Gaussian(mean, log_var)),
        naive_total_correlation,
        RANDOM,
    ),
    "decomposition": (
        lambda z, mean, log_var: jnp.stack(
            tc.decomposition(
                tc.minibatch_weighted(z, Gaussian(mean, log_var), dataset_size=DATASET_SIZE)
            )
        ),
        naive_decomposition,
        RANDOM,
    ),
    "discriminator_loss": (tc.discriminator_loss, naive_discriminator_loss, LOGITS),
    "density_ratio": (tc.density_ratio, naive_density_ratio, LOGITS[:1]),
    "codes_covariance": (
        lambda mean, log_var: jnp.square(tc.codes_covariance(Gaussian(mean, log_var))),
        lambda mean, log_var: naive_codes_covariance(mean, log_var) ** 2,
        RANDOM[:2],
    ),
    "covariance_penalty": (
        functools.partial(tc.covariance_penalty, weight_off_diagonal=3.0, weight_diagonal=7.0),
        naive_penalty,
        [RANDOM[0, :3]],
    ),
    "gaussian_total_correlation": (
        lambda root: tc.gaussian_total_correlation(root.T @ root + jnp.eye(3)),
        lambda root: naive_gaussian(root.T @ root + np.eye(3)),
        RANDOM[:1],
    ),
}


def naive_gaussian(covariance):
    marginal = sum(math.log(covariance[d, d]) for d in range(len(covariance)))
    return 0.5 * (marginal - math.log(np.linalg.det(covariance)))


class NaiveLoopsTest(chex.TestCase):
    @chex.all_variants
    def test_values_and_gradients(self):
        oracles.check_naive(self.variant, NAIVE)


def test_permuted_columns_keep_their_values_and_lose_their_rows():
    z = np.float32(np.random.default_rng(2).normal(size=(64, 5)))
    found = np.asarray(jax.jit(tc.permute_dims)(jax.random.key(0), z))
    np.testing.assert_array_equal(np.sort(found, axis=0), np.sort(z, axis=0))
    origin = np.array([[list(z[:, d]).index(found[i, d]) for d in range(5)] for i in range(64)])
    # Permutations of their own: two columns rarely agree on where a row comes from.
    assert np.mean(origin[:, 1:] == origin[:, :1]) < 0.1
    assert np.mean(origin == np.arange(64)[:, None]) < 0.1


# --- closed forms ---------------------------------------------------------------------------------


def test_a_minibatch_that_is_the_data_gives_the_parts_of_its_mixture():
    """On far-apart posteriors: every image is told from the others, so I(x; z) = ln B."""
    corners = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], np.float32)
    for mean, correlation in ((corners, 0.0), (corners[[0, 0, 3, 3]] * [[1], [2], [3], [4]], None)):
        q = Gaussian(np.float32(50 * mean), np.zeros((4, 2), np.float32))
        log = tc.minibatch_weighted(jnp.asarray(q.mean), q, dataset_size=1)
        parts = tc.decomposition(log)
        np.testing.assert_allclose(parts.mutual_information, math.log(4), rtol=1e-5)
        # Independent coordinates in the first case; in the second, each tells the other.
        expected = math.log(4) if correlation is None else correlation
        np.testing.assert_allclose(parts.total_correlation, expected, atol=1e-4)


def test_density_ratio_of_the_best_discriminator_is_the_total_correlation():
    rho, size = 0.8, 100_000
    z = np.random.default_rng(0).multivariate_normal([0, 0], [[1, rho], [rho, 1]], size)
    quadratic = (z[:, 0] ** 2 - 2 * rho * z[:, 0] * z[:, 1] + z[:, 1] ** 2) / (1 - rho**2)
    log_joint = -0.5 * (quadratic + math.log(1 - rho**2))
    log_product = -0.5 * np.sum(z**2, axis=1)
    logits = np.stack([log_joint, log_product], axis=1).astype(np.float32)
    exact = tc.gaussian_total_correlation(jnp.array([[1.0, rho], [rho, 1.0]]))
    np.testing.assert_allclose(np.mean(tc.density_ratio(logits)), exact, atol=0.02)


def test_ignorant_discriminator_loses_ln_2():
    zeros = np.zeros((3, 2), np.float32)
    np.testing.assert_allclose(tc.discriminator_loss(zeros, zeros), np.full(3, math.log(2)))


def test_dataset_size_changes_no_gradient():
    def gradients(size):
        def objective(z, mean, log_var):
            log = tc.minibatch_weighted(z, Gaussian(mean, log_var), dataset_size=size)
            parts = tc.decomposition(log)
            return parts.mutual_information + 6.0 * parts.total_correlation + parts.dimension_kl

        return jax.jit(jax.grad(objective, (0, 1, 2)))(*np.float32(RANDOM))

    chex.assert_trees_all_close(gradients(1), gradients(737_280), rtol=1e-5, atol=1e-6)


def test_extremes_stay_finite():
    q = np.float32([[0, 0], [1e3, -1e3]]), np.float32([[-60, 10], [10, -60]])
    z = np.float32([[1e3, 1e3], [-1e3, 1.0]])

    def parts(z, mean, log_var):
        log = tc.minibatch_weighted(z, Gaussian(mean, log_var), dataset_size=737_280)
        return jnp.stack(tc.decomposition(log))

    oracles.check_finite(parts, z, *q)
    oracles.check_finite(tc.discriminator_loss, [[1e4, -1e4], [0, 0]], [[1e4, 0], [-1e4, 1e4]])


def test_wrong_shapes_are_refused():
    with pytest.raises(AssertionError):
        tc.total_correlation(np.zeros((3, 2)), Gaussian(np.zeros((3, 1)), np.zeros((3, 1))))
    for logits in (np.zeros(3), np.zeros((3, 1))):
        with pytest.raises(AssertionError):
            tc.density_ratio(logits)


def test_one_sample_of_one_image_tells_nothing():
    z = np.float32([[0.5, -2.0]])
    q = Gaussian(0 * z, 0 * z + 1)
    parts = tc.decomposition(tc.minibatch_weighted(jnp.asarray(z), q, dataset_size=1))
    exact = np.sum(stats.norm.logpdf(z, 0, math.exp(0.5)) - stats.norm.logpdf(z))
    np.testing.assert_allclose(parts, [0.0, 0.0, exact], atol=1e-5)


def test_without_a_sample_or_an_image_there_is_no_density():
    for samples, dataset_size in ((0, 10), (3, 0)):
        z = np.zeros((samples, 2), np.float32)
        with pytest.raises(ValueError, match=f"at least, not {samples} of {dataset_size}"):
            tc.minibatch_weighted(z, Gaussian(z, z), dataset_size=dataset_size)


def test_total_correlation_of_what_is_no_covariance():
    assert tc.gaussian_total_correlation(jnp.ones((2, 2))) == np.inf  # one coordinate twice
    assert np.isnan(tc.gaussian_total_correlation(jnp.array([[1.0, 2.0], [2.0, 1.0]])))
