"""Bernoulli variables given by logits, and their relaxation.

Elementwise: nothing is summed, any shape goes. `logits` are ln p - ln(1 - p) of the probability p
of a 1; values are in nats.
"""

import chex
import jax
import jax.numpy as jnp


def entropy(logits: jax.Array) -> jax.Array:
    """Entropy of each variable, between 0 and ln 2; carries gradient.

    Finite for any finite logits; NaN for infinite ones.

    Examples:
        >>> from ivg.distributions import bernoulli
        >>> print(np.asarray(bernoulli.entropy(jnp.array([0.0, 100.0]))).round(3))
        [0.693 0.   ]
    """
    ones, zeros = jax.nn.sigmoid(logits), jax.nn.sigmoid(-logits)
    return -ones * jax.nn.log_sigmoid(logits) - zeros * jax.nn.log_sigmoid(-logits)


def logistic(uniform: jax.Array) -> jax.Array:
    """Standard logistic noise ln u - ln(1 - u) of `uniform` noise in [0, 1].

    Only u = 0 and u = 1, whose images are infinite, move to their neighbours.
    """
    uniform = jnp.asarray(uniform)  # before its limits: they are not those of NumPy's float64
    info = jnp.finfo(uniform.dtype)
    uniform = jnp.clip(uniform, info.tiny, 1.0 - info.epsneg)
    return jnp.log(uniform) - jnp.log1p(-uniform)


def relaxed_log_sample_from_noise(
    noise: jax.Array, logits: jax.Array, temperature: float | jax.Array
) -> jax.Array:
    """`relaxed_log_sample` with the logistic noise given; every argument carries gradient."""
    chex.assert_equal_shape([noise, logits])
    return jax.nn.log_sigmoid((logits + noise) / temperature)


def relaxed_log_sample(
    key: jax.Array, logits: jax.Array, temperature: float | jax.Array
) -> jax.Array:
    """Logarithm of a relaxed, reparameterised sample, of the shape of `logits`.

    Maddison, Mnih, Teh, "The Concrete Distribution", ICLR 2017, appendix B. As the temperature
    falls to 0 the sample becomes 0 or 1; its rounding is an exact sample at any. As a logarithm,
    since at low temperatures zeros are smaller than any float.

    Args:
        key: Random key; consumed.
        logits: Of any shape.
        temperature: Positive scalar.

    Returns:
        At most 0; `logits` and `temperature` carry gradient.
    """
    uniform = jax.random.uniform(key, jnp.shape(logits), jnp.result_type(logits))
    return relaxed_log_sample_from_noise(logistic(uniform), logits, temperature)


def relaxed_sample(key: jax.Array, logits: jax.Array, temperature: float | jax.Array) -> jax.Array:
    """A relaxed, reparameterised sample in [0, 1]; see `relaxed_log_sample`.

    Examples:
        >>> from ivg.distributions import bernoulli
        >>> logits = jnp.full(2000, jnp.log(0.8 / 0.2))
        >>> x = bernoulli.relaxed_sample(jax.random.key(0), logits, temperature=0.1)
        >>> bool(abs((x > 0.5).mean() - 0.8) < 0.05)
        True
    """
    return jnp.exp(relaxed_log_sample(key, logits, temperature))
