"""r-CVAE: a conditional VAE whose attributes have a representation of their own.

Kim, "Mutual Information Minimizing VAE" (thesis, 2019), the baseline with neither adversary nor
mutual information: what an attribute decides in an image is to go into c, the rest into z, and the
evidence lower bound alone has to see to it. Everything here is shared with CSVAE and MMVAE.

Symbols: x image, y its k binary attributes, z the rest representation, c the attributes'
representation, two dimensions for each. q(z | x) does not see y; q(c | x, y) does. p(z) = N(0, I);
p(c_i | y_i) = N((0, 0), 0.1^2 I) for y_i = 0 and N((3, 3), I) for y_i = 1; p(x | z, c) is Gaussian
with one fixed variance. Players: E (both posteriors, one trunk), G (the decoder).

Where the thesis is silent or cannot be meant (choices, not its words):
- It gives no range of pixels and no variance of p(x | z, c), and asks for weights of 1 throughout.
  Here pixels are in [-1, 1], with a tanh decoder, and the standard deviation is 2 (`image_std`):
  unit variance on pixels in [0, 1]. With 1, four times the weight on the image, MMVAE's c tells
  0.35 bits of y's 1.00 after 1,000 steps on rendered faces.
- The weight of KL(q(c | x, y) || p(c | y)) may start above 1 (`kl_c_start`, off by default). Short
  trainings of r-CVAE need it: c enters every stage of the decoder and is the first code that it
  learns to read, so that both labels' posteriors meet where one scale of c serves all images (the
  background's colour, on faces), 9 nats away from p(c | y = 1); the way back is slow. Without it c
  tells 0.59 bits of y after 3,000 steps, and shares 1.05 with z.
- The heads of the posteriors are linear: the batch norm and leaky ReLU that the text puts there
  could not represent N(0, I).
- The heads of c say how q(c | x, y) deviates from p(c | y), in its own units (a residual Gaussian,
  as in NVAE: Vahdat & Kautz 2020). The family of posteriors is the same, but c starts where its
  prior is. Plain heads start with one c for both labels; the decoder then uses c for what lowers
  the error fastest, such as the background, and c tells next to nothing of y for thousands of
  steps (0.01 bits after 1,000 on rendered faces).
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ivg import networks as net
from ivg.distributions import Gaussian, gaussian
from ivg.losses import variational
from ivg.methods import vae
from ivg.players import (
    Code,
    Codes,
    Labelled,
    Method,
    Metrics,
    Params,
    Phase,
    Player,
    player,
)

PER_ATTRIBUTE = 2  # dimensions of c for each attribute
PRIOR = "N(3, 1) where the attribute is present, N(0, 0.1^2) where not; two dimensions for each"
LOW, HIGH = -0.5, 3.5  # the range of c in the thesis' figures


class RCVAE(NamedTuple):
    """The state: the encoder of z and c, and the decoder."""

    E: Player
    G: Player
    t: jax.Array  # int32 []


class Model(NamedTuple):
    """What does not change during training: networks, optimisers and sizes."""

    E: net.Network
    G: net.Network
    tx: Mapping[str, optax.GradientTransformation]
    image_shape: tuple[int, int, int]
    dim_z: int
    num_attributes: int
    image_std: float
    weight_c: optax.Schedule  # of KL(q(c | x, y) || p(c | y))


class Latents(NamedTuple):
    """Posteriors and one sample of each."""

    z: jax.Array  # [B, dim_z]
    c: jax.Array  # [B, 2k]
    q_z: Gaussian
    q_c: Gaussian


def attribute_prior(y: jax.Array) -> Gaussian:
    """p(c | y) for y float [B, k]: arrays [B, 2k]."""
    y = jnp.repeat(y, PER_ATTRIBUTE, axis=-1)
    return Gaussian(mean=3.0 * y, log_var=2.0 * jnp.log(0.1 + 0.9 * y))


def posteriors(outputs: tuple[jax.Array, ...], y: jax.Array) -> tuple[Gaussian, Gaussian]:
    """The encoder's heads as q(z | x), q(c | x, y).

    Those of c are its deviation from p(c | y): of the mean in standard deviations, of the variance
    as a factor.
    """
    z_mean, z_log_var, shift, log_factor = outputs
    p = attribute_prior(y)
    q_c = Gaussian(p.mean + jnp.exp(0.5 * p.log_var) * shift, p.log_var + log_factor)
    return Gaussian(z_mean, z_log_var), q_c


def infer(
    model: Model, phi: Params, stats: Params, batch: Labelled, key: jax.Array
) -> tuple[Latents, Params]:
    """One sample of z and c per image, with E's new batch statistics."""
    z_key, c_key = jax.random.split(key)
    outputs, stats = model.E.train(phi, stats, batch.x, batch.y)
    q_z, q_c = posteriors(outputs, batch.y)
    return Latents(gaussian.sample(z_key, q_z), gaussian.sample(c_key, q_c), q_z, q_c), stats


