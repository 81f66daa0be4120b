"""Diagonal Gaussians: sample, log-density and Kullback-Leibler divergence.

A Gaussian travels as a record `Gaussian(mean, log_var)`, the log always of the *variance*.
Every function sums over the last axis, which is the event, and keeps the axes before it: from
`[B, n]` comes one value per example, `[B]`, in nats. `q` is an approximate posterior such as
q(z|x), `p` whatever it is compared with.
"""

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

LOG_TWO_PI = math.log(2.0 * math.pi)

# Where a variance divides, smaller ones count as this one. Its standard deviation, 2e-9, is below
# the resolution of float32 around 0.02, and its inverse, 2e17, still leaves room for a square.
MIN_LOG_VAR = -40.0


class Gaussian(NamedTuple):
    """N(mean, exp(log_var)), independent in every coordinate; `mean`, `log_var`: `[B, n]`."""

    mean: jax.Array
    log_var: jax.Array


def from_softplus(mean: jax.Array, raw: jax.Array) -> Gaussian:
    """Gaussian whose standard deviation is softplus(raw), as in the released InfoVAEGAN code.

    That code calls the same number a log-variance but uses it as a standard deviation; here the
    record holds the true log-variance. It is exact, and its gradient finite, for any finite `raw`.

    Args:
        mean: Means, `[B, n]`.
        raw: Outputs of a linear head, `[B, n]`.

    Returns:
        The Gaussian; both arguments carry gradient.

    Examples:
        >>> from ivg.distributions import gaussian
        >>> q = gaussian.from_softplus(jnp.zeros((1, 1)), jnp.zeros((1, 1)))
        >>> print(np.asarray(jnp.exp(q.log_var / 2)).round(3))  # ln 2 = softplus(0)
        [[0.693]]
    """
    chex.assert_equal_shape([mean, raw])
    return Gaussian(mean, 2.0 * _log_softplus(raw))


def sample(key: jax.Array, q: Gaussian) -> jax.Array:
    """One reparameterised sample per example, `[B, n]`; `q` carries gradient.

    Args:
        key: Random key; consumed.
        q: Gaussian with arrays of shape `[B, n]`.

    Returns:
        mean + std * noise.

    Examples:
        >>> from ivg.distributions import Gaussian, gaussian
        >>> q = Gaussian(jnp.full((1000, 2), 3.0), jnp.full((1000, 2), 2 * jnp.log(0.5)))
        >>> z = gaussian.sample(jax.random.key(0), q)
        >>> z.shape, bool(abs(z.mean() - 3.0) < 0.1), bool(abs(z.std() - 0.5) < 0.1)
        ((1000, 2), True, True)
    """
    chex.assert_equal_shape(q)
    noise = jax.random.normal(key, jnp.shape(q.mean), jnp.result_type(q.mean))
    return q.mean + jnp.exp(0.5 * q.log_var) * noise


def log_prob(x: jax.Array, p: Gaussian) -> jax.Array:
    """Log-density log p(x) in nats, per example `[B]`.

    Args:
        x: Points, `[B, n]`.
        p: Gaussian with arrays of shape `[B, n]`; a variance below exp(MIN_LOG_VAR) counts as that.

    Returns:
        The value, normalising constant included; `x` and `p` carry gradient.

    Examples:
        >>> from ivg.distributions import Gaussian, gaussian
        >>> p = Gaussian(mean=jnp.zeros((1, 2)), log_var=jnp.zeros((1, 2)))
        >>> print(np.asarray(gaussian.log_prob(jnp.zeros((1, 2)), p)).round(3))  # -ln(2 pi)
        [-1.838]
    """
    chex.assert_equal_shape([x, *p])
    log_var = _floored(p.log_var)
    squared = jnp.square(x - p.mean) * jnp.exp(-log_var)
    return -0.5 * jnp.sum(LOG_TWO_PI + log_var + squared, axis=-1)


def standard_log_prob(x: jax.Array) -> jax.Array:
    """Log-density log N(x; 0, I) in nats: from `[B, n]` to `[B]`; `x` carries gradient."""
    return -0.5 * jnp.sum(LOG_TWO_PI + jnp.square(x), axis=-1)


def kl(q: Gaussian, p: Gaussian) -> jax.Array:
    """KL(q || p) in nats, per example `[B]`, in closed form.

    Args:
        q: Gaussian with arrays of shape `[B, n]`.
        p: Gaussian of the same shape. Variances below exp(MIN_LOG_VAR), of `q` as of `p`, count as
            that, so that KL(q || q) is 0 whatever the variance.

    Returns:
        The divergence; `q` and `p` carry gradient.

    Examples:
        >>> from ivg.distributions import Gaussian, gaussian
        >>> q = Gaussian(mean=jnp.zeros((1, 3)), log_var=jnp.zeros((1, 3)))
        >>> print(gaussian.kl(q, q), gaussian.kl(q, q._replace(mean=jnp.ones((1, 3)))))
        [0.] [1.5]
    """
    chex.assert_equal_shape([*q, *p])
    p_log_var = _floored(p.log_var)
    log_ratio = _floored(q.log_var) - p_log_var
    squared = jnp.square(q.mean - p.mean) * jnp.exp(-p_log_var)
    # expm1(r) - r keeps the digits that exp(r) - 1 - r loses where q and p nearly agree.
    return 0.5 * jnp.sum(jnp.expm1(log_ratio) - log_ratio + squared, axis=-1)


def kl_standard(q: Gaussian) -> jax.Array:
    """KL(q || N(0, I)) in nats, per example `[B]`, in closed form.

    Nothing is divided by the variance, so none is too small: a collapsed `q` keeps the gradient
    that widens it again.

    Args:
        q: Gaussian with arrays of shape `[B, n]`.

    Returns:
        The divergence; `q` carries gradient.

    Examples:
        >>> from ivg.distributions import Gaussian, gaussian
        >>> q = Gaussian(mean=jnp.array([[2.0, 0.0]]), log_var=jnp.zeros((1, 2)))
        >>> print(gaussian.kl_standard(q), gaussian.kl_standard_per_dimension(q))
        [2.] [[2. 0.]]
    """
    return jnp.sum(kl_standard_per_dimension(q), axis=-1)


def kl_standard_per_dimension(q: Gaussian) -> jax.Array:
    """The terms of `kl_standard`, one per coordinate: from `[B, n]` to `[B, n]`, nats."""
    chex.assert_equal_shape(q)
    return 0.5 * (jnp.square(q.mean) + jnp.expm1(q.log_var) - q.log_var)


def _floored(log_var: jax.Array) -> jax.Array:
    return jnp.maximum(log_var, MIN_LOG_VAR)


def _log_softplus(x: jax.Array) -> jax.Array:
    # Far to the left softplus(x) = exp(x) to the last digit, and would underflow. The inner `where`
    # keeps the logarithm's infinite slope out of the branch that is not taken.
    left = x < -36.0
    return jnp.where(left, x, jnp.log(jax.nn.softplus(jnp.where(left, 0.0, x))))
