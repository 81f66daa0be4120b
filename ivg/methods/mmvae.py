"""MMVAE: the mutual information between attributes, their code and the rest is bounded and moved.

Kim, "Mutual Information Minimizing VAE" (thesis, 2019), Algorithm 1: r-CVAE (`ivg.methods.r_cvae`
has symbols, distributions and networks) whose objective also holds

    - weight_cy I(c; y) + weight_zy I(z; y) + weight_zc I(z; c)        (alpha, beta, gamma)

each estimated by a network's Donsker-Varadhan bound, mean T(joint) - log mean exp T(product), as in
MINE (Belghazi et al. 2018). Three more players: T_cy, T_zy, T_zc (nu, psi, chi). In every step the
networks first *ascend* their bounds, then encoder and decoder *descend* the objective, through both
the joint and the product samples. A product sample pairs z or c of one minibatch with y or c of a
second, independent one: x_bar, y_bar, c_bar.

Departures and choices:
- Algorithm 1 writes q(z | x, y) where q(c | x, y) is meant.
- Both minibatches pass the encoder as one batch, so that they share its batch statistics.
- `product="shuffled"` permutes one minibatch instead of drawing a second: half the encoder's work.
- `gradient="ema"` corrects the bias of the networks' gradient by a moving average (MINE, eq. 12);
  the thesis has the plain one.
- T_cy is trained also where weight_cy is 0, as in the thesis' experiments: its bound is logged.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ivg import networks as net
from ivg.devices import constrain
from ivg.errors import UserError
from ivg.losses import information
from ivg.methods import r_cvae, vae
from ivg.players import Labelled, Method, Metrics, Params, Phase, Player, ascend, player

Samples = dict[str, tuple[jax.Array, jax.Array]]
NETWORKS = ("T_cy", "T_zy", "T_zc")  # what each measures


class MMVAE(NamedTuple):
    """The state: encoder, decoder, three networks and their moving averages."""

    E: Player
    G: Player
    T_cy: Player
    T_zy: Player
    T_zc: Player
    log_averages: dict[str, jax.Array]  # of mean exp T(product), per network, float32 []
    t: jax.Array  # int32 []


class Game(NamedTuple):
    """What does not change during training."""

    model: r_cvae.Model
    T: net.Network  # one architecture for the three
    weights: Mapping[str, float]  # of each network's information in the objective
    product: str
    gradient: str


class Pair(NamedTuple):
    """Latents and labels of the two independent minibatches that a step's samples come from."""

    z: jax.Array
    c: jax.Array
    y: jax.Array
    c_bar: jax.Array
    y_bar: jax.Array


def samples(pair: Pair) -> tuple[Samples, Samples]:
    """What each network sees: samples of the joint law, and of the product of its marginals."""
    z, c, y, c_bar, y_bar = pair
    joint = {"T_cy": (c, y), "T_zy": (z, y), "T_zc": (z, c)}
    product = {"T_cy": (c, y_bar), "T_zy": (z, y_bar), "T_zc": (z, c_bar)}
    return joint, product


def scores(game: Game, chi: Params, joint, product) -> tuple[jax.Array, jax.Array]:
    """T of one network on joint and product samples, [B] each."""
    both = constrain([jnp.concatenate(parts) for parts in zip(joint, product, strict=True)])
    values, _ = game.T.train(chi, {}, *both)
    return values[: len(joint[0])], values[len(joint[0]) :]


def infer_pair(
    game: Game, phi: Params, stats: Params, xs: Labelled, key: jax.Array
) -> tuple[r_cvae.Latents, Pair, Params]:
    """Latents of the first minibatch, both minibatches' samples, E's new batch statistics."""
    sample_key, shuffle_key = jax.random.split(key)
    # Two minibatches one after the other, each split over the devices, are not split any more.
    both = constrain(jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), xs))
    latents, stats = r_cvae.infer(game.model, phi, stats, both, sample_key)
    n = xs.x.shape[1]
    mine = jax.tree.map(lambda leaf: leaf[:n], latents)
    if game.product == "second":
        c_bar, y_bar = latents.c[n:], both.y[n:]
    else:
        order = jax.random.permutation(shuffle_key, n)
        c_bar, y_bar = latents.c[order], both.y[order]
    mine, pair = constrain((mine, Pair(mine.z, mine.c, both.y[:n], c_bar, y_bar)))
    return mine, pair, stats


def ascend_information(game: Game, s: MMVAE, pair: Pair) -> tuple[MMVAE, Metrics]:
    """One update of each network towards a tighter bound; encoder and decoder do not move."""
    joint, product = samples(jax.lax.stop_gradient(pair))
    parts = {}
    for name in NETWORKS:
        log_average = s.log_averages[name]

        def bound(chi, name=name, log_average=log_average):
            t_joint, t_product = scores(game, chi, joint[name], product[name])
            if game.gradient == "ema":
                return information.donsker_varadhan_ema(t_joint, t_product, log_average)
            return information.donsker_varadhan(t_joint, t_product), log_average

        own = getattr(s, name)
        (info, log_average), g_chi = jax.value_and_grad(bound, has_aux=True)(own.params)
        parts[f"{name}/info"] = info
        averages = s.log_averages | {name: log_average}
        s = s._replace(log_averages=averages, **{name: ascend(own, g_chi, game.model.tx[name])})
    return s, parts


