"""InfoGAN.

Chen, Duan, Houthooft, Schulman, Sutskever, Abbeel, "InfoGAN: Interpretable Representation Learning
by Information Maximizing Generative Adversarial Nets", NeurIPS 2016. A GAN whose generator gets
noise z and codes (c, d); a network Q reads the codes from the image, and the lower bound L_I on
their mutual information (eq. 4) is raised by G and Q both (eq. 6).

Symbols: x real image, x_g = G(z, d, c); z the noise; c continuous codes, N(0, I) or U(-1, 1); d a
class, one-hot. Players: G, Q and the discriminator D.

Two settings are in use. The paper's (MNIST): noise, one class code and two uniform codes. The one
of IB-GAN's comparison (sprites): ten normal codes c and nothing else, scored by Q's means; there
z and d have size 0 and are left out.

Notes:
- q(c | x) has unit variance, as in the released code; `info_c_weight` weighs it.
- Where Q is a head on D's trunk, both of D's losses move the trunk, as in the released code, and Q
  descends with them.
- All gradients are taken at the same parameters; the released code alternates on fresh noise.
- `noise_*` is instance noise, which the paper does not have; IB-GAN's sprites schedule uses it.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ivg import networks as net
from ivg.devices import constrain
from ivg.distributions import Gaussian, categorical
from ivg.errors import UserError
from ivg.losses import adversarial, information
from ivg.methods.noise import instance_noise, noise_schedule
from ivg.players import Code, Codes, Method, Metrics, Phase, Player, descend, player


class InfoGAN(NamedTuple):
    """The state: three players and the step number."""

    G: Player
    Q: Player
    D: Player
    t: jax.Array  # int32 []


class Game(NamedTuple):
    """What does not change during training: networks, optimisers, sizes, weights, schedules."""

    G: net.Network
    q: net.Network
    D: net.Network
    tx: Mapping[str, optax.GradientTransformation]
    image_shape: tuple[int, int, int]
    codes: Mapping[str, Code]  # in the order in which G reads them
    code_prior: str
    info_weight: float
    info_c_weight: float
    noise: optax.Schedule


def prior(game: Game, key: jax.Array, n: int) -> Codes:
    """Codes from their priors: d [n, K] one-hot, c and z [n, size]; those of size 0 are absent."""
    keys = dict(zip("dcz", jax.random.split(key, 3), strict=True))
    draw = {
        "d": lambda key, size: categorical.sample_one_hot(key, n, size),
        "c": lambda key, size: _continuous(game, key, (n, size)),
        "z": lambda key, size: jax.random.normal(key, (n, size)),
    }
    return {name: draw[name](keys[name], code.size) for name, code in game.codes.items()}


def _continuous(game: Game, key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    if game.code_prior == "normal":
        return jax.random.normal(key, shape)
    return jax.random.uniform(key, shape, minval=-1.0)


def latents(game: Game, codes: Codes) -> jax.Array:
    """The generator's input: all codes side by side."""
    return jnp.concatenate([codes[name] for name in game.codes], axis=-1)


def read(game: Game, heads: tuple[jax.Array, ...]) -> Codes:
    """The outputs of Q by the codes' names: logits of d, means of c."""
    return dict(zip((name for name in game.codes if name != "z"), heads, strict=True))


def information_bound(
    game: Game, codes: Codes, heads: tuple[jax.Array, ...]
) -> tuple[jax.Array, Metrics]:
    """L_I of eq. 4 in nats, `[B]`, and the means of its parts."""
    found, bound, parts = read(game, heads), 0.0, {}
    if "d" in found:
        info_d = information.categorical_lower_bound(codes["d"], found["d"])
        bound, parts["Q/info_d"] = bound + info_d, jnp.mean(info_d)
    if "c" in found:
        info_c = _info_c(game, codes["c"], found["c"])
        bound, parts["Q/info_c"] = bound + game.info_c_weight * info_c, jnp.mean(info_c)
    return bound, parts


