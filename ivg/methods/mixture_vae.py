"""The deep mixture generative autoencoder.

Ye & Bors, "Deep Mixture Generative Autoencoders", IEEE TNNLS 2021; where the paper is silent, its
released code (dtuzi123/Mixture-of-VAE-with-dropout).

Symbols: x image; z_1..z_n, the codes of the n components, q(z_k | x) Gaussian, p(z_k) = N(0, I);
w their weights, q(w | x) = Dir(a(x)), p(w) = Dir(1/n, ..., 1/n), which is sparse: an image is
mostly one component's; p(x | w, z) the likelihood of the final decoder on the sum of the
sub-decoders' features, weighted by w. Players: E (the n encoders: Gaussians and scores a_k), G (the
n sub-decoders and the final decoder), P (the probability with which a component is dropped).

The objective, descended by all players at once:
    -log p(x | m(w), z) + (kl_weight sum_k KL(q(z_k | x) || p(z_k)) + kl_weight_w KL(q(w | x) ||
    p(w))) / n + dhsic_weight dHSIC(z_1, ..., z_n) + dropout_weight R,
means over the batch; m drops components, R is its own term. With both divergences' weights n and no
dropout the first line is minus a lower bound on log p(x), which `log_likelihood` is.
The code d is w: its mean where images are encoded, the argmax of which is the cluster. The code z
is z_1, ..., z_n side by side.

Departures from the released code, for its defects:
- The regulariser of the dropping probability p multiplied itself by itself, -10 H(p)^2; here it is
  -H(p), a plain multiple of the negative entropy (as concrete dropout has it, Gal et al. 2017).
- The Dirichlet divergence had psi(1) for psi(sum a), of scores that were normalised and cut to
  [0.1, 0.8]; here it is exact. The scores are the concentration as they are: normalised, it would
  always sum to 1, and no encoder could be certain of a weight but by a divergence without bound.
- Samples of w carry gradient to the scores (implicit reparameterisation); there they learnt from
  the divergence alone.
- p = sigmoid(parameter) everywhere; there the parameter itself was once taken for it. Images are
  encoded and generated without dropping. dHSIC has an epsilon under its root. No best score is kept
  (theirs was by a test the wrong way round): nothing is chosen during training.
- The cross-entropy of pixels is computed from logits, never as log(0).
- Standard deviations are the softplus of the heads without 1e-6 added: `gaussian.from_softplus`
  needs none.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ivg import networks as net
from ivg.distributions import Gaussian, bernoulli, dirichlet, gaussian
from ivg.errors import UserError
from ivg.losses import independence, information
from ivg.methods.likelihood import Likelihood
from ivg.methods.likelihood import likelihood as likelihood_named
from ivg.players import Code, Codes, Method, Metrics, Params, Phase, Player, descend, player

# Added to the scores: below, float32 knows neither samples nor their gradients.
MIN_CONCENTRATION = 1e-3
PRIOR = "Dirichlet(1/n, ..., 1/n), soft weights that add up to 1"
START_DROPPED = 0.1  # probability with which a component is dropped at the start, as released


class MixtureVAE(NamedTuple):
    """The state: n encoders, decoder, dropout and the step number."""

    E: Player
    G: Player
    P: Player
    t: jax.Array  # int32 []


class Dropout(NamedTuple):
    """How components are dropped during training.

    Attributes:
        init: its parameters at the start.
        apply: (parameters, key, ln w `[B, n]`) -> weights of the components, `[B, n]`.
        penalty: parameters -> the term R of the objective, nats.
    """

    init: Callable[[], Params]
    apply: Callable[[Params, jax.Array, jax.Array], jax.Array]
    penalty: Callable[[Params], jax.Array]


class Model(NamedTuple):
    """What does not change during training: networks, optimisers, sizes, weights."""

    E: net.Network
    G: net.Network
    tx: Mapping[str, optax.GradientTransformation]
    image_shape: tuple[int, int, int]
    num_components: int
    dim_z: int
    likelihood: Likelihood
    dropout: Dropout
    kl_weight: float
    kl_weight_w: float
    dhsic_weight: float
    dropout_weight: float


class Posterior(NamedTuple):
    """What E says of images."""

    z: Gaussian  # q(z_k | x), arrays [n, B, dim_z]
    w: jax.Array  # concentration of q(w | x), [B, n]


# ---- dropping components -------------------------------------------------------------------------


def bernoulli_dropout(temperature: float) -> Dropout:
    """Each weight times a relaxed Bernoulli variable, then normalised to sum 1 again.

    Penalty: -H(p), nats: the divergence from p = 1/2 but for a constant.
    """

    def init() -> Params:
        return {"dropped_logit": jnp.float32(math.log(START_DROPPED / (1.0 - START_DROPPED)))}

    def apply(rho: Params, key: jax.Array, log_w: jax.Array) -> jax.Array:
        kept = jnp.broadcast_to(-rho["dropped_logit"], log_w.shape)
        # In logarithms: where all but dropped components have no weight, it comes back to them.
        return jax.nn.softmax(log_w + bernoulli.relaxed_log_sample(key, kept, temperature))

    return Dropout(init, apply, lambda rho: -bernoulli.entropy(rho["dropped_logit"]))


def gaussian_dropout() -> Dropout:
    """Each weight times N(1, alpha) noise; not normalised, since their sum may be 0.

    alpha starts where the noise has the variance of the Bernoulli's. Penalty: the divergence of the
    noise from the log-uniform prior, nats, by the formula of Molchanov, Ashukha, Vetrov,
    "Variational Dropout Sparsifies Deep Neural Networks", ICML 2017, eq. 14.
    """

    def init() -> Params:
        return {"log_alpha": jnp.float32(math.log(START_DROPPED / (1.0 - START_DROPPED)))}

    def apply(rho: Params, key: jax.Array, log_w: jax.Array) -> jax.Array:
        noise = jax.random.normal(key, log_w.shape)
        return jnp.exp(log_w) * (1.0 + jnp.exp(0.5 * rho["log_alpha"]) * noise)

    return Dropout(init, apply, lambda rho: log_uniform_kl(rho["log_alpha"]))


def no_dropout() -> Dropout:
    """The weights as they are."""
    return Dropout(dict, lambda rho, key, log_w: jnp.exp(log_w), lambda rho: jnp.float32(0.0))


def log_uniform_kl(log_alpha: jax.Array) -> jax.Array:
    """Divergence of N(1, alpha) noise from the log-uniform prior, nats, approximately; >= 0."""
    k1, k2, k3 = 0.63576, 1.87320, 1.48695
    return k1 * jax.nn.sigmoid(-k2 - k3 * log_alpha) + 0.5 * jax.nn.softplus(-log_alpha)


def make_dropout(name: str, temperature: float) -> Dropout:
    """A dropout by name.

    Raises:
        UserError: there is no such dropout.
    """
    known = {
        "bernoulli": functools.partial(bernoulli_dropout, temperature),
        "gaussian": gaussian_dropout,
        "none": no_dropout,
    }
    if name not in known:
        raise UserError(f'there is no dropout "{name}"; use {", ".join(known)}.')
    return known[name]()


# ---- training ------------------------------------------------------------------------------------


def read(heads: tuple[jax.Array, jax.Array, jax.Array]) -> Posterior:
    """E's heads (mean, raw deviation `[n, B, dim_z]`, raw score `[n, B, 1]`) as distributions."""
    mean, raw, score = heads
    concentration = jax.nn.softplus(score[..., 0].T) + MIN_CONCENTRATION
    return Posterior(gaussian.from_softplus(mean, raw), concentration)


