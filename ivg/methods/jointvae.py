"""JointVAE: continuous codes and a class, each held at an amount of information.

Dupont, "Learning Disentangled Joint Continuous and Discrete Representations", NeurIPS 2018.

Symbols: x image, z continuous code, d class of K, one-hot; q(z | x) Gaussian with independent
coordinates, q(d | x) categorical, p(z) = N(0, I), p(d) uniform; p(x | z, d) the decoder's
likelihood. Players: E (both posteriors on one trunk), G (p(x | z, d)).

The objective, descended by both players (eq. 7), with KL_z = KL(q(z | x) || p(z)) and KL_d alike:
    -log p(x | z, d) + gamma |KL_z - C_z(t)| + gamma |KL_d - C_d(t)|,
means over the batch inside the bars, as released. The capacities rise linearly from 0; C_d stops
at ln K, which its divergence cannot exceed. In training d is a Gumbel-softmax sample, afterwards
the argmax.

Departures from the released code, each with its reason:
- Its loss is divided by H * W. Adam is blind to a factor but for its eps, so the objective stands
  here as printed, and configs multiply eps by H * W instead: the same updates.
- Its reconstruction term of colour images is a mean over pixels and channels times H * W: a third
  of the sum over both that log p(x | z, d) is. Here it is the sum; a gamma that was tuned to the
  third balances it when multiplied by 3.
- One class only; its chairs have three of two values each.
"""

import functools
import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ivg import networks as net
from ivg.distributions import Gaussian, categorical, gaussian
from ivg.errors import UserError
from ivg.losses import information, variational
from ivg.methods import vae
from ivg.methods.likelihood import likelihood as likelihood_named
from ivg.players import Code, Codes, Method, Metrics, Phase, Player, player


class JointVAE(NamedTuple):
    """The state: encoder, decoder and the step number."""

    E: Player
    G: Player
    t: jax.Array  # int32 []


class Model(NamedTuple):
    """What does not change during training: networks, sizes, the likelihood, weights."""

    auto: vae.Model  # encoder, decoder, optimisers, likelihood
    num_classes: int
    gamma: float
    temperature: float
    capacity_z: optax.Schedule
    capacity_d: optax.Schedule


class Posterior(NamedTuple):
    """q(z, d | x)."""

    z: Gaussian  # [B, dim_z]
    logits: jax.Array  # of d, [B, K]


def latents(codes: Codes) -> jax.Array:
    """The decoder's input [B, dim_z + K]."""
    return jnp.concatenate([codes["z"], codes["d"]], axis=-1)


def as_posterior(heads: tuple[jax.Array, ...]) -> Posterior:
    """The encoder's heads as q(z, d | x)."""
    mean, log_var, logits = heads
    return Posterior(Gaussian(mean, log_var), logits)


def relaxed(key: jax.Array, q: Posterior, temperature: float) -> Codes:
    """A sample of q(z, d | x) that carries gradient: d is Gumbel-softmax."""
    z_key, d_key = jax.random.split(key)
    return {
        "d": categorical.gumbel_softmax(d_key, q.logits, temperature),
        "z": gaussian.sample(z_key, q.z),
    }


def step(model: Model, s: JointVAE, xs: jax.Array, key: jax.Array) -> tuple[JointVAE, Metrics]:
    """One update of encoder and decoder, eq. 7."""
    x, auto = xs[0], model.auto

    def loss(phi, theta):
        heads, e_stats = auto.E.train(phi, s.E.stats, x)
        q = as_posterior(heads)
        codes = relaxed(key, q, model.temperature)
        out, g_stats = auto.G.train(theta, s.G.stats, latents(codes))
        each = jnp.mean(gaussian.kl_standard_per_dimension(q.z), axis=0)
        parts = {
            "G/log_likelihood": jnp.mean(auto.likelihood.log_prob(x, out)),
            "E/kl_z": jnp.sum(each),
            "E/kl_d": jnp.mean(categorical.kl_uniform(q.logits)),
        }
        distance = jnp.abs(parts["E/kl_z"] - model.capacity_z(s.t))
        distance += jnp.abs(parts["E/kl_d"] - model.capacity_d(s.t))
        parts |= {f"E/kl_{i + 1:02d}": kl for i, kl in enumerate(each)}
        return model.gamma * distance - parts["G/log_likelihood"], ((e_stats, g_stats), parts)

    grads, (stats, parts) = jax.grad(loss, (0, 1), has_aux=True)(s.E.params, s.G.params)
    return vae.update(auto, s, grads, stats), parts


def init(model: Model, key: jax.Array) -> JointVAE:
    """Encoder and decoder at the start."""
    e_key, g_key = jax.random.split(key)
    auto = model.auto
    x, codes = jnp.zeros((2, *auto.image_shape)), jnp.zeros((2, auto.dim_z + model.num_classes))
    return JointVAE(
        E=player(*auto.E.init(e_key, x), auto.tx["E"]),
        G=player(*auto.G.init(g_key, codes), auto.tx["G"]),
        t=jnp.int32(0),
    )


def posterior(model: Model, s: JointVAE, x: jax.Array) -> Posterior:
    """q(z, d | x) with running averages."""
    return as_posterior(model.auto.E.infer(s.E.params, s.E.stats, x))


def encode(model: Model, s: JointVAE, x: jax.Array) -> Codes:
    """Images to the argmax of d as one-hot and the mean of z."""
    q = posterior(model, s, x)
    return {"d": jax.nn.one_hot(jnp.argmax(q.logits, axis=-1), model.num_classes), "z": q.z.mean}