def negative_elbo(
    model: Model, theta: Params, stats: Params, t: jax.Array, batch: Labelled, latents: Latents
) -> tuple[jax.Array, tuple[Params, Metrics]]:
    """-log p(x | z, c) + KL(q(z | x) || p(z)) + KL(q(c | x, y) || p(c | y)), mean over the batch.

    The constant of the Gaussian is left out. Returns (loss, (G's statistics, parts)).
    """
    x_hat, stats = model.G.train(theta, stats, latents.z, latents.c)
    parts = {
        "G/squared_error": jnp.mean(variational.squared_error(batch.x, x_hat)) / model.image_std**2,
        "E/kl_z": jnp.mean(gaussian.kl_standard(latents.q_z)),
        "E/kl_c": jnp.mean(gaussian.kl(latents.q_c, attribute_prior(batch.y))),
    }
    weighted = parts | {"E/kl_c": model.weight_c(t) * parts["E/kl_c"]}
    return sum(weighted.values()), (stats, parts)


def first(xs: Labelled) -> Labelled:
    """The first of a step's minibatches."""
    return jax.tree.map(lambda leaf: leaf[0], xs)


def step(model: Model, s: RCVAE, xs: Labelled, key: jax.Array) -> tuple[RCVAE, Metrics]:
    """One update of encoder and decoder."""
    batch = first(xs)

    def loss(phi, theta):
        latents, e_stats = infer(model, phi, s.E.stats, batch, key)
        value, (g_stats, parts) = negative_elbo(model, theta, s.G.stats, s.t, batch, latents)
        return value, (e_stats, g_stats, parts)

    grads, (e_stats, g_stats, parts) = jax.grad(loss, (0, 1), has_aux=True)(s.E.params, s.G.params)
    return vae.update(model, s, grads, (e_stats, g_stats)), parts


def init(model: Model, key: jax.Array) -> RCVAE:
    """Encoder and decoder at the start."""
    e_key, g_key = jax.random.split(key)
    x, y = jnp.zeros((2, *model.image_shape)), jnp.zeros((2, model.num_attributes))
    z, c = jnp.zeros((2, model.dim_z)), jnp.zeros((2, PER_ATTRIBUTE * model.num_attributes))
    return RCVAE(
        E=player(*model.E.init(e_key, x, y), model.tx["E"]),
        G=player(*model.G.init(g_key, z, c), model.tx["G"]),
        t=jnp.int32(0),
    )


# ---- what all three methods offer; `s` is any state with the players E and G ---------------------


def prior(model: Model, key: jax.Array, n: int) -> Codes:
    """Codes {c [n, 2k], z [n, dim_z]} from p(c | y) p(z), each attribute present in one half."""
    y_key, c_key, z_key = jax.random.split(key, 3)
    y = jax.random.bernoulli(y_key, 0.5, (n, model.num_attributes)).astype(jnp.float32)
    c = gaussian.sample(c_key, attribute_prior(y))
    return {"c": c, "z": jax.random.normal(z_key, (n, model.dim_z))}


def inferred(model: Model, s, batch: Labelled) -> tuple[Gaussian, Gaussian]:
    """q(z | x), q(c | x, y), with batch norm by running averages."""
    return posteriors(model.E.infer(s.E.params, s.E.stats, batch.x, batch.y), batch.y)


def encode(model: Model, s, batch: Labelled) -> Codes:
    """The means of q(c | x, y) and q(z | x)."""
    q_z, q_c = inferred(model, s, batch)
    return {"c": q_c.mean, "z": q_z.mean}


def posterior(model: Model, s, batch: Labelled, key: jax.Array) -> Codes:
    """One sample each of q(c | x, y) and q(z | x)."""
    c_key, z_key = jax.random.split(key)
    q_z, q_c = inferred(model, s, batch)
    return {"c": gaussian.sample(c_key, q_c), "z": gaussian.sample(z_key, q_z)}


