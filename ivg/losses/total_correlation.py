"""Total correlation, KL(q(z) || prod_d q(z_d)): how far a code's coordinates are from independent.

Its estimates in beta-TCVAE and FactorVAE, its value for Gaussians, and DIP-VAE's penalty, which
stands in for it. z is one sample of q(z | x) for each of B images, `[B, D]`; q(z) is its average
over images. All is in nats. What is estimated from pairs of a minibatch is a property of the
minibatch, hence a *scalar*, and biased: it depends on B.
"""

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from ivg.distributions import Gaussian, gaussian

# --- beta-TCVAE -----------------------------------------------------------------------------------


class LogDensities(NamedTuple):
    """Log-densities of each sample z_i, all `[B]`, nats."""

    conditional: jax.Array  # log q(z_i | x_i)
    joint: jax.Array  # log q(z_i), estimated
    product: jax.Array  # sum_d log q(z_id), estimated
    prior: jax.Array  # log N(z_i; 0, I)


class Decomposition(NamedTuple):
    """The three parts of the mean KL(q(z | x) || p(z)), *scalars* in nats."""

    mutual_information: jax.Array  # I(x; z) under q
    total_correlation: jax.Array
    dimension_kl: jax.Array  # sum_d KL(q(z_d) || p(z_d))


def minibatch_weighted(z: jax.Array, q: Gaussian, *, dataset_size: int) -> LogDensities:
    """Minibatch-weighted sampling: q(z_i) is estimated by sum_j q(z_i | x_j) / (B N).

    Chen et al., "Isolating Sources of Disentanglement in Variational Autoencoders", NeurIPS 2018.
    For B much below N this is far too low, and with N = 1 it is the density of the minibatch's own
    mixture instead. N shifts the values by constants and changes no gradient.

    Args:
        z: Samples of q, `[B, D]`.
        q: q(z | x_j) of the same images, arrays of `[B, D]`.
        dataset_size: N, images of the data set.

    Returns:
        The log-densities; `z` and `q` carry gradient.

    Raises:
        ValueError: There is no sample or no image.
    """
    if len(z) < 1 or dataset_size < 1:
        raise ValueError(
            f"minibatch-weighted sampling needs a sample and an image at least, not {len(z)} of "
            f"{dataset_size}"
        )
    pairs = _pairwise(z, q)
    constant = math.log(len(z) * dataset_size)
    joint, product = _mixtures(pairs)
    return LogDensities(
        conditional=gaussian.log_prob(z, q),
        joint=joint - constant,
        product=product - z.shape[1] * constant,
        prior=gaussian.standard_log_prob(z),
    )


def decomposition(log: LogDensities) -> Decomposition:
    """The mean divergence from the prior in three parts, *scalars* in nats.

    Chen et al. 2018, eq. 2. Their sum, mean log q(z | x) - log p(z), is unbiased; the parts are
    not. All log-densities carry gradient.

    Examples:
        The three parts add up to the mean divergence, as the samples at hand have it:

        >>> from ivg.distributions import Gaussian, gaussian
        >>> from ivg.losses import total_correlation
        >>> q = Gaussian(jnp.array([[1.0, -1.0], [-1.0, 1.0]]), jnp.zeros((2, 2)))
        >>> log = total_correlation.minibatch_weighted(q.mean, q, dataset_size=2)
        >>> parts = total_correlation.decomposition(log)
        >>> bool(jnp.isclose(sum(parts), jnp.mean(log.conditional - log.prior)))
        True
    """
    return Decomposition(
        mutual_information=jnp.mean(log.conditional - log.joint),
        total_correlation=jnp.mean(log.joint - log.product),
        dimension_kl=jnp.mean(log.product - log.prior),
    )


def total_correlation(z: jax.Array, q: Gaussian) -> jax.Array:
    """Total correlation as disentanglement_lib estimates it: `decomposition`'s without constants.

    (D - 1) ln(B N) less than that of `minibatch_weighted`, and usually negative; the gradient is
    the same.

    Args:
        z: Samples of q, `[B, D]`.
        q: q(z | x_j) of the same images, arrays of `[B, D]`.

    Returns:
        A *scalar* in nats; `z` and `q` carry gradient.
    """
    joint, product = _mixtures(_pairwise(z, q))
    return jnp.mean(joint - product)


def _pairwise(z: jax.Array, q: Gaussian) -> jax.Array:
    """Log q(z_id | x_j), `[B, B, D]`, index i first."""
    chex.assert_equal_shape([z, *q])
    batch, size = z.shape
    shape = (batch, batch, size, 1)  # each coordinate an event of its own
    mean, log_var = (jnp.broadcast_to(a[None, :, :, None], shape) for a in q)
    points = jnp.broadcast_to(z[:, None, :, None], shape)
    return gaussian.log_prob(points, Gaussian(mean, log_var))