def decode(model: Model, s: JointVAE, codes: Codes) -> jax.Array:
    """Codes to the likelihood's parameters [B, H, W, C], with running averages."""
    return model.auto.G.infer(s.G.params, s.G.stats, latents(codes))


def generate(model: Model, s: JointVAE, codes: Codes) -> jax.Array:
    """Codes to mean images [B, H, W, C] in [-1, 1]."""
    return model.auto.likelihood.mean(decode(model, s, codes))


def prior(model: Model, s: JointVAE, key: jax.Array, n: int) -> Codes:
    """Codes {d [n, K] one-hot, z [n, dim_z]} from p(d) p(z)."""
    d_key, z_key = jax.random.split(key)
    return {
        "d": categorical.sample_one_hot(d_key, n, model.num_classes),
        "z": jax.random.normal(z_key, (n, model.auto.dim_z)),
    }


def log_likelihood(model: Model, s: JointVAE, x: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
    """A lower bound on log p(x), nats per image, each [B]: the ELBO with weights 1.

    One sample of (z, d), d from the categorical itself (not relaxed), so that this is a bound.
    """
    z_key, d_key = jax.random.split(key)
    q = posterior(model, s, x)
    d = jax.nn.one_hot(jax.random.categorical(d_key, q.logits), model.num_classes)
    out = decode(model, s, {"d": d, "z": gaussian.sample(z_key, q.z)})
    parts = variational.ElboParts(
        log_likelihood=model.auto.likelihood.log_prob(x, out),
        kl_z=gaussian.kl_standard(q.z),
        kl_c=0.0,
        kl_d=categorical.kl_uniform(q.logits),
    )
    bound = variational.elbo(parts)
    return {name: value for name, value in parts._asdict().items() if name != "kl_c"} | {
        "bound": bound
    }


def bounds(model: Model, s: JointVAE, key: jax.Array, n: int) -> dict[str, jax.Array]:
    """Log q(z, d | x_g) - log p(z, d) for n images from the prior, `[n]`.

    Its mean is at most I(z, d; x_g).
    """
    codes = prior(model, s, key, n)
    q = posterior(model, s, generate(model, s, codes))
    entropy = information.normal_entropy(model.auto.dim_z)
    info_z = information.gaussian_lower_bound(codes["z"], q.z, entropy)
    return {"info_lower": info_z + information.categorical_lower_bound(codes["d"], q.logits)}


def rates(model: Model, s: JointVAE, x: jax.Array) -> jax.Array:
    """KL(q(z | x) || p(z)) of images, per dimension, nats `[B, dim_z]`; d is not in it."""
    return gaussian.kl_standard_per_dimension(posterior(model, s, x).z)


def capacity_schedules(
    z: float, d: float, steps: int, num_classes: int
) -> tuple[optax.Schedule, optax.Schedule]:
    """C_z(t) and C_d(t), nats: from 0 to `z` and `d` over `steps`, the latter at most ln K."""
    rise, most = vae.ramp(d, steps), math.log(num_classes)
    return vae.ramp(z, steps), lambda t: jnp.minimum(rise(t), most)


def jointvae(
    *,
    image_shape: tuple[int, int, int],
    batch_size: int,
    tx: Mapping[str, optax.GradientTransformation],
    network: Mapping,
    dim_z: int = 10,
    num_classes: int = 10,
    likelihood: str = "bernoulli",
    gamma: float = 30.0,
    capacity_z: float = 5.0,
    capacity_d: float = 5.0,
    capacity_steps: int = 25_000,
    temperature: float = 0.67,
) -> Method:
    """JointVAE; the defaults are the released code's on MNIST.

    Args:
        image_shape: (H, W, C) of the images, which are in [-1, 1].
        batch_size: not used; a step takes its size from the images.
        tx: an optimiser for each of "E", "G".
        network: name of a family in `ivg.networks.AUTOENCODER_FAMILIES` under "name", its options
            beside.
        dim_z: size of the continuous code.
        num_classes: K of the class d.
        likelihood: "bernoulli" or "gaussian", see `ivg.methods.likelihood`.
        gamma: weight of both divergences' distances to their capacities.
        capacity_z, capacity_d: nats at which they are held in the end; d's at most ln K.
        capacity_steps: steps over which the capacities rise from 0.
        temperature: of the Gumbel-softmax samples of d.

    Raises:
        UserError: if the network family cannot take the image size, there is no such likelihood, or
            the temperature is not positive.
    """
    del batch_size
    if not temperature > 0:
        raise UserError(f"jointvae.temperature={temperature} must be positive; the paper has 0.67.")
    family = net.autoencoder_family(**network)
    family.check(image_shape)
    to_z, to_d = capacity_schedules(capacity_z, capacity_d, capacity_steps, num_classes)
    model = Model(
        auto=vae.Model(
            E=family.encoder((dim_z, dim_z, num_classes)),
            G=family.decoder(image_shape),
            tx=tx,
            image_shape=image_shape,
            dim_z=dim_z,
            likelihood=likelihood_named(likelihood),
        ),
        num_classes=num_classes,
        gamma=gamma,
        temperature=temperature,
        capacity_z=to_z,
        capacity_d=to_d,
    )
    return Method(
        init=functools.partial(init, model),
        phases=(Phase(functools.partial(step, model), 1),),
        encode=functools.partial(encode, model),
        generate=functools.partial(generate, model),
        prior=functools.partial(prior, model),
        codes={
            "d": Code("categorical", num_classes, prior="uniform over the classes"),
            "z": Code("continuous", dim_z, -2.0, 2.0),
        },
        log_likelihood=functools.partial(log_likelihood, model),
        bounds=functools.partial(bounds, model),
        rates=functools.partial(rates, model),
    )