def _info_c(game: Game, c: jax.Array, c_hat: jax.Array) -> jax.Array:
    if game.code_prior == "normal":
        return information.reconstruction_lower_bound(c, c_hat)
    entropy = information.uniform_entropy(-1.0, 1.0, c.shape[-1])
    unit = Gaussian(c_hat, jnp.zeros_like(c_hat))
    return information.gaussian_lower_bound(c, unit, entropy)


def step(game: Game, s: InfoGAN, xs: jax.Array, key: jax.Array) -> tuple[InfoGAN, Metrics]:
    """One iteration of eq. 6: G against D and for L_I, Q for L_I, at the same parameters."""
    x = xs[0]
    prior_key, fake_key, real_key = jax.random.split(key, 3)
    sigma = game.noise(s.t)
    codes = constrain(prior(game, prior_key, len(x)))

    def generator_loss(theta):
        x_g, g_stats = game.G.train(theta, s.G.stats, latents(game, codes))
        seen = instance_noise(fake_key, x_g, sigma)
        (logits, features), _ = game.D.train(s.D.params, s.D.stats, seen)
        heads, _ = game.q.train(s.Q.params, s.Q.stats, features)
        fooling = adversarial.non_saturating(logits)
        bound, _ = information_bound(game, codes, heads)
        objective = jnp.mean(fooling - game.info_weight * bound)
        return objective, (seen, g_stats, {"G/adversarial": jnp.mean(fooling)})

    def discriminator_loss(w, phi, seen):
        (fake, features), stats = game.D.train(w, s.D.stats, seen)
        (real, _), stats = game.D.train(w, stats, instance_noise(real_key, x, sigma))
        heads, q_stats = game.q.train(phi, s.Q.stats, features)
        bound, parts = information_bound(game, codes, heads)
        loss = jnp.mean(adversarial.discriminator_fake(fake))
        loss += jnp.mean(adversarial.discriminator_real(real))
        parts |= {"D/loss": loss, "D/real": jnp.mean(real), "D/fake": jnp.mean(fake)}
        return loss - game.info_weight * jnp.mean(bound), (stats, q_stats, parts)

    g_theta, (seen, g_stats, parts) = jax.grad(generator_loss, has_aux=True)(s.G.params)
    (g_w, g_phi), (d_stats, q_stats, d_parts) = jax.grad(discriminator_loss, (0, 1), has_aux=True)(
        s.D.params, s.Q.params, jax.lax.stop_gradient(seen)
    )
    return InfoGAN(
        G=descend(s.G, g_theta, game.tx["G"], g_stats),
        Q=descend(s.Q, g_phi, game.tx["Q"], q_stats),
        D=descend(s.D, g_w, game.tx["D"], d_stats),
        t=s.t + 1,
    ), parts | d_parts


def init(game: Game, key: jax.Array) -> InfoGAN:
    """All players at the start."""
    g_key, q_key, d_key = jax.random.split(key, 3)
    x = jnp.zeros((2, *game.image_shape))
    w = game.D.init(d_key, x)
    _, features = jax.eval_shape(game.D.infer, *w, x)
    inputs = jnp.zeros((2, sum(code.size for code in game.codes.values())))
    return InfoGAN(
        G=player(*game.G.init(g_key, inputs), game.tx["G"]),
        Q=player(*game.q.init(q_key, jnp.zeros(features.shape)), game.tx["Q"]),
        D=player(*w, game.tx["D"]),
        t=jnp.int32(0),
    )


def infer(game: Game, s: InfoGAN, x: jax.Array) -> Codes:
    """What Q says of images, with running averages: logits of d, means of c."""
    _, features = game.D.infer(s.D.params, s.D.stats, x)
    return read(game, game.q.infer(s.Q.params, s.Q.stats, features))