def generate(model: Model, s, codes: Codes) -> jax.Array:
    """Codes to images [B, H, W, C] in [-1, 1]."""
    return model.G.infer(s.G.params, s.G.stats, codes["z"], codes["c"])


def log_likelihood(model: Model, s, batch: Labelled, key: jax.Array) -> dict[str, jax.Array]:
    """A lower bound on log p(x | y), nats per image, each [B]: the ELBO with weights 1."""
    c_key, z_key = jax.random.split(key)
    q_z, q_c = inferred(model, s, batch)
    codes = {"c": gaussian.sample(c_key, q_c), "z": gaussian.sample(z_key, q_z)}
    parts = variational.ElboParts(
        log_likelihood=variational.gaussian_log_likelihood(
            batch.x, generate(model, s, codes), model.image_std
        ),
        kl_z=gaussian.kl_standard(q_z),
        kl_c=gaussian.kl(q_c, attribute_prior(batch.y)),
        kl_d=jnp.zeros(len(batch.x)),
    )
    return parts._asdict() | {"bound": variational.elbo(parts)}


def make_model(
    *,
    image_shape: tuple[int, int, int],
    tx: Mapping[str, optax.GradientTransformation],
    network: Mapping,
    dim_z: int,
    num_attributes: int,
    image_std: float,
    kl_c_start: float,
    kl_c_steps: int,
) -> Model:
    """Networks, sizes and weights of the three methods.

    Raises:
        UserError: if the network family cannot take the image size.
    """
    family = net.attribute_family(**network)
    family.check(image_shape)
    return Model(
        E=family.encoder(dim_z, num_attributes),
        G=family.decoder(image_shape),
        tx=tx,
        image_shape=image_shape,
        dim_z=dim_z,
        num_attributes=num_attributes,
        image_std=image_std,
        weight_c=optax.linear_schedule(kl_c_start, 1.0, kl_c_steps)
        if kl_c_steps
        else optax.constant_schedule(1.0),
    )


def make_method(model: Model, *, init, phase: Phase) -> Method:
    """The method around one of the three step functions."""
    return Method(
        init=init,
        phases=(phase,),
        encode=functools.partial(encode, model),
        generate=functools.partial(generate, model),
        prior=lambda s, key, n: prior(model, key, n),
        codes={
            "c": Code("continuous", PER_ATTRIBUTE * model.num_attributes, LOW, HIGH, PRIOR),
            "z": Code("noise", model.dim_z),
        },
        log_likelihood=functools.partial(log_likelihood, model),
        num_attributes=model.num_attributes,
        posterior=functools.partial(posterior, model),
        attribute_prior=lambda key, y: gaussian.sample(key, attribute_prior(y)),
    )


def r_cvae(
    *,
    image_shape: tuple[int, int, int],
    batch_size: int,
    tx: Mapping[str, optax.GradientTransformation],
    network: Mapping,
    num_attributes: int,
    dim_z: int = 512,
    image_std: float = 2.0,
    kl_c_start: float = 1.0,
    kl_c_steps: int = 0,
) -> Method:
    """r-CVAE; the defaults are the thesis'.

    Args:
        image_shape: (H, W, C) of the images, which are in [-1, 1].
        batch_size: images per step; the step takes what it is given.
        tx: an optimiser for each of "E", "G".
        network: name of a family in `ivg.networks.ATTRIBUTE_FAMILIES` under "name", its options
            beside it.
        num_attributes: k, the number of binary attributes.
        dim_z: size of z.
        image_std: standard deviation of p(x | z, c) on pixels in [-1, 1].
        kl_c_start, kl_c_steps: the weight of KL(q(c | x, y) || p(c | y)) falls linearly from this
            start to 1 over so many steps; 0 steps: 1 throughout.

    Raises:
        UserError: if the network family cannot take the image size.
    """
    del batch_size
    model = make_model(
        image_shape=image_shape,
        tx=tx,
        network=network,
        dim_z=dim_z,
        num_attributes=num_attributes,
        image_std=image_std,
        kl_c_start=kl_c_start,
        kl_c_steps=kl_c_steps,
    )
    phase = Phase(functools.partial(step, model), 1)
    return make_method(model, init=functools.partial(init, model), phase=phase)
