"""InfoVAEGAN, the method of the paper.

Ye & Bors, "InfoVAEGAN: Learning Joint Interpretable Representations by Information Maximization and
Maximum Likelihood", ICIP 2021. A WGAN-GP whose generator is driven by a class code d, style codes c
and noise z; the encoder of (d, c) serves twice, as the variational distribution of the mutual
information (eq. 11) and as the approximate posterior of a data-free VAE on generated images
(eq. 6), which also infers z.

Symbols: x real image, x_g = G(z, d, c) generated, x_hat reconstructed; z ~ N(0, I) the rest of the
image; c ~ U(-1, 1)^dim_c; d ~ Cat(num_classes), one-hot; u = (d, c). Players: G (psi), critic D,
q_u = q(d, c | x) (omega, the paper's W as well: one trunk, separate heads), q_z = q(z | x) (xi).

Departures from the paper, each with its reason:
- Eq. 4 prints the gradient penalty with a plus inside the critic's maximum; it is subtracted.
- KL(q(d | x) || Cat) has weight 0.001, the only value the authors' code gives; KL(q(c | x) || p(c))
  is taken to N(0, I), as in the paper's theory, although experiments draw c from U(-1, 1).
- log q(c | x) in the information bound has unit variance (the squared error of the authors' code).
- q_u has one optimiser state for eq. 11 and another, `elbo`, for eq. 6: the image term's gradients
  are larger by orders of magnitude and would starve the other in one set of Adam's averages.
- `z_scale` and `style_warmup` (off by default: 1 and 0) feed G(z_scale * f z, d, f c) with f rising
  from 0 to 1 over `style_warmup` steps: the class code is used before style can take its place.
"""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ivg import networks as net
from ivg.devices import constrain
from ivg.distributions import Gaussian, categorical, gaussian
from ivg.errors import UserError
from ivg.losses import adversarial, information, variational
from ivg.players import Code, Codes, Method, Metrics, Phase, Player, descend, player


class InfoVAEGAN(NamedTuple):
    """The state: four players, q_u's second optimiser state and the step number."""

    G: Player
    D: Player
    q_u: Player
    q_z: Player
    elbo: optax.OptState
    t: jax.Array  # int32 []


Update = tuple[InfoVAEGAN, Metrics]


class Game(NamedTuple):
    """What does not change during training: networks, optimisers, sizes and weights."""

    G: net.Network
    D: net.Network
    q_u: net.Network
    q_z: net.Network
    tx: Mapping[str, optax.GradientTransformation]
    image_shape: tuple[int, int, int]
    dim_z: int
    dim_c: int
    num_classes: int
    info_weight: float
    temperature: float
    kl_weights: tuple[float, float, float]  # of z, c, d
    gp_weight: float = 0.0
    info_c_weight: float = 1.0
    info_schedule: optax.Schedule = optax.constant_schedule(1.0)
    style_schedule: optax.Schedule = optax.constant_schedule(1.0)
    z_scale: float = 1.0


def prior(game: Game, key: jax.Array, n: int) -> Codes:
    """Codes {d [n, K] one-hot, c [n, dim_c], z [n, dim_z]} from p(d) p(c) p(z)."""
    d_key, c_key, z_key = jax.random.split(key, 3)
    return {
        "d": categorical.sample_one_hot(d_key, n, game.num_classes),
        "c": jax.random.uniform(c_key, (n, game.dim_c), minval=-1.0),
        "z": jax.random.normal(z_key, (n, game.dim_z)),
    }


def latents(game: Game, codes: Codes, t: jax.Array) -> jax.Array:
    """The generator's input [B, dim_z + K + dim_c]: the codes, style scaled by the warm-up."""
    style = game.style_schedule(t)
    return jnp.concatenate(
        [style * game.z_scale * codes["z"], codes["d"], style * codes["c"]], axis=-1
    )


def posterior_u(outputs: tuple[jax.Array, ...]) -> tuple[jax.Array, Gaussian]:
    """The heads of q_u as (logits of d, Gaussian of c)."""
    logits, c_mean, c_raw = outputs
    return logits, gaussian.from_softplus(c_mean, c_raw)


