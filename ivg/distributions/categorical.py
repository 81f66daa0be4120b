"""Categorical distributions given by logits, and their Gumbel-softmax relaxation.

Logits have shape `[B, K]` and need not be normalised; the last axis is the K classes. Values are in
nats, one per example, `[B]`. `d` is a discrete code: one-hot, or soft (a point of the simplex).
Everything is finite, value and gradient, for logits of +-1e4: a class whose probability underflows
to 0 contributes exactly 0, since its log-probability comes from the logits and not from a log.
"""

import math

import chex
import jax
import jax.numpy as jnp


def log_prob(d: jax.Array, logits: jax.Array) -> jax.Array:
    """Log-probability of codes, `[B]`; of a soft `d`, the expectation of log q under it.

    Args:
        d: Codes, `[B, K]`, one-hot or soft.
        logits: Logits of q, `[B, K]`.

    Returns:
        The sum of d * log q, minus the cross-entropy; both arguments carry gradient.

    Examples:
        >>> from ivg.distributions import categorical
        >>> logits = jnp.log(jnp.array([[0.25, 0.75]]))
        >>> log_p = categorical.log_prob(jnp.array([[0.0, 1.0]]), logits)
        >>> print(np.exp(log_p).round(3))
        [0.75]
    """
    chex.assert_equal_shape([d, logits])
    return jnp.sum(d * jax.nn.log_softmax(logits), axis=-1)


def entropy(logits: jax.Array) -> jax.Array:
    """Entropy in nats: from `[B, K]` to `[B]`; `logits` carry gradient.

    Examples:
        >>> from ivg.distributions import categorical
        >>> logits = jnp.array([[0.0, 0.0], [50.0, -50.0]])
        >>> print(np.abs(categorical.entropy(logits)).round(3))
        [0.693 0.   ]
        >>> print(np.abs(categorical.kl_uniform(logits)).round(3))
        [0.    0.693]
    """
    return -jnp.sum(jax.nn.softmax(logits) * jax.nn.log_softmax(logits), axis=-1)


def kl_uniform(logits: jax.Array) -> jax.Array:
    """KL(q || uniform over K) = ln K - H(q), from `[B, K]` to `[B]`; `logits` carry gradient."""
    return math.log(logits.shape[-1]) - entropy(logits)


def sample_one_hot(key: jax.Array, n: int, num_classes: int) -> jax.Array:
    """`n` one-hot codes of the uniform prior, `[n, num_classes]`; `key` is consumed.

    Examples:
        >>> from ivg.distributions import categorical
        >>> d = categorical.sample_one_hot(jax.random.key(0), 5, 10)
        >>> print(d.shape, d.sum(axis=1))
        (5, 10) [1. 1. 1. 1. 1.]
    """
    return jax.nn.one_hot(jax.random.randint(key, (n,), 0, num_classes), num_classes)


def gumbel(uniform: jax.Array) -> jax.Array:
    """Standard Gumbel noise -ln(-ln u), of any shape, from `uniform` noise in [0, 1].

    No epsilon is added; only u = 0 and u = 1, whose images are infinite, move to their neighbours.
    """
    uniform = jnp.asarray(uniform)  # before its limits: they are not those of NumPy's float64
    info = jnp.finfo(uniform.dtype)
    return -jnp.log(-jnp.log(jnp.clip(uniform, info.tiny, 1.0 - info.epsneg)))


def gumbel_softmax_from_noise(
    gumbel_noise: jax.Array, logits: jax.Array, temperature: float | jax.Array
) -> jax.Array:
    """`gumbel_softmax` with the noise given, so that it can be shared or checked.

    Args:
        gumbel_noise: Standard Gumbel noise, `[B, K]`.
        logits: Logits, `[B, K]`.
        temperature: Positive scalar.

    Returns:
        Points of the simplex, `[B, K]`; every argument carries gradient.
    """
    chex.assert_equal_shape([gumbel_noise, logits])
    return jax.nn.softmax((logits + gumbel_noise) / temperature)


def gumbel_softmax(key: jax.Array, logits: jax.Array, temperature: float | jax.Array) -> jax.Array:
    """A relaxed, reparameterised sample of the categorical, `[B, K]`.

    Jang, Gu, Poole, "Categorical Reparameterization with Gumbel-Softmax", 2017, eq. 2. As the
    temperature falls to 0 the sample becomes one-hot; its argmax is an exact sample at any.

    Args:
        key: Random key; consumed.
        logits: Logits, `[B, K]`.
        temperature: Positive scalar.

    Returns:
        Points of the simplex; `logits` and `temperature` carry gradient.

    Examples:
        >>> from ivg.distributions import categorical
        >>> logits = jnp.log(jnp.tile(jnp.array([0.2, 0.8]), (2000, 1)))
        >>> d = categorical.gumbel_softmax(jax.random.key(0), logits, temperature=0.1)
        >>> bool(jnp.allclose(d.sum(axis=1), 1.0)), bool(abs((d[:, 1] > 0.5).mean() - 0.8) < 0.05)
        (True, True)
    """
    # The smallest normal number for 0: a logarithm follows.
    dtype = jnp.result_type(logits)
    uniform = jax.random.uniform(key, jnp.shape(logits), dtype, minval=jnp.finfo(dtype).tiny)
    return gumbel_softmax_from_noise(gumbel(uniform), logits, temperature)