def _mixtures(pairs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Log of sum_j prod_d q(z_id | x_j) and of prod_d sum_j q(z_id | x_j), `[B]` each."""
    joint = jax.nn.logsumexp(jnp.sum(pairs, axis=2), axis=1)
    return joint, jnp.sum(jax.nn.logsumexp(pairs, axis=1), axis=1)


# --- FactorVAE ------------------------------------------------------------------------------------


def density_ratio(logits: jax.Array) -> jax.Array:
    """Log D(z) / (1 - D(z)) from two logits: its mean estimates the total correlation.

    Kim & Mnih, "Disentangling by Factorising", ICML 2018, eq. 3. Exact where the discriminator of
    `discriminator_loss` is the best there is.

    Args:
        logits: Of "from q(z)" and of "from the product of its marginals", `[B, 2]`.

    Returns:
        Nats per example, `[B]`; carries gradient.

    Examples:
        >>> from ivg.losses import total_correlation
        >>> print(total_correlation.density_ratio(jnp.array([[2.0, 0.5], [0.0, 0.0]])))
        [1.5 0. ]
    """
    chex.assert_shape(logits, (None, 2))
    return logits[:, 0] - logits[:, 1]


def discriminator_loss(logits: jax.Array, permuted_logits: jax.Array) -> jax.Array:
    """Half the cross-entropy of codes (class 0) plus half that of permuted codes (class 1).

    Kim & Mnih 2018, algorithm 2. ln 2 where the two cannot be told apart.

    Args:
        logits: Of codes z, `[B, 2]`.
        permuted_logits: Of codes through `permute_dims`, `[B, 2]`.

    Returns:
        Nats per pair of examples, `[B]`; both arguments carry gradient.

    Examples:
        >>> from ivg.losses import total_correlation
        >>> undecided = jnp.zeros((1, 2))
        >>> print(np.asarray(total_correlation.discriminator_loss(undecided, undecided)).round(3))
        [0.693]
    """
    chex.assert_shape([logits, permuted_logits], (None, 2))
    # -log softmax of two logits is softplus of their difference.
    real = jax.nn.softplus(-density_ratio(logits))
    return 0.5 * (real + jax.nn.softplus(density_ratio(permuted_logits)))


def permute_dims(key: jax.Array, z: jax.Array) -> jax.Array:
    """Each coordinate permuted over the batch on its own: samples of prod_d q(z_d).

    Kim & Mnih 2018, algorithm 1.

    Args:
        key: Random key; consumed.
        z: Codes, `[B, D]`.

    Returns:
        Codes of the same shape, with the same values in every column; `z` carries gradient.

    Examples:
        >>> from ivg.losses import total_correlation
        >>> z = jnp.arange(12.0).reshape(6, 2)
        >>> permuted = total_correlation.permute_dims(jax.random.key(0), z)
        >>> bool((jnp.sort(permuted, axis=0) == z).all())  # each column has its values
        True
        >>> bool((permuted[:, 1] == permuted[:, 0] + 1).all())  # but its own order
        False
    """
    chex.assert_rank(z, 2)
    return jax.random.permutation(key, z, axis=0, independent=True)


# --- covariances ----------------------------------------------------------------------------------


def gaussian_total_correlation(covariance: jax.Array) -> jax.Array:
    """Total correlation of a Gaussian, -1/2 ln det of its correlation matrix.

    Args:
        covariance: `[D, D]`, symmetric and positive definite.

    Returns:
        A *scalar* in nats, 0 for a diagonal matrix, NaN where the determinant or a variance is
        negative; carries gradient.

    Examples:
        Two coordinates with a correlation of 0.6, on any scale: -ln(1 - 0.6^2) / 2.

        >>> from ivg.losses import total_correlation
        >>> covariance = jnp.array([[1.0, 1.2], [1.2, 4.0]])
        >>> round(total_correlation.gaussian_total_correlation(covariance).item(), 3)
        0.223
    """
    chex.assert_rank(covariance, 2)
    inverse_std = jax.lax.rsqrt(jnp.diagonal(covariance))
    correlation = covariance * inverse_std[:, None] * inverse_std[None, :]
    sign, log_determinant = jnp.linalg.slogdet(correlation)
    return jnp.where(sign < 0, jnp.nan, -0.5 * log_determinant)


def means_covariance(q: Gaussian) -> jax.Array:
    """Covariance of the posteriors' means over the batch, `[D, D]`, divided by B; carries gradient.

    What DIP-VAE-I brings near the identity (Kumar et al., "Variational Inference of Disentangled
    Latent Concepts from Unlabeled Observations", ICLR 2018).
    """
    chex.assert_rank(q, 2)
    chex.assert_equal_shape(q)
    centred = q.mean - jnp.mean(q.mean, axis=0, keepdims=True)
    return centred.T @ centred / len(centred)


def codes_covariance(q: Gaussian) -> jax.Array:
    """Covariance of the codes, `[D, D]`: that of the means plus the mean of the variances.

    What DIP-VAE-II brings near the identity; carries gradient.
    """
    return means_covariance(q) + jnp.diag(jnp.mean(jnp.exp(q.log_var), axis=0))


def covariance_penalty(
    covariance: jax.Array, *, weight_off_diagonal: float, weight_diagonal: float
) -> jax.Array:
    """Weighted squares of what tells a covariance from the identity, a *scalar*.

    The regulariser of Kumar et al. 2018.

    Args:
        covariance: `[D, D]`; carries gradient.
        weight_off_diagonal: lambda_od, of the entries off the diagonal.
        weight_diagonal: lambda_d, of the diagonal's distance from 1.

    Returns:
        lambda_od sum_{i != j} C_ij^2 + lambda_d sum_i (C_ii - 1)^2.

    Examples:
        >>> from ivg.losses import total_correlation
        >>> weights = dict(weight_off_diagonal=10.0, weight_diagonal=1.0)
        >>> covariances = jnp.eye(2), jnp.array([[3.0, 0.5], [0.5, 1.0]])
        >>> [total_correlation.covariance_penalty(c, **weights).item() for c in covariances]
        [0.0, 9.0]
    """
    diagonal = jnp.diagonal(covariance)
    off = jnp.sum(jnp.square(covariance - jnp.diag(diagonal)))
    return weight_off_diagonal * off + weight_diagonal * jnp.sum(jnp.square(diagonal - 1.0))