def objective(
    game: Game, theta: Params, latents: r_cvae.Latents, pair: Pair, s: MMVAE, xs: Labelled
) -> tuple[jax.Array, tuple[Params, Metrics]]:
    """What encoder and decoder descend: negative ELBO and the weighted bounds, networks fixed."""
    batch = r_cvae.first(xs)
    value, (g_stats, parts) = r_cvae.negative_elbo(
        game.model, theta, s.G.stats, s.t, batch, latents
    )
    joint, product = samples(pair)
    for name, weight in game.weights.items():
        t = scores(game, getattr(s, name).params, joint[name], product[name])
        value += weight * information.donsker_varadhan(*t)
    return value, (g_stats, parts)


def step(game: Game, s: MMVAE, xs: Labelled, key: jax.Array) -> tuple[MMVAE, Metrics]:
    """Algorithm 1: ascend the information bounds, then descend the objective.

    E does not move in between: one pass through it serves both.
    """

    def inferred(phi):
        latents, pair, e_stats = infer_pair(game, phi, s.E.stats, xs, key)
        return (latents, pair), e_stats

    (latents, pair), to_phi, e_stats = jax.vjp(inferred, s.E.params, has_aux=True)
    s, info_parts = ascend_information(game, s, pair)
    (g_theta, *g_inferred), (g_stats, parts) = jax.grad(
        lambda *args: objective(game, *args, s, xs), (0, 1, 2), has_aux=True
    )(s.G.params, latents, pair)
    (g_phi,) = to_phi(tuple(g_inferred))
    s = vae.update(game.model, s, (g_phi, g_theta), (e_stats, g_stats))
    return s, parts | info_parts


def init(game: Game, key: jax.Array) -> MMVAE:
    """All players at the start."""
    model = game.model
    model_key, *keys = jax.random.split(key, 1 + len(NETWORKS))
    s = r_cvae.init(model, model_key)
    z = jnp.zeros((2, model.dim_z))
    y = jnp.zeros((2, model.num_attributes))
    c = r_cvae.attribute_prior(y).mean
    joint, _ = samples(Pair(z, c, y, c, y))
    networks = {
        name: player(*game.T.init(k, *joint[name]), model.tx[name])
        for name, k in zip(NETWORKS, keys, strict=True)
    }
    averages = {name: jnp.zeros(()) for name in NETWORKS}
    return MMVAE(E=s.E, G=s.G, log_averages=averages, t=s.t, **networks)


def mmvae(
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
    weight_cy: float = 0.0,
    weight_zy: float = 1.0,
    weight_zc: float = 1.0,
    product: str = "second",
    gradient: str = "plain",
    statistics: Mapping[str, int] | None = None,
) -> Method:
    """MMVAE; the defaults are the thesis'.

    Args:
        image_shape, batch_size, network, num_attributes, dim_z, image_std, kl_c_start, kl_c_steps:
            as of `r_cvae.r_cvae`.
        tx: an optimiser for each of "E", "G", "T_cy", "T_zy", "T_zc".
        weight_cy: alpha, of I(c; y), which is raised.
        weight_zy: beta, of I(z; y), which is lowered.
        weight_zc: gamma, of I(z; c), which is lowered.
        product: where product samples come from: a "second" minibatch, or the first one "shuffled".
        gradient: of the networks' bounds: "plain", or "ema" (MINE's correction of its bias).
        statistics: width and depth of the three networks; None for 512 and 7.

    Raises:
        UserError: if the network family cannot take the image size, or an option is not one.
    """
    del batch_size
    for name, value, choices in (
        ("product", product, ("second", "shuffled")),
        ("gradient", gradient, ("plain", "ema")),
    ):
        if value not in choices:
            known = " or ".join(f'"{choice}"' for choice in choices)
            raise UserError(f'{name}="{value}" is not a choice of mmvae; use {known}.')
    model = r_cvae.make_model(
        image_shape=image_shape,
        tx=tx,
        network=network,
        dim_z=dim_z,
        num_attributes=num_attributes,
        image_std=image_std,
        kl_c_start=kl_c_start,
        kl_c_steps=kl_c_steps,
    )
    weights = {"T_cy": -weight_cy, "T_zy": weight_zy, "T_zc": weight_zc}
    T = net.statistics_network(**(statistics or {}))
    game = Game(model, T, weights, product, gradient)
    phase = Phase(functools.partial(step, game), 2 if product == "second" else 1)
    return r_cvae.make_method(model, init=functools.partial(init, game), phase=phase)