def critic_step(game: Game, s: InfoVAEGAN, x: jax.Array, key: jax.Array) -> Update:
    """One critic update, eq. 4: descend E D(x_g) - E D(x) + gp_weight * E (|grad D| - 1)^2."""
    prior_key, mix_key = jax.random.split(key)
    codes = constrain(prior(game, prior_key, len(x)))
    x_g, _ = game.G.train(s.G.params, s.G.stats, latents(game, codes, s.t))
    x_tilde = adversarial.interpolate(mix_key, x, x_g)

    def critic_loss(w):
        def D(images):
            return game.D.train(w, s.D.stats, images)[0]

        distance = adversarial.wasserstein_critic(D(x), D(x_g))
        penalty = adversarial.gradient_penalty(D, x_tilde)
        parts = {"D/wasserstein": -jnp.mean(distance), "D/penalty": jnp.mean(penalty)}
        return jnp.mean(distance + game.gp_weight * penalty), parts

    g_w, parts = jax.grad(critic_loss, has_aux=True)(s.D.params)
    return s._replace(D=descend(s.D, g_w, game.tx["D"])), parts


def generator_step(game: Game, s: InfoVAEGAN, batch_size: int, key: jax.Array) -> Update:
    """One update of G and q_u, eq. 11: adversarial term and mutual information lower bound.

    Both gradients are taken at the old parameters.
    """
    codes = constrain(prior(game, key, batch_size))
    info_weight = game.info_weight * game.info_schedule(s.t)

    def generator_loss(psi, omega):
        x_g, g_stats = game.G.train(psi, s.G.stats, latents(game, codes, s.t))
        score, _ = game.D.train(s.D.params, s.D.stats, x_g)
        (logits, c_mean, _), u_stats = game.q_u.train(omega, s.q_u.stats, x_g)
        fooling = adversarial.wasserstein_generator(score)
        unit = Gaussian(c_mean, jnp.zeros_like(c_mean))
        c_entropy = information.uniform_entropy(-1.0, 1.0, game.dim_c)
        info_d = information.categorical_lower_bound(codes["d"], logits)
        info_c = information.gaussian_lower_bound(codes["c"], unit, c_entropy)
        info = info_d + game.info_c_weight * info_c
        parts = {
            "G/adversarial": jnp.mean(fooling),
            "q_u/info_d": jnp.mean(info_d),
            "q_u/info_c": jnp.mean(info_c),
        }
        objective = jnp.mean(fooling - info_weight * info)
        return objective, (g_stats, u_stats, parts)

    grads, (g_stats, u_stats, parts) = jax.grad(generator_loss, (0, 1), has_aux=True)(
        s.G.params, s.q_u.params
    )
    g_psi, g_omega = grads
    G = descend(s.G, g_psi, game.tx["G"], g_stats)
    q_u = descend(s.q_u, g_omega, game.tx["q_u"], u_stats)
    return s._replace(G=G, q_u=q_u), parts


def generation(game: Game, s: InfoVAEGAN, xs: jax.Array, key: jax.Array) -> Update:
    """The paper's section on generation: len(xs) critic updates, then one of G and q_u."""
    critic_key, generator_key = jax.random.split(key)
    for x, x_key in zip(xs, jax.random.split(critic_key, len(xs)), strict=True):
        s, critic_parts = critic_step(game, s, x, x_key)
    s, generator_parts = generator_step(game, s, xs.shape[1], generator_key)
    return s, critic_parts | generator_parts


def inference(game: Game, s: InfoVAEGAN, batch_size: int, key: jax.Array) -> Update:
    """The paper's section on inference, eq. 6: a data-free ELBO on x_g with G frozen.

    Gradients reach G's input only, never its parameters; q_u and q_z move, nothing else.
    """
    prior_key, d_key, c_key, z_key = jax.random.split(key, 4)
    codes = constrain(prior(game, prior_key, batch_size))
    x_g, _ = game.G.train(s.G.params, s.G.stats, latents(game, codes, s.t))

    def negative_elbo(omega, xi):
        outputs, u_stats = game.q_u.train(omega, s.q_u.stats, x_g)
        (z_mean, z_raw), z_stats = game.q_z.train(xi, s.q_z.stats, x_g)
        logits, q_c = posterior_u(outputs)
        q_z = gaussian.from_softplus(z_mean, z_raw)
        inferred = {
            "d": categorical.gumbel_softmax(d_key, logits, game.temperature),
            "c": gaussian.sample(c_key, q_c),
            "z": gaussian.sample(z_key, q_z),
        }
        x_hat, _ = game.G.train(s.G.params, s.G.stats, latents(game, inferred, s.t))
        elbo = variational.ElboParts(
            log_likelihood=variational.gaussian_log_likelihood(x_g, x_hat),
            kl_z=gaussian.kl_standard(q_z),
            kl_c=gaussian.kl_standard(q_c),
            kl_d=categorical.kl_uniform(logits),
        )
        weight_z, weight_c, weight_d = game.kl_weights
        objective = variational.elbo(elbo, weight_z=weight_z, weight_c=weight_c, weight_d=weight_d)
        parts = {
            "q_z/squared_error": jnp.mean(variational.squared_error(x_g, x_hat)),
            "q_z/kl_z": jnp.mean(elbo.kl_z),
            "q_u/kl_c": jnp.mean(elbo.kl_c),
            "q_u/kl_d": jnp.mean(elbo.kl_d),
        }
        return -jnp.mean(objective), (u_stats, z_stats, parts)

    grads, (u_stats, z_stats, parts) = jax.grad(negative_elbo, (0, 1), has_aux=True)(
        s.q_u.params, s.q_z.params
    )
    g_omega, g_xi = grads
    q_u = descend(s.q_u._replace(opt_state=s.elbo), g_omega, game.tx["elbo"], u_stats)
    return (
        s._replace(
            q_u=q_u._replace(opt_state=s.q_u.opt_state),
            elbo=q_u.opt_state,
            q_z=descend(s.q_z, g_xi, game.tx["q_z"], z_stats),
        ),
        parts,
    )


