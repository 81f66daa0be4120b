"""Mutual information between codes and images, bounded from below by a network that reads codes.

I(u; x) = H(u) - H(u|x) >= E[log q(u|x)] + H(u) for any q, with equality where q is the posterior:
Barber and Agakov 2003; Chen et al., "InfoGAN", 2016, eqs. 4 and 5; InfoVAEGAN, the information
term of eq. 11. `d` is a discrete code, `c` a continuous one, q what the network says of them given
the image. Bounds are in nats, per example, `[B]`, to be *maximised*. Entropies of priors are plain
floats.
"""

import math

import chex
import jax
import jax.numpy as jnp

from ivg.distributions import Gaussian, categorical, gaussian


def categorical_lower_bound(d: jax.Array, logits: jax.Array) -> jax.Array:
    """Bound log q(d|x) + ln K, `[B]`, whose mean is at most I(d; x); d is uniform over K.

    Args:
        d: The codes that the image was generated from, one-hot `[B, K]`.
        logits: Logits of q(d|x), `[B, K]`.

    Returns:
        The bound, at most ln K; `d` and `logits` carry gradient.
    """
    return categorical.log_prob(d, logits) + categorical_entropy(logits.shape[-1])


def gaussian_lower_bound(c: jax.Array, q: Gaussian, entropy: float | jax.Array) -> jax.Array:
    """Bound log q(c|x) + H(c), `[B]`, whose mean is at most I(c; x).

    Args:
        c: The codes that the image was generated from, `[B, n]`.
        q: q(c|x), arrays of shape `[B, n]`.
        entropy: Entropy of the prior of c in nats, from `uniform_entropy` or `normal_entropy`.

    Returns:
        The bound; `c` and `q` carry gradient.
    """
    return gaussian.log_prob(c, q) + entropy


def reconstruction_lower_bound(z: jax.Array, z_hat: jax.Array) -> jax.Array:
    """Bound log q(z|x) - log p(z), `[B]`, for z ~ N(0, I) and q = N(z_hat, I).

    Jeon et al., "IB-GAN", AAAI 2021, the bound I^L as its released code logs it. Its mean is at
    most I(z; x).

    Args:
        z: The generator's input, `[B, n]`.
        z_hat: Its reconstruction from the image, `[B, n]`.

    Returns:
        (|z|^2 - |z - z_hat|^2) / 2; both arguments carry gradient.
    """
    chex.assert_equal_shape([z, z_hat])
    return 0.5 * jnp.sum(jnp.square(z) - jnp.square(z - z_hat), axis=-1)


def uniform_entropy(low: float, high: float, size: int) -> float:
    """Differential entropy of U(low, high)^size, nats."""
    return size * math.log(high - low)


def normal_entropy(size: int) -> float:
    """Differential entropy of N(0, I) in `size` dimensions, nats."""
    return 0.5 * size * math.log(2.0 * math.pi * math.e)


def categorical_entropy(num_classes: int) -> float:
    """Entropy of the uniform distribution over `num_classes`, nats."""
    return math.log(num_classes)


def agreement(logits_a: jax.Array, logits_b: jax.Array, *, balance: float) -> jax.Array:
    """How surely and evenly two views of the same images fall into the same classes: a *scalar*.

    mean_b ln <p(a_b), p(b_b)> + balance * H(mean p), to be *maximised*: the clustering loss of SCAN
    (Van Gansbeke et al. 2020, eq. 2) with transformed copies instead of mined neighbours, as IMSAT
    (Hu et al. 2017) takes them. A batch quantity through H(mean p).

    Args:
        logits_a: Logits of one view, `[B, K]`.
        logits_b: Logits of the other view of the same images, `[B, K]`.
        balance: Weight of the entropy of the mean prediction, which keeps all classes in use.

    Returns:
        At most `balance` ln K, in nats, which agreeing, certain and balanced predictions reach.
        Symmetric in its arguments; both carry gradient, finite also where views contradict.
    """
    chex.assert_rank([logits_a, logits_b], 2)
    chex.assert_equal_shape([logits_a, logits_b])
    log_a, log_b = jax.nn.log_softmax(logits_a), jax.nn.log_softmax(logits_b)
    mean = 0.5 * (jnp.mean(jnp.exp(log_a), axis=0) + jnp.mean(jnp.exp(log_b), axis=0))
    return jnp.mean(jax.nn.logsumexp(log_a + log_b, axis=-1)) + balance * _entropy(mean)


def _entropy(p: jax.Array) -> jax.Array:
    # 0 ln 0 = 0, and with a finite slope: cells that no prediction reaches do occur.
    return -jnp.sum(p * jnp.log(jnp.maximum(p, jnp.finfo(p.dtype).tiny)))
