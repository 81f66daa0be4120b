"""beta-TCVAE.

Chen, Li, Grosse, Duvenaud, "Isolating Sources of Disentanglement in Variational Autoencoders",
NeurIPS 2018. The mean divergence of a VAE is mutual information + total correlation +
dimension-wise KL, of which only the total correlation is weighed by beta:

    -log p(x | z) + I(x; z) + beta TC(z) + sum_d KL(q(z_d) || p(z_d))

Symbols and players: as in `ivg.methods.vae`. The estimators:
- "minibatch_weighted": the paper's, every part from the minibatch's samples. Together the parts are
  log q(z | x) - log p(z), so this is a sampled divergence plus (beta - 1) TC.
- "disentanglement_lib": the divergence in closed form plus (beta - 1) TC.

Departure: the paper's estimates contain the logarithm of the data set's size, which adds constants
and changes no gradient. It is left out: what is logged are the parts for the minibatch's own
mixture of posteriors, so that the mutual information is at most ln B and nothing depends on the
data set. The total correlation of so small a mixture is biased: compare equal batches only.
"""

import functools
from collections.abc import Mapping

import jax
import optax

from ivg.errors import UserError
from ivg.losses import total_correlation
from ivg.losses.total_correlation import Decomposition
from ivg.methods import vae
from ivg.players import Method, Metrics


def decompose(run: vae.Pass) -> Decomposition:
    """The divergence's three parts for the minibatch's own mixture, scalars in nats."""
    log = total_correlation.minibatch_weighted(run.z, run.q, dataset_size=1)
    return total_correlation.decomposition(log)


def minibatch_weighted(run: vae.Pass, kl: jax.Array, beta: float) -> jax.Array:
    """The weighed divergence with all parts estimated."""
    parts = decompose(run)
    return parts.mutual_information + beta * parts.total_correlation + parts.dimension_kl


def disentanglement_lib(run: vae.Pass, kl: jax.Array, beta: float) -> jax.Array:
    """The weighed divergence with only the total correlation estimated, without constants."""
    return kl + (beta - 1.0) * total_correlation.total_correlation(run.z, run.q)


ESTIMATORS = {
    "minibatch_weighted": minibatch_weighted,
    "disentanglement_lib": disentanglement_lib,
}


def step(
    model: vae.Model, estimator: str, beta: float, s: vae.VAE, xs: jax.Array, key: jax.Array
) -> tuple[vae.VAE, Metrics]:
    """One update of encoder and decoder."""

    def loss(phi, theta):
        run = vae.autoencode(model, s, phi, theta, xs[0], key)
        parts = vae.metrics(run)
        parts |= {f"E/{name}": part for name, part in decompose(run)._asdict().items()}
        divergence = ESTIMATORS[estimator](run, parts["E/kl"], beta)
        return divergence - parts["G/log_likelihood"], (run.stats, parts)

    grads, (stats, parts) = jax.grad(loss, (0, 1), has_aux=True)(s.E.params, s.G.params)
    return vae.update(model, s, grads, stats), parts


def beta_tcvae(
    *,
    image_shape: tuple[int, int, int],
    batch_size: int,
    tx: Mapping[str, optax.GradientTransformation],
    network: Mapping,
    dim_z: int = 10,
    likelihood: str = "bernoulli",
    beta: float = 6.0,
    estimator: str = "minibatch_weighted",
) -> Method:
    """beta-TCVAE.

    Args:
        image_shape: (H, W, C) of the images, which are in [-1, 1].
        batch_size: not used; a step takes its size from the images.
        tx: an optimiser for each of "E", "G".
        network: name of a family in `ivg.networks.AUTOENCODER_FAMILIES` under "name", its options
            beside.
        dim_z: size of the code.
        likelihood: "bernoulli" or "gaussian", see `ivg.methods.likelihood`.
        beta: weight of the total correlation; 1 = VAE.
        estimator: "minibatch_weighted" or "disentanglement_lib".

    Raises:
        UserError: if the network family cannot take the image size, or there is no such likelihood
            or estimator.
    """
    del batch_size
    if estimator not in ESTIMATORS:
        known = " or ".join(f'"{name}"' for name in ESTIMATORS)
        raise UserError(f'estimator="{estimator}" is not a choice of beta_tcvae; use {known}.')
    model = vae.make_model(image_shape, tx, network, dim_z, likelihood)
    return vae.make_method(model, functools.partial(step, model, estimator, beta))