def kl_w(model: Model, q: Posterior) -> jax.Array:
    """KL(q(w | x) || p(w)) in nats, `[B]`."""
    return dirichlet.kl(q.w, jnp.full_like(q.w, 1.0 / model.num_components))


def kl_z(q: Posterior) -> jax.Array:
    """The sum of KL(q(z_k | x) || p(z_k)) over the components, nats, `[B]`."""
    return jnp.sum(gaussian.kl_standard(q.z), axis=0)


def step(model: Model, s: MixtureVAE, xs: jax.Array, key: jax.Array) -> tuple[MixtureVAE, Metrics]:
    """One update of encoders, decoder and dropout."""
    x = xs[0]
    z_key, w_key, drop_key = jax.random.split(key, 3)

    def loss(phi, theta, rho):
        heads, e_stats = model.E.train(phi, s.E.stats, x)
        q = read(heads)
        z, log_w = gaussian.sample(z_key, q.z), dirichlet.log_sample(w_key, q.w)
        weights = model.dropout.apply(rho, drop_key, log_w)
        out, g_stats = model.G.train(theta, s.G.stats, z, weights)
        parts = {
            "G/log_likelihood": jnp.mean(model.likelihood.log_prob(x, out)),
            "E/kl_z": jnp.mean(kl_z(q)),
            "E/kl_w": jnp.mean(kl_w(model, q)),
            "E/dhsic": independence.dhsic(z),
            "P/penalty": model.dropout.penalty(rho),
        }
        divergence = model.kl_weight * parts["E/kl_z"] + model.kl_weight_w * parts["E/kl_w"]
        total = (
            -parts["G/log_likelihood"]
            + divergence / model.num_components
            + model.dhsic_weight * parts["E/dhsic"]
            + model.dropout_weight * parts["P/penalty"]
        )
        return total, (e_stats, g_stats, parts | {"E/loss": total, "E/surest": surest(q)})

    slopes = jax.grad(loss, (0, 1, 2), has_aux=True)
    grads, (e_stats, g_stats, parts) = slopes(s.E.params, s.G.params, s.P.params)
    return MixtureVAE(
        E=descend(s.E, grads[0], model.tx["E"], e_stats),
        G=descend(s.G, grads[1], model.tx["G"], g_stats),
        P=descend(s.P, grads[2], model.tx["P"]),
        t=s.t + 1,
    ), parts


