"""The parts of an evidence lower bound: likelihoods of images, and their sum with the divergences.

`x` is an image, `x_hat` its reconstruction, `[B, ...]`; values are in nats, summed over every axis
but the first: one per example, `[B]`. The divergences themselves are in `ivg.distributions`.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from ivg.distributions.gaussian import LOG_TWO_PI


def gaussian_log_likelihood(
    x: jax.Array, mean: jax.Array, std: float | jax.Array = 1.0
) -> jax.Array:
    """Log-likelihood log N(x; mean, std^2 I), `[B]`, normalising constant included.

    Args:
        x: Images, `[B, ...]`.
        mean: Decoded images, of the same shape.
        std: Positive standard deviation in the units of `x`, a scalar or of the shape of `x`.

    Returns:
        The value; all arguments carry gradient.

    Examples:
        >>> from ivg.losses import variational
        >>> x = jnp.zeros((1, 2, 2, 1))
        >>> print(np.asarray(variational.gaussian_log_likelihood(x, x)).round(3))  # -2 ln(2 pi)
        [-3.676]
    """
    squared = jnp.square(_difference(x, mean) / std)
    return -0.5 * _sum_per_example(squared + LOG_TWO_PI + 2.0 * jnp.log(std))


def bernoulli_log_likelihood(x: jax.Array, logits: jax.Array) -> jax.Array:
    """Log-likelihood x * log p + (1 - x) * log(1 - p) with p = sigmoid(logits), `[B]`.

    Args:
        x: Images in [0, 1], `[B, ...]`. Between 0 and 1 this is a cross-entropy, not a likelihood.
        logits: Decoded logits, of the same shape.

    Returns:
        The value, finite for logits of +-1e4; both arguments carry gradient.

    Examples:
        >>> from ivg.losses import variational
        >>> x = jnp.array([[0.0, 1.0, 1.0, 0.0]])
        >>> found = variational.bernoulli_log_likelihood(x, jnp.zeros((1, 4)))
        >>> print(np.asarray(found).round(3))  # -4 ln 2
        [-2.773]
    """
    chex.assert_equal_shape([x, logits])
    # Two softplus terms rather than x * logits - softplus(logits), whose terms cancel where the
    # logits are large and right.
    cross_entropy = x * jax.nn.softplus(-logits) + (1.0 - x) * jax.nn.softplus(logits)
    return -_sum_per_example(cross_entropy)


def squared_error(x: jax.Array, x_hat: jax.Array) -> jax.Array:
    """0.5 * |x - x_hat|^2, `[B]`.

    This is -log N(x; x_hat, I) without its constant, so that a weight of 1 is a unit-variance
    decoder.

    Args:
        x: Images or codes, `[B, ...]`.
        x_hat: Their reconstructions, of the same shape.

    Returns:
        The error; both arguments carry gradient.

    Examples:
        >>> from ivg.losses import variational
        >>> print(variational.squared_error(jnp.array([[3.0, 4.0]]), jnp.zeros((1, 2))))
        [12.5]
    """
    return 0.5 * _sum_per_example(jnp.square(_difference(x, x_hat)))


class ElboParts(NamedTuple):
    """The terms of an evidence lower bound, nats per example, each `[B]` or 0 where absent."""

    log_likelihood: jax.Array  # log p(x|z, c, d), one sample of the codes
    kl_z: jax.Array | float  # KL(q(z|x) || p(z))
    kl_c: jax.Array | float  # KL(q(c|x) || p(c))
    kl_d: jax.Array | float  # KL(q(d|x) || p(d))


def elbo(
    parts: ElboParts,
    *,
    weight_z: float | jax.Array = 1.0,
    weight_c: float | jax.Array = 1.0,
    weight_d: float | jax.Array = 1.0,
) -> jax.Array:
    """Evidence lower bound, `[B]`, to be *maximised*: likelihood minus weighted divergences.

    InfoVAEGAN eq. 6 with weights 1; only then is it a bound on log p(x). The released InfoVAEGAN
    code uses weight_d = 0.001.

    Args:
        parts: The terms.
        weight_z: Weight of `kl_z`.
        weight_c: Weight of `kl_c`.
        weight_d: Weight of `kl_d`.

    Returns:
        The weighted sum; every part carries gradient.

    Examples:
        >>> from ivg.losses import variational
        >>> parts = variational.ElboParts(jnp.array([-50.0]), kl_z=5.0, kl_c=2.0, kl_d=0.0)
        >>> print(variational.elbo(parts), variational.elbo(parts, weight_z=4.0))
        [-57.] [-72.]
    """
    divergence = weight_z * parts.kl_z + weight_c * parts.kl_c + weight_d * parts.kl_d
    bound = parts.log_likelihood - divergence
    chex.assert_equal_shape([bound, parts.log_likelihood])  # [B, 1] would make it [B, B]
    return bound


def _difference(x: jax.Array, x_hat: jax.Array) -> jax.Array:
    chex.assert_equal_shape([x, x_hat])
    # Not of whole numbers as they are: 0 - 1 is 255 in uint8.
    return jnp.asarray(x, jnp.result_type(x, float)) - x_hat


def _sum_per_example(x: jax.Array) -> jax.Array:
    return jnp.sum(x, axis=tuple(range(1, x.ndim)))
