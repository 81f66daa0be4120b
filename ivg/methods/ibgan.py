"""IB-GAN, information bottleneck GAN.

Jeon, Lee, Pyeon, Kim, "IB-GAN: Disentangled Representation Learning with Information Bottleneck
Generative Adversarial Networks", AAAI 2021. The generator reads its input z through a stochastic
representation r. InfoGAN's lower bound I^L of I(z; G(z)) is raised, by a network q that
reconstructs z from the image, and an upper bound I^U, the rate KL(e(r|z) || m(r)), is lowered.

Symbols: x real image, x_g generated; z ~ N(0, I) the generator's input; r the representation,
m(r) = N(0, I). Players: E (psi, e(r|z)), G (theta, p(x|r)), Q (phi, the reconstructor q(z|x)) and
the discriminator D (w).

Where paper and released code differ the code is followed, because it is what was run:
- Algorithm 1 exchanges the discriminator's labels and descends minus the squared error; the signs
  here are those of eq. 11. The generator's loss is the non-saturating one, and -log q(z|x) is half
  the squared error (a Gaussian of unit variance).
- Instance noise: both kinds of images get Gaussian noise of a standard deviation that falls
  linearly, and are clipped to [-1, 1] again. On CelebA and chairs, real labels are drawn from an
  interval. Neither is in the paper.
- Where D and Q share a trunk (CelebA, chairs), it is D's: Q's gradient passes through it.

Departures from the code, each with its reason:
- All gradients are taken at the same parameters. The code moves D between the forward and the
  backward pass of the others, which mixes new weights with old activations.
- The code adds 100 times the rate whenever beta = 0 and the rate exceeds 20 nats. Here beta = 0 is
  left alone, and `alarm` says when the rate runs away.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ivg import networks as net
from ivg.devices import constrain
from ivg.distributions import Gaussian, gaussian
from ivg.losses import adversarial, information, variational
from ivg.methods.noise import instance_noise, noise_schedule
from ivg.players import Code, Codes, Method, Metrics, Phase, Player, descend, player

PRIOR = "e(r given z) of z ~ N(0, 1), drawn towards N(0, 1)"
RATE_ALARM = 100.0  # nats; the released code's guard began at 20


class IBGAN(NamedTuple):
    """The state: four players and the step number."""

    E: Player
    G: Player
    Q: Player
    D: Player
    t: jax.Array  # int32 []


class Game(NamedTuple):
    """What does not change during training: networks, optimisers, sizes, weights, schedules."""

    e: net.Network
    G: net.Network
    q: net.Network
    D: net.Network
    tx: Mapping[str, optax.GradientTransformation]
    image_shape: tuple[int, int, int]
    dim_z: int
    dim_r: int
    beta: float
    noise: optax.Schedule
    real_label: tuple[float, float]


def step(game: Game, s: IBGAN, xs: jax.Array, key: jax.Array) -> tuple[IBGAN, Metrics]:
    """One iteration: e, G and q descend eq. 11, D its cross-entropy, at the same parameters."""
    x = xs[0]
    z_key, r_key, fake_key, real_key, label_key = jax.random.split(key, 5)
    sigma = game.noise(s.t)
    z = constrain(jax.random.normal(z_key, (len(x), game.dim_z)))

    def generator_loss(psi, theta, phi):
        r, e_stats = game.e.train(psi, s.E.stats, z)
        r = Gaussian(*r)
        x_g, g_stats = game.G.train(theta, s.G.stats, gaussian.sample(r_key, r))
        seen = instance_noise(fake_key, x_g, sigma)
        (logits, features), _ = game.D.train(s.D.params, s.D.stats, seen)
        (z_hat,), q_stats = game.q.train(phi, s.Q.stats, features)
        fooling = adversarial.non_saturating(logits)
        reconstruction = variational.squared_error(z, z_hat)  # -log q(z|x_g) without its constant
        rates = gaussian.kl_standard_per_dimension(r)
        rate = jnp.sum(rates, axis=-1)
        parts = {
            "G/adversarial": jnp.mean(fooling),
            "Q/info_lower": jnp.mean(information.reconstruction_lower_bound(z, z_hat)),
            "E/info_upper": jnp.mean(rate),
        } | {f"E/kl_{i + 1:02d}": kl for i, kl in enumerate(jnp.mean(rates, axis=0))}
        objective = jnp.mean(fooling + reconstruction + game.beta * rate)
        return objective, (seen, (e_stats, g_stats, q_stats), parts)

    def discriminator_loss(w, seen):
        (fake, _), stats = game.D.train(w, s.D.stats, seen)
        (real, _), stats = game.D.train(w, stats, instance_noise(real_key, x, sigma))
        low, high = game.real_label
        label = constrain(jax.random.uniform(label_key, (len(x),), minval=low, maxval=high))
        loss = jnp.mean(adversarial.discriminator_fake(fake))
        loss += jnp.mean(adversarial.discriminator_real(real, label))
        parts = {"D/loss": loss, "D/real": jnp.mean(real), "D/fake": jnp.mean(fake)}
        return loss, (stats, parts)

    (g_psi, g_theta, g_phi), (seen, stats, parts) = jax.grad(
        generator_loss, (0, 1, 2), has_aux=True
    )(s.E.params, s.G.params, s.Q.params)
    g_w, (d_stats, d_parts) = jax.grad(discriminator_loss, has_aux=True)(s.D.params, seen)
    e_stats, g_stats, q_stats = stats
    return IBGAN(
        E=descend(s.E, g_psi, game.tx["E"], e_stats),
        G=descend(s.G, g_theta, game.tx["G"], g_stats),
        Q=descend(s.Q, g_phi, game.tx["Q"], q_stats),
        D=descend(s.D, g_w, game.tx["D"], d_stats),
        t=s.t + 1,
    ), parts | d_parts


def init(game: Game, key: jax.Array) -> IBGAN:
    """All players at the start."""
    e_key, g_key, q_key, d_key = jax.random.split(key, 4)
    z, r = jnp.zeros((2, game.dim_z)), jnp.zeros((2, game.dim_r))
    x = jnp.zeros((2, *game.image_shape))
    w = game.D.init(d_key, x)
    _, features = jax.eval_shape(game.D.infer, *w, x)
    return IBGAN(
        E=player(*game.e.init(e_key, z), game.tx["E"]),
        G=player(*game.G.init(g_key, r), game.tx["G"]),
        Q=player(*game.q.init(q_key, jnp.zeros(features.shape)), game.tx["Q"]),
        D=player(*w, game.tx["D"]),
        t=jnp.int32(0),
    )


def representation(game: Game, s: IBGAN, z: jax.Array) -> Gaussian:
    """e(r | z), `[B, dim_r]`, with running averages."""
    return Gaussian(*game.e.infer(s.E.params, s.E.stats, z))


def reconstruct_z(game: Game, s: IBGAN, x: jax.Array) -> jax.Array:
    """The mean of q(z | x), `[B, dim_z]`, with running averages."""
    _, features = game.D.infer(s.D.params, s.D.stats, x)
    (z_hat,) = game.q.infer(s.Q.params, s.Q.stats, features)
    return z_hat


def encode(game: Game, s: IBGAN, x: jax.Array) -> Codes:
    """Real images to the mean of e(r | z_hat), z_hat the mean of q(z | x), as the paper scores."""
    return {"r": representation(game, s, reconstruct_z(game, s, x)).mean}


def generate(game: Game, s: IBGAN, codes: Codes) -> jax.Array:
    """Codes to images [B, H, W, C] in [-1, 1]."""
    return game.G.infer(s.G.params, s.G.stats, codes["r"])


def prior(game: Game, s: IBGAN, key: jax.Array, n: int) -> Codes:
    """Codes {r [n, dim_r]} as in training: z ~ N(0, I), r ~ e(r | z)."""
    z_key, r_key = jax.random.split(key)
    z = jax.random.normal(z_key, (n, game.dim_z))
    return {"r": gaussian.sample(r_key, representation(game, s, z))}


def bounds(game: Game, s: IBGAN, key: jax.Array, n: int) -> dict[str, jax.Array]:
    """The bounds on I(z; G(z)) in nats for n draws: I^L `[n]`, and I^U per dimension of r `[n, r]`.

    Networks run with their running averages and without instance noise.
    """
    z_key, r_key = jax.random.split(key)
    z = jax.random.normal(z_key, (n, game.dim_z))
    r = representation(game, s, z)
    x_g = generate(game, s, {"r": gaussian.sample(r_key, r)})
    return {
        "info_lower": information.reconstruction_lower_bound(z, reconstruct_z(game, s, x_g)),
        "kl": gaussian.kl_standard_per_dimension(r),
    }


def alarm(means: Mapping[str, float]) -> str | None:
    """A sentence where the representation runs away; `means` are the logged metrics."""
    rate = means["E/info_upper"]
    if rate < RATE_ALARM:
        return None
    return (
        f"KL(e(r|z) || m(r)) is {rate:.0f} nats and nothing bounds it: raise ibgan.beta, or lower "
        "ibgan.optimizer.E.learning_rate"
    )


def ibgan(
    *,
    image_shape: tuple[int, int, int],
    batch_size: int,
    tx: Mapping[str, optax.GradientTransformation],
    network: Mapping,
    dim_z: int = 16,
    dim_r: int = 10,
    beta: float = 0.141,
    noise_start: float = 1.0,
    noise_end: float = 0.0,
    noise_steps: int = 100_000,
    real_label_low: float = 1.0,
    real_label_high: float = 1.0,
) -> Method:
    """IB-GAN; the defaults are the released code's for dSprites.

    Args:
        image_shape: (H, W, C) of the images, which are in [-1, 1].
        batch_size: not used; a step takes its size from the images.
        tx: an optimiser for each of "E", "G", "Q", "D".
        network: name of a family in `ivg.networks.CODE_FAMILIES` under "name", its options beside.
        dim_z, dim_r: sizes of the generator's input and of the representation.
        beta: weight of the rate KL(e(r|z) || m(r)); may be a traced scalar. 0 leaves InfoGAN with a
            stochastic input.
        noise_start, noise_end, noise_steps: instance noise, linear, then constant.
        real_label_low, real_label_high: real labels are uniform in between.

    Raises:
        UserError: if the network family cannot take the image size.
    """
    del batch_size
    family = net.code_family(**network)
    family.check(image_shape)
    game = Game(
        e=family.representation(dim_r),
        G=family.generator(image_shape),
        q=family.reconstructor((dim_z,)),
        D=family.discriminator(),
        tx=tx,
        image_shape=image_shape,
        dim_z=dim_z,
        dim_r=dim_r,
        beta=beta,
        noise=noise_schedule(noise_start, noise_end, noise_steps),
        real_label=(real_label_low, real_label_high),
    )
    return Method(
        init=functools.partial(init, game),
        phases=(Phase(functools.partial(step, game), 1),),
        encode=functools.partial(encode, game),
        generate=functools.partial(generate, game),
        prior=functools.partial(prior, game),
        codes={"r": Code("continuous", dim_r, -2.0, 2.0, PRIOR)},
        bounds=functools.partial(bounds, game),
        alarm=alarm,
    )