def encode(game: Game, s: InfoGAN, x: jax.Array) -> Codes:
    """Real images to codes: the argmax of d as one-hot, the means of c; z is not inferred, 0."""
    codes = infer(game, s, x)
    if "d" in codes:
        codes["d"] = jax.nn.one_hot(jnp.argmax(codes["d"], axis=-1), game.codes["d"].size)
    if "z" in game.codes:
        codes["z"] = jnp.zeros((x.shape[0], game.codes["z"].size))
    return codes


def generate(game: Game, s: InfoGAN, codes: Codes) -> jax.Array:
    """Codes to images [B, H, W, C] in [-1, 1]."""
    return game.G.infer(s.G.params, s.G.stats, latents(game, codes))


def bounds(game: Game, s: InfoGAN, key: jax.Array, n: int) -> dict[str, jax.Array]:
    """L_I on n generated images, nats, `[n]`, with running averages and without instance noise."""
    codes = prior(game, key, n)
    found = infer(game, s, generate(game, s, codes))
    bound = jnp.zeros(n)
    if "d" in found:
        bound += information.categorical_lower_bound(codes["d"], found["d"])
    if "c" in found:
        bound += _info_c(game, codes["c"], found["c"])
    return {"info_lower": bound}


def infogan(
    *,
    image_shape: tuple[int, int, int],
    batch_size: int,
    tx: Mapping[str, optax.GradientTransformation],
    network: Mapping,
    dim_z: int = 62,
    dim_c: int = 2,
    num_classes: int = 10,
    code_prior: str = "uniform",
    info_weight: float = 1.0,
    info_c_weight: float = 1.0,
    noise_start: float = 0.0,
    noise_end: float = 0.0,
    noise_steps: int = 0,
) -> Method:
    """InfoGAN; the defaults are its paper's MNIST setting.

    Args:
        image_shape: (H, W, C) of the images, which are in [-1, 1].
        batch_size: not used; a step takes its size from the images.
        tx: an optimiser for each of "G", "Q", "D".
        network: name of a family in `ivg.networks.CODE_FAMILIES` under "name", its options beside.
        dim_z, dim_c, num_classes: sizes of z, c and d; 0 leaves a code out.
        code_prior: of c, "uniform" in [-1, 1] or "normal".
        info_weight: lambda of eq. 6.
        info_c_weight: weight of c within the bound, d having 1.
        noise_start, noise_end, noise_steps: instance noise, linear, then constant.

    Raises:
        UserError: if there is no code to read, the prior is not a choice, or the network family
            cannot take the image size.
    """
    del batch_size
    if code_prior not in ("uniform", "normal"):
        raise UserError(f'infogan.code_prior="{code_prior}": use "uniform" or "normal".')
    if dim_c + num_classes == 0:
        raise UserError("infogan needs a code to read: set infogan.dim_c or infogan.num_classes.")
    family = net.code_family(**network)
    family.check(image_shape)
    edge, law = (1.0, "uniform on [-1, 1]") if code_prior == "uniform" else (2.0, "N(0, 1)")
    codes = {
        "d": Code("categorical", num_classes, prior="uniform over the classes"),
        "c": Code("continuous", dim_c, -edge, edge, law),
        "z": Code("noise", dim_z),
    }
    codes = {name: code for name, code in codes.items() if code.size}
    game = Game(
        G=family.generator(image_shape),
        q=family.reconstructor(tuple(codes[name].size for name in codes if name != "z")),
        D=family.discriminator(),
        tx=tx,
        image_shape=image_shape,
        codes=codes,
        code_prior=code_prior,
        info_weight=info_weight,
        info_c_weight=info_c_weight,
        noise=noise_schedule(noise_start, noise_end, noise_steps),
    )
    return Method(
        init=functools.partial(init, game),
        phases=(Phase(functools.partial(step, game), 1),),
        encode=functools.partial(encode, game),
        generate=functools.partial(generate, game),
        prior=lambda s, key, n: prior(game, key, n),
        codes=codes,
        bounds=functools.partial(bounds, game),
    )
