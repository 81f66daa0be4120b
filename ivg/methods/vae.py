"""The variational autoencoder and beta-VAE.

Kingma & Welling, "Auto-Encoding Variational Bayes", ICLR 2014; Higgins et al., "beta-VAE: Learning
Basic Visual Concepts with a Constrained Variational Framework", ICLR 2017; Burgess et al.,
"Understanding Disentangling in beta-VAE", 2018 (capacity). What FactorVAE, beta-TCVAE and DIP-VAE
share with them is here too.

Symbols: x image, z its code, q(z | x) Gaussian with independent coordinates, p(z) = N(0, I),
p(x | z) the decoder's likelihood. Players: E (q(z | x)), G (p(x | z)).

The objective is one for all three, descended by both players:
    -log p(x | z) + beta(t) |KL(q(z | x) || p(z)) - C(t)|,
means over the batch inside the bars (as disentanglement_lib takes them). C = 0, the default, leaves
beta-VAE, since no divergence is negative; beta = 1 then leaves the VAE. beta(t) rises linearly from
0 over `beta_steps`, C(t) over `capacity_steps`.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ivg import networks as net
from ivg.distributions import Gaussian, gaussian
from ivg.losses import information, variational
from ivg.methods.likelihood import Likelihood, likelihood
from ivg.players import Code, Codes, Method, Metrics, Params, Phase, Player, descend, player


class VAE(NamedTuple):
    """The state: encoder, decoder and the step number."""

    E: Player
    G: Player
    t: jax.Array  # int32 []


class Model(NamedTuple):
    """What does not change during training: networks, optimisers, sizes, the likelihood."""

    E: net.Network
    G: net.Network
    tx: Mapping[str, optax.GradientTransformation]
    image_shape: tuple[int, int, int]
    dim_z: int
    likelihood: Likelihood


class Pass(NamedTuple):
    """One way through encoder and decoder."""

    q: Gaussian  # q(z | x), [B, dim_z]
    z: jax.Array  # one sample each, [B, dim_z]
    log_likelihood: jax.Array  # log p(x | z), [B]
    stats: tuple[Params, Params]  # new batch statistics of E and G


def autoencode(
    model: Model, s: Any, phi: Params, theta: Params, x: jax.Array, key: jax.Array
) -> Pass:
    """Images to q(z | x), to one z each, to log p(x | z), with E's and G's parameters given."""
    q, e_stats = model.E.train(phi, s.E.stats, x)
    q = Gaussian(*q)
    z = gaussian.sample(key, q)
    out, g_stats = model.G.train(theta, s.G.stats, z)
    return Pass(q, z, model.likelihood.log_prob(x, out), (e_stats, g_stats))


def metrics(run: Pass) -> Metrics:
    """Means over the batch: log p(x | z), KL(q(z | x) || p(z)) and its part in each dimension."""
    each = jnp.mean(gaussian.kl_standard_per_dimension(run.q), axis=0)
    parts = {"G/log_likelihood": jnp.mean(run.log_likelihood), "E/kl": jnp.sum(each)}
    return parts | {f"E/kl_{i + 1:02d}": kl for i, kl in enumerate(each)}


def update(model: Model, s: Any, grads: tuple[Params, Params], stats: tuple[Params, Params]) -> Any:
    """The state after one step of E and G down `grads`, with their new batch statistics."""
    return s._replace(
        E=descend(s.E, grads[0], model.tx["E"], stats[0]),
        G=descend(s.G, grads[1], model.tx["G"], stats[1]),
        t=s.t + 1,
    )


class Schedules(NamedTuple):
    """What changes with the step number."""

    beta: optax.Schedule
    capacity: optax.Schedule


def step(
    model: Model, schedules: Schedules, s: VAE, xs: jax.Array, key: jax.Array
) -> tuple[VAE, Metrics]:
    """One update of encoder and decoder."""

    def loss(phi, theta):
        run = autoencode(model, s, phi, theta, xs[0], key)
        parts = metrics(run)
        distance = jnp.abs(parts["E/kl"] - schedules.capacity(s.t))
        return -parts["G/log_likelihood"] + schedules.beta(s.t) * distance, (run.stats, parts)

    grads, (stats, parts) = jax.grad(loss, (0, 1), has_aux=True)(s.E.params, s.G.params)
    return update(model, s, grads, stats), parts


def init(model: Model, key: jax.Array) -> VAE:
    """Encoder and decoder at the start."""
    e_key, g_key = jax.random.split(key)
    x, z = jnp.zeros((2, *model.image_shape)), jnp.zeros((2, model.dim_z))
    return VAE(
        E=player(*model.E.init(e_key, x), model.tx["E"]),
        G=player(*model.G.init(g_key, z), model.tx["G"]),
        t=jnp.int32(0),
    )


def posterior(model: Model, s: Any, x: jax.Array) -> Gaussian:
    """q(z | x), `[B, dim_z]`, with running averages."""
    return Gaussian(*model.E.infer(s.E.params, s.E.stats, x))


def encode(model: Model, s: Any, x: jax.Array) -> Codes:
    """Images to the means of q(z | x)."""
    return {"z": posterior(model, s, x).mean}


def generate(model: Model, s: Any, codes: Codes) -> jax.Array:
    """Codes to mean images [B, H, W, C] in [-1, 1]."""
    return model.likelihood.mean(model.G.infer(s.G.params, s.G.stats, codes["z"]))


def prior(model: Model, s: Any, key: jax.Array, n: int) -> Codes:
    """Z ~ N(0, I), [n, dim_z]."""
    return {"z": jax.random.normal(key, (n, model.dim_z))}


def log_likelihood(model: Model, s: Any, x: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
    """A lower bound on log p(x), nats per image, each [B]: the ELBO with weights 1."""
    q = posterior(model, s, x)
    out = model.G.infer(s.G.params, s.G.stats, gaussian.sample(key, q))
    parts = variational.ElboParts(
        log_likelihood=model.likelihood.log_prob(x, out),
        kl_z=gaussian.kl_standard(q),
        kl_c=0.0,
        kl_d=0.0,
    )
    bound = variational.elbo(parts)
    return {"log_likelihood": parts.log_likelihood, "kl_z": parts.kl_z, "bound": bound}


def bounds(model: Model, s: Any, key: jax.Array, n: int) -> dict[str, jax.Array]:
    """Log q(z | x_g) + H(z) for n images from the prior: a lower bound on I(z; x_g), `[n]`."""
    codes = prior(model, s, key, n)
    q = posterior(model, s, generate(model, s, codes))
    entropy = information.normal_entropy(model.dim_z)
    return {"info_lower": information.gaussian_lower_bound(codes["z"], q, entropy)}


def rates(model: Model, s: Any, x: jax.Array) -> jax.Array:
    """KL(q(z | x) || p(z)) of images, per dimension, nats `[B, dim_z]`."""
    return gaussian.kl_standard_per_dimension(posterior(model, s, x))


def make_model(
    image_shape: tuple[int, int, int],
    tx: Mapping[str, optax.GradientTransformation],
    network: Mapping,
    dim_z: int,
    likelihood_name: str,
) -> Model:
    """Networks and sizes of the autoencoder.

    Raises:
        UserError: if the network family cannot take the image size, or there is no such likelihood.
    """
    family = net.autoencoder_family(**network)
    family.check(image_shape)
    return Model(
        E=family.encoder((dim_z, dim_z)),
        G=family.decoder(image_shape),
        tx=tx,
        image_shape=image_shape,
        dim_z=dim_z,
        likelihood=likelihood(likelihood_name),
    )


def make_method(
    model: Model, step: Callable, *, start: Callable | None = None, num_batches: int = 1
) -> Method:
    """A method whose codes, encoder and decoder are the VAE's.

    Args:
        model: the autoencoder.
        step: (state, xs, key) -> (state, metrics).
        start: key -> state, where there are other players besides; None for the VAE's own.
        num_batches: minibatches of a step.
    """
    return Method(
        init=start or functools.partial(init, model),
        phases=(Phase(step, num_batches),),
        encode=functools.partial(encode, model),
        generate=functools.partial(generate, model),
        prior=functools.partial(prior, model),
        codes={"z": Code("continuous", model.dim_z, -2.0, 2.0)},
        log_likelihood=functools.partial(log_likelihood, model),
        bounds=functools.partial(bounds, model),
        rates=functools.partial(rates, model),
    )


def vae(
    *,
    image_shape: tuple[int, int, int],
    batch_size: int,
    tx: Mapping[str, optax.GradientTransformation],
    network: Mapping,
    dim_z: int = 10,
    likelihood: str = "bernoulli",
    beta: float = 1.0,
    beta_steps: int = 0,
    capacity: float = 0.0,
    capacity_steps: int = 0,
) -> Method:
    """The VAE, beta-VAE, and beta-VAE with controlled capacity.

    Args:
        image_shape: (H, W, C) of the images, which are in [-1, 1].
        batch_size: not used; a step takes its size from the images.
        tx: an optimiser for each of "E", "G".
        network: name of a family in `ivg.networks.AUTOENCODER_FAMILIES` under "name", its options
            beside.
        dim_z: size of the code.
        likelihood: "bernoulli" or "gaussian", see `ivg.methods.likelihood`.
        beta: weight of the divergence.
        beta_steps: steps over which it rises from 0; 0 = at once.
        capacity: nats at which the divergence is held in the end; 0 = beta-VAE.
        capacity_steps: steps over which the capacity rises from 0.

    Raises:
        UserError: if the network family cannot take the image size, or there is no such likelihood.
    """
    del batch_size
    model = make_model(image_shape, tx, network, dim_z, likelihood)
    schedules = Schedules(ramp(beta, beta_steps), ramp(capacity, capacity_steps))
    return make_method(model, functools.partial(step, model, schedules))


def ramp(end: float, steps: int) -> optax.Schedule:
    """Linear from 0 to `end` over so many steps, then constant; constant from the start for 0."""
    return optax.linear_schedule(0.0, end, steps) if steps else optax.constant_schedule(end)