def surest(q: Posterior) -> jax.Array:
    """Mean weight of each image's largest component: between 1/n and 1."""
    return jnp.mean(jnp.max(dirichlet.mean(q.w), axis=-1))


def init(model: Model, key: jax.Array) -> MixtureVAE:
    """The players at the start."""
    e_key, g_key = jax.random.split(key)
    x = jnp.zeros((2, *model.image_shape))
    z = jnp.zeros((model.num_components, 2, model.dim_z))
    w = jnp.full((2, model.num_components), 1.0 / model.num_components)
    return MixtureVAE(
        E=player(*model.E.init(e_key, x), model.tx["E"]),
        G=player(*model.G.init(g_key, z, w), model.tx["G"]),
        P=player(model.dropout.init(), {}, model.tx["P"]),
        t=jnp.int32(0),
    )


# ---- codes ---------------------------------------------------------------------------------------


def posterior(model: Model, s: MixtureVAE, x: jax.Array) -> Posterior:
    """q(z_k | x) and q(w | x), with running averages."""
    return read(model.E.infer(s.E.params, s.E.stats, x))


def beside(z: jax.Array) -> jax.Array:
    """The components' codes side by side: `[n, B, dim_z]` to `[B, n * dim_z]`."""
    return z.transpose(1, 0, 2).reshape(z.shape[1], -1)


def apart(model: Model, z: jax.Array) -> jax.Array:
    """The inverse of `beside`."""
    return z.reshape(z.shape[0], model.num_components, model.dim_z).transpose(1, 0, 2)


def encode(model: Model, s: MixtureVAE, x: jax.Array) -> Codes:
    """Images to the means of q(w | x) and of q(z | x)."""
    q = posterior(model, s, x)
    return {"d": dirichlet.mean(q.w), "z": beside(q.z.mean)}


def generate(model: Model, s: MixtureVAE, codes: Codes) -> jax.Array:
    """Codes to mean images [B, H, W, C] in [-1, 1]; weights may be soft or one-hot."""
    z = apart(model, codes["z"])
    return model.likelihood.mean(model.G.infer(s.G.params, s.G.stats, z, codes["d"]))


def prior(model: Model, s: MixtureVAE, key: jax.Array, n: int) -> Codes:
    """W ~ Dir(1/n, ..., 1/n), soft, and z ~ N(0, I)."""
    w_key, z_key = jax.random.split(key)
    size = model.num_components
    return {
        "d": dirichlet.sample(w_key, jnp.full((n, size), 1.0 / size)),
        "z": jax.random.normal(z_key, (n, size * model.dim_z)),
    }


