"""How dependent several codes of the same images are, without a network: kernels."""

import math

import chex
import jax
import jax.numpy as jnp

# Under the root, whose slope at 0 would be infinite: the value there is 1e-4 instead of 0.
EPSILON = 1e-8


def dhsic(codes: jax.Array) -> jax.Array:
    """Root of the d-variable Hilbert-Schmidt independence criterion, a *scalar*.

    Pfister, Buehlmann, Schoelkopf, Peters, "Kernel-based Tests for Joint Independence", JRSS B
    2018, definition 2.6 (the V-statistic), as Ye & Bors' mixture autoencoder uses it: of Gaussian
    kernels, under a root. A batch quantity; of independent codes about 1 / sqrt(B), not 0. To be
    *minimised* by codes that should be independent.

    Args:
        codes: The n codes of B images, `[n, B, D]`; carries gradient, which is finite everywhere.

    Returns:
        sqrt(mean prod K + prod mean K - 2 mean_i prod_k mean_j K_k(i, j) + `EPSILON`), K_k the
        kernels `[B, B]` of each code.

    Examples:
        >>> from ivg.losses import independence
        >>> z = jnp.linspace(-2.0, 2.0, 8)[:, None]
        >>> equal, constant = jnp.stack([z, z]), jnp.stack([z, jnp.zeros((8, 1))])
        >>> bool(independence.dhsic(equal) > 0.2), bool(independence.dhsic(constant) < 2e-3)
        (True, True)
    """
    chex.assert_rank(codes, 3)
    kernels = gaussian_kernels(codes)
    rows = jnp.mean(kernels, axis=2)
    joint = jnp.mean(jnp.prod(kernels, axis=0))
    product = jnp.prod(jnp.mean(rows, axis=1))
    cross = jnp.mean(jnp.prod(rows, axis=0))
    # Never below 0 but by rounding.
    return jnp.sqrt(jnp.maximum(joint + product - 2.0 * cross, 0.0) + EPSILON)


def gaussian_kernels(codes: jax.Array) -> jax.Array:
    """exp(-|z_i - z_j|^2 / (2 s^2)) of each code, `[n, B, D]` to `[n, B, B]`; carries gradient.

    s = `mean_distance(D)`: the kernel suits codes that are distributed as N(0, I).
    """
    # Distances stay the same; around 0 their differences of large squares keep more digits.
    codes = codes - jnp.mean(codes, axis=1, keepdims=True)
    squared_norms = jnp.sum(jnp.square(codes), axis=-1)
    products = jnp.einsum("nid,njd->nij", codes, codes, precision=jax.lax.Precision.HIGHEST)
    squared = squared_norms[:, :, None] + squared_norms[:, None, :] - 2.0 * products
    gamma = 0.5 / mean_distance(codes.shape[-1]) ** 2
    return jnp.exp(-gamma * jnp.maximum(squared, 0.0))


def mean_distance(size: int) -> float:
    """Mean distance of two points of N(0, I) in `size` dimensions: 2 G((D+1)/2) / G(D/2).

    Examples:
        >>> from ivg.losses import independence
        >>> round(independence.mean_distance(1), 3)  # 2 / sqrt(pi)
        1.128
    """
    return 2.0 * math.exp(math.lgamma(0.5 * (size + 1)) - math.lgamma(0.5 * size))