def encode(game: Game, s: InfoVAEGAN, x: jax.Array) -> Codes:
    """Real images to codes: the argmax of d as one-hot, the means of c and z."""
    logits, q_c = posterior_u(game.q_u.infer(s.q_u.params, s.q_u.stats, x))
    z_mean, _ = game.q_z.infer(s.q_z.params, s.q_z.stats, x)
    d = jax.nn.one_hot(jnp.argmax(logits, axis=-1), game.num_classes)
    return {"d": d, "c": q_c.mean, "z": z_mean}


def generate(game: Game, s: InfoVAEGAN, codes: Codes) -> jax.Array:
    """Codes to images [B, H, W, C] in [-1, 1]."""
    return game.G.infer(s.G.params, s.G.stats, latents(game, codes, s.t))


def log_likelihood(game: Game, s: InfoVAEGAN, x: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
    """Proposition 1, eq. 7: a lower bound on log p(x) of real images, nats per image, each [B].

    One sample of (d, c, z) from the posterior for the image term, whose Gaussian has unit variance
    on pixels in [-1, 1] and keeps its normalising constant; the three KL terms in closed form with
    weight 1. d is drawn from the categorical itself (not relaxed), so that this is a bound.
    """
    d_key, c_key, z_key = jax.random.split(key, 3)
    logits, q_c = posterior_u(game.q_u.infer(s.q_u.params, s.q_u.stats, x))
    q_z = gaussian.from_softplus(*game.q_z.infer(s.q_z.params, s.q_z.stats, x))
    codes = {
        "d": jax.nn.one_hot(jax.random.categorical(d_key, logits), game.num_classes),
        "c": gaussian.sample(c_key, q_c),
        "z": gaussian.sample(z_key, q_z),
    }
    parts = variational.ElboParts(
        log_likelihood=variational.gaussian_log_likelihood(x, generate(game, s, codes)),
        kl_z=gaussian.kl_standard(q_z),
        kl_c=gaussian.kl_standard(q_c),
        kl_d=categorical.kl_uniform(logits),
    )
    return parts._asdict() | {"bound": variational.elbo(parts)}


def init(game: Game, key: jax.Array) -> InfoVAEGAN:
    """The state at step 0."""
    keys = jax.random.split(key, 4)
    x = jnp.zeros((2, *game.image_shape))
    u = jnp.zeros((2, game.dim_z + game.num_classes + game.dim_c))
    inputs = {"G": u, "D": x, "q_u": x, "q_z": x}
    players = {
        name: player(*getattr(game, name).init(k, inputs[name]), game.tx[name])
        for name, k in zip(inputs, keys, strict=True)
    }
    elbo = game.tx["elbo"].init(players["q_u"].params)
    return InfoVAEGAN(**players, elbo=elbo, t=jnp.zeros((), jnp.int32))


def make_method(game: Game, *, init: Callable, phases: tuple[Phase, ...]) -> Method:
    """The method around a game's phases."""
    return Method(
        init=init,
        phases=phases,
        encode=functools.partial(encode, game),
        generate=functools.partial(generate, game),
        prior=lambda s, key, n: prior(game, key, n),
        codes={
            "d": Code("categorical", game.num_classes, prior="uniform over the classes"),
            "c": Code("continuous", game.dim_c, prior="uniform on [-1, 1]"),
            "z": Code("noise", game.dim_z),
        },
        log_likelihood=functools.partial(log_likelihood, game),
    )


def warmup(steps: int) -> optax.Schedule:
    """A factor that rises linearly from 0 to 1 over `steps` steps; 1 throughout for 0."""
    return optax.linear_schedule(0.0, 1.0, steps) if steps else optax.constant_schedule(1.0)


def make_phases(
    game: Game, *, batch_size: int, num_critic: int, schedule: str, generation_steps: int
) -> tuple[Phase, ...]:
    """The interleaved schedule (one phase) or the staged one (generation, then inference)."""

    def generate_only(s, xs, key):
        s, parts = generation(game, s, xs, key)
        return s._replace(t=s.t + 1), parts

    def infer_only(s, xs, key):
        del xs  # data-free
        s, parts = inference(game, s, batch_size, key)
        return s._replace(t=s.t + 1), parts

    def both(s, xs, key):
        generation_key, inference_key = jax.random.split(key)
        s, generation_parts = generation(game, s, xs, generation_key)
        s, inference_parts = inference(game, s, batch_size, inference_key)
        return s._replace(t=s.t + 1), generation_parts | inference_parts

    if schedule == "interleaved":
        return (Phase(both, num_critic),)
    if schedule == "staged" and generation_steps > 0:
        return (Phase(generate_only, num_critic, end=generation_steps), Phase(infer_only, 0))
    raise UserError(
        f'schedule="{schedule}" with generation_steps={generation_steps} is not a schedule; use '
        '"interleaved", or "staged" with generation_steps above 0 (the steps of the first stage).'
    )


def infovaegan(
    *,
    image_shape: tuple[int, int, int],
    batch_size: int,
    tx: Mapping[str, optax.GradientTransformation],
    network: Mapping,
    dim_z: int = 62,
    dim_c: int = 2,
    num_classes: int = 10,
    num_critic: int = 5,
    gp_weight: float = 10.0,
    info_weight: float = 1.0,
    info_c_weight: float = 1.0,
    info_warmup: int = 0,
    z_scale: float = 1.0,
    style_warmup: int = 0,
    temperature: float = 0.1,
    kl_weight_z: float = 1.0,
    kl_weight_c: float = 1.0,
    kl_weight_d: float = 0.001,
    schedule: str = "interleaved",
    generation_steps: int = 0,
    q_u: net.Network | None = None,
) -> Method:
    """InfoVAEGAN with the paper's losses; the defaults are the paper's plain setting.

    Args:
        image_shape: (H, W, C) of the images, which are in [-1, 1].
        batch_size: images per critic update and latents per generator and inference update.
        tx: an optimiser for each of "G", "D", "q_u" (eq. 11), "elbo" (q_u in eq. 6), "q_z".
        network: name of a family in `ivg.networks` under "name", its options beside it.
        dim_z, dim_c, num_classes: sizes of z, c and d.
        num_critic: critic updates per generator update.
        gp_weight: the gradient penalty's lambda.
        info_weight: weight of the information bound in eq. 11; 0 is the ablation InfoVAEGAN-MI.
        info_c_weight: weight of c within the bound, d having 1.
        info_warmup: steps over which `info_weight` rises linearly from 0; 0 for none.
        z_scale: factor on z at G's input.
        style_warmup: steps over which z and c rise from 0 to full scale at G's input; 0 for none.
        temperature: of the Gumbel-softmax samples of d in eq. 6.
        kl_weight_z, kl_weight_c, kl_weight_d: of the KL terms in eq. 6.
        schedule: "interleaved" or "staged".
        generation_steps: length of the first stage of the staged schedule.
        q_u: another network for q_u than the family's encoder; None in the paper.

    Raises:
        UserError: if the network family cannot take the image size, or the schedule is not one.
    """
    family = net.family(**network)
    family.check(image_shape)
    game = Game(
        G=family.generator(image_shape),
        D=family.critic(),
        q_u=q_u or family.encoder((num_classes, dim_c, dim_c)),
        q_z=family.encoder((dim_z, dim_z)),
        tx=tx,
        image_shape=image_shape,
        dim_z=dim_z,
        dim_c=dim_c,
        num_classes=num_classes,
        gp_weight=gp_weight,
        info_weight=info_weight,
        info_c_weight=info_c_weight,
        info_schedule=warmup(info_warmup),
        style_schedule=warmup(style_warmup),
        z_scale=z_scale,
        temperature=temperature,
        kl_weights=(kl_weight_z, kl_weight_c, kl_weight_d),
    )
    phases = make_phases(
        game,
        batch_size=batch_size,
        num_critic=num_critic,
        schedule=schedule,
        generation_steps=generation_steps,
    )
    return make_method(game, init=functools.partial(init, game), phases=phases)
