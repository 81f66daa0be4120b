"""p(x | z) of the autoencoders: what the decoder's outputs mean."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ivg.errors import UserError
from ivg.losses import variational


class Likelihood(NamedTuple):
    """A distribution of images given the decoder's outputs, both `[B, H, W, C]`.

    Attributes:
        log_prob: (images in [-1, 1], outputs) -> log p(x | z) in nats, `[B]`; carries gradient.
        mean: outputs -> the mean image in [-1, 1].
    """

    log_prob: Callable[[jax.Array, jax.Array], jax.Array]
    mean: Callable[[jax.Array], jax.Array]


LIKELIHOODS = {
    # Pixels in [0, 1]; between 0 and 1, as in colour, a cross-entropy.
    "bernoulli": Likelihood(
        log_prob=lambda x, out: variational.bernoulli_log_likelihood(0.5 * (x + 1.0), out),
        mean=lambda out: 2.0 * jax.nn.sigmoid(out) - 1.0,
    ),
    # Unit variance on pixels in [-1, 1].
    "gaussian": Likelihood(
        log_prob=lambda x, out: variational.gaussian_log_likelihood(x, jnp.tanh(out)),
        mean=jnp.tanh,
    ),
}


def likelihood(name: str) -> Likelihood:
    """A likelihood by name.

    Raises:
        UserError: there is no such likelihood.
    """
    if name not in LIKELIHOODS:
        raise UserError(f'there is no likelihood "{name}"; use {" or ".join(LIKELIHOODS)}.')
    return LIKELIHOODS[name]
