"""DIP-VAE-I and DIP-VAE-II.

Kumar, Sattigeri, Balakrishnan, "Variational Inference of Disentangled Latent Concepts from
Unlabeled Observations", ICLR 2018. A VAE whose codes' covariance is brought near the identity:

    -log p(x | z) + KL(q(z | x) || p(z))
    + lambda_od sum_{i != j} C_ij^2 + lambda_d sum_i (C_ii - 1)^2

Symbols and players: as in `ivg.methods.vae`. C is the minibatch's covariance of the posteriors'
means ("i"), or of the codes themselves ("ii").
"""

import functools
from collections.abc import Callable, Mapping

import jax
import optax

from ivg.errors import UserError
from ivg.losses import total_correlation
from ivg.methods import vae
from ivg.players import Method, Metrics

COVARIANCES = {"i": total_correlation.means_covariance, "ii": total_correlation.codes_covariance}


def step(
    model: vae.Model, penalty: Callable, s: vae.VAE, xs: jax.Array, key: jax.Array
) -> tuple[vae.VAE, Metrics]:
    """One update of encoder and decoder."""

    def loss(phi, theta):
        run = vae.autoencode(model, s, phi, theta, xs[0], key)
        parts = vae.metrics(run)
        parts["E/covariance_penalty"] = penalty(run.q)
        loss = parts["E/kl"] - parts["G/log_likelihood"]
        return loss + parts["E/covariance_penalty"], (run.stats, parts)

    grads, (stats, parts) = jax.grad(loss, (0, 1), has_aux=True)(s.E.params, s.G.params)
    return vae.update(model, s, grads, stats), parts


def dip_vae(
    *,
    image_shape: tuple[int, int, int],
    batch_size: int,
    tx: Mapping[str, optax.GradientTransformation],
    network: Mapping,
    dim_z: int = 10,
    likelihood: str = "bernoulli",
    variant: str = "i",
    weight_off_diagonal: float = 10.0,
    weight_diagonal: float = 100.0,
) -> Method:
    """DIP-VAE; the default weights are of those that disentanglement_lib's study tries for "i".

    Args:
        image_shape: (H, W, C) of the images, which are in [-1, 1].
        batch_size: not used; a step takes its size from the images.
        tx: an optimiser for each of "E", "G".
        network: name of a family in `ivg.networks.AUTOENCODER_FAMILIES` under "name", its options
            beside.
        dim_z: size of the code.
        likelihood: "bernoulli" or "gaussian", see `ivg.methods.likelihood`.
        variant: "i" or "ii".
        weight_off_diagonal: lambda_od.
        weight_diagonal: lambda_d.

    Raises:
        UserError: if the network family cannot take the image size, or there is no such likelihood
            or variant.
    """
    del batch_size
    if variant not in COVARIANCES:
        raise UserError(f'variant="{variant}" is not a choice of dip_vae; use "i" or "ii".')
    model = vae.make_model(image_shape, tx, network, dim_z, likelihood)

    def penalty(q):
        return total_correlation.covariance_penalty(
            COVARIANCES[variant](q),
            weight_off_diagonal=weight_off_diagonal,
            weight_diagonal=weight_diagonal,
        )

    return vae.make_method(model, functools.partial(step, model, penalty))
