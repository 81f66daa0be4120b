"""Instance noise: noise on real and generated images that fades out during training.

Sonderby et al., "Amortised MAP Inference for Image Super-resolution", 2017, section 2.5; the
released IB-GAN code uses it, and all GANs of its sprites table here do.
"""

import jax
import jax.numpy as jnp
import optax


def noise_schedule(start: float, end: float, steps: int) -> optax.Schedule:
    """Standard deviation that goes linearly from start to end over `steps` steps, then stays."""
    return optax.linear_schedule(start, end, steps) if steps else optax.constant_schedule(end)


def instance_noise(key: jax.Array, x: jax.Array, sigma: float | jax.Array) -> jax.Array:
    """Images `[B, ...]` plus N(0, sigma^2), clipped to [-1, 1] again; `x` carries gradient."""
    return jnp.clip(x + sigma * jax.random.normal(key, x.shape), -1.0, 1.0)