def log_likelihood(
    model: Model, s: MixtureVAE, x: jax.Array, key: jax.Array
) -> dict[str, jax.Array]:
    """A lower bound on log p(x), nats per image, each [B]: all weights 1, nothing dropped.

    log p(x | w, z) - sum_k KL(q(z_k | x) || p(z_k)) - KL(q(w | x) || p(w)), one sample of w and z.
    """
    z_key, w_key = jax.random.split(key)
    q = posterior(model, s, x)
    z, w = gaussian.sample(z_key, q.z), dirichlet.sample(w_key, q.w)
    out = model.G.infer(s.G.params, s.G.stats, z, w)
    parts = {
        "log_likelihood": model.likelihood.log_prob(x, out),
        "kl_z": kl_z(q),
        "kl_w": kl_w(model, q),
    }
    return parts | {"bound": parts["log_likelihood"] - parts["kl_z"] - parts["kl_w"]}


def bounds(model: Model, s: MixtureVAE, key: jax.Array, n: int) -> dict[str, jax.Array]:
    """Log q(z | x_g) - log p(z) of n images from the prior: a lower bound on I(z; x_g), `[n]`."""
    codes = prior(model, s, key, n)
    q = posterior(model, s, generate(model, s, codes)).z
    side = Gaussian(beside(q.mean), beside(q.log_var))
    entropy = information.normal_entropy(codes["z"].shape[-1])
    return {"info_lower": information.gaussian_lower_bound(codes["z"], side, entropy)}


def rates(model: Model, s: MixtureVAE, x: jax.Array) -> jax.Array:
    """KL(q(z | x) || p(z)) of images per dimension, nats `[B, n * dim_z]`."""
    return beside(gaussian.kl_standard_per_dimension(posterior(model, s, x).z))


def mixture_vae(
    *,
    image_shape: tuple[int, int, int],
    batch_size: int,
    tx: Mapping[str, optax.GradientTransformation],
    network: Mapping,
    num_components: int = 4,
    dim_z: int = 50,
    likelihood: str = "bernoulli",
    kl_weight: float = 1.0,
    kl_weight_w: float = 1.0,
    dhsic_weight: float = 1.0,
    dropout: str = "bernoulli",
    dropout_weight: float = 10.0,
    temperature: float = 0.1,
) -> Method:
    """The mixture autoencoder.

    Args:
        image_shape: (H, W, C) of the images, which are in [-1, 1].
        batch_size: not used; a step takes its size from the images.
        tx: an optimiser for each of "E", "G", "P".
        network: name of a family in `ivg.networks.MIXTURE_FAMILIES` under "name", its options
            beside.
        num_components: n; also the number of clusters.
        dim_z: size of each component's code.
        likelihood: "bernoulli" or "gaussian", see `ivg.methods.likelihood`.
        kl_weight: weight of the mean of the n Gaussian divergences.
        kl_weight_w: weight of the Dirichlet divergence over n.
        dhsic_weight: weight of the codes' dependence.
        dropout: "bernoulli", "gaussian" or "none".
        dropout_weight: weight of its own term.
        temperature: of the relaxed Bernoulli variables.

    Raises:
        UserError: if the network family cannot take the image size, there is no such likelihood or
            dropout, there are fewer than two components, or the temperature is not positive.
    """
    del batch_size
    if num_components < 2:
        raise UserError(f"num_components={num_components} makes no mixture; use at least 2.")
    if not temperature > 0.0:
        raise UserError(f"temperature={temperature} must be positive; the paper's code has 0.1.")
    family = net.mixture_family(**network)
    family.check(image_shape)
    model = Model(
        E=family.encoders(num_components, (dim_z, dim_z, 1)),
        G=family.decoder(num_components, image_shape),
        tx=tx,
        image_shape=image_shape,
        num_components=num_components,
        dim_z=dim_z,
        likelihood=likelihood_named(likelihood),
        dropout=make_dropout(dropout, temperature),
        kl_weight=kl_weight,
        kl_weight_w=kl_weight_w,
        dhsic_weight=dhsic_weight,
        dropout_weight=dropout_weight,
    )
    return make_method(model)


def make_method(model: Model) -> Method:
    """The mixture autoencoder of a model."""
    own = functools.partial
    return Method(
        init=own(init, model),
        phases=(Phase(own(step, model), num_batches=1),),
        encode=own(encode, model),
        generate=own(generate, model),
        prior=own(prior, model),
        codes={
            "d": Code("categorical", model.num_components, prior=PRIOR),
            "z": Code("continuous", model.num_components * model.dim_z, -2.0, 2.0),
        },
        log_likelihood=own(log_likelihood, model),
        bounds=own(bounds, model),
        rates=own(rates, model),
    )
