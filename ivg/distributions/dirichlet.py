"""Dirichlet distributions: reparameterised samples and the divergence in closed form.

A Dirichlet travels as its concentration, positive, `[B, n]`; the last axis is the event, a point of
the simplex. Divergences are in nats, one per example, `[B]`.
"""

import chex
import jax
import jax.numpy as jnp


def log_sample(key: jax.Array, concentration: jax.Array) -> jax.Array:
    """Logarithm of one reparameterised sample per example, `[B, n]`.

    With concentrations below 0.1 most weights are smaller than any float; their logarithms are not.

    Args:
        key: Random key; consumed.
        concentration: Positive, `[B, n]`; carries gradient, by implicit reparameterisation
            (Figurnov, Mohamed, Mnih, "Implicit Reparameterization Gradients", NeurIPS 2018) of the
            gamma variables whose shares the weights are.

    Returns:
        Logarithms of weights that sum to 1.
    """
    return jax.nn.log_softmax(jax.random.loggamma(key, concentration))


def sample(key: jax.Array, concentration: jax.Array) -> jax.Array:
    """One reparameterised sample per example, points of the simplex `[B, n]`; see `log_sample`."""
    return jnp.exp(log_sample(key, concentration))


def mean(concentration: jax.Array) -> jax.Array:
    """Mean of the distribution, a point of the simplex, `[B, n]`; carries gradient.

    Examples:
        >>> from ivg.distributions import dirichlet
        >>> print(dirichlet.mean(jnp.array([[1.0, 3.0]])))
        [[0.25 0.75]]
    """
    return concentration / jnp.sum(concentration, axis=-1, keepdims=True)


def kl(q: jax.Array, p: jax.Array) -> jax.Array:
    """KL(Dir(q) || Dir(p)) in nats, per example `[B]`, in closed form.

    Args:
        q: Concentrations, `[B, n]`.
        p: Concentrations, `[B, n]`.

    Returns:
        ln G(sum q) - ln G(sum p) - sum (ln G(q) - ln G(p)) + sum (q - p) (psi(q) - psi(sum q)), G
        the gamma function and psi its logarithmic derivative; both arguments carry gradient.

    Examples:
        >>> from ivg.distributions import dirichlet
        >>> q, p = jnp.array([[2.0, 2.0]]), jnp.array([[1.0, 1.0]])
        >>> [round(abs(dirichlet.kl(q, other).item()), 3) for other in (q, p)]  # 0, ln 6 - 5 / 3
        [0.0, 0.125]
    """
    chex.assert_equal_shape([q, p])
    gammaln, digamma = jax.scipy.special.gammaln, jax.scipy.special.digamma
    q_sum, p_sum = jnp.sum(q, axis=-1), jnp.sum(p, axis=-1)
    normalisers = gammaln(q_sum) - gammaln(p_sum) - jnp.sum(gammaln(q) - gammaln(p), axis=-1)
    mean_log = digamma(q) - digamma(q_sum)[..., None]  # E_q[ln w]
    return normalisers + jnp.sum((q - p) * mean_log, axis=-1)
