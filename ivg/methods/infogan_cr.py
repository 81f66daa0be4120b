"""InfoGAN-CR: InfoGAN with a contrastive regulariser.

Lin, Thekumparampil, Fanti, Oh, "InfoGAN-CR and ModelCentrality: Self-supervised Model Training and
Selection for Disentangling GANs", ICML 2020. Two images are generated that share one of the k
codes and differ in the others; a network H says which one they share, and G is trained so that H
can say it: changes of different codes must look different. H and G descend the same cross-entropy.

Symbols: x real image, x_g = G(c, z); c the k codes, U(-1, 1); z the noise, likewise; I the index of
the shared code; x_a, x_b a pair. Players: G, Q and the discriminator D as in InfoGAN, and H. Q is
a head on D's trunk, which both D's loss and the information move.

As the released code has it, where the paper leaves it open or differs:
- The regulariser's weight is 0 until `cr_start`, then constant. The code trains H before, too, but
  gives it new weights and a new optimiser at `cr_start`; here it begins to learn there.
- A pair shares its noise z.
- G is updated twice in a step, on the same latents (`generator_steps`).
- Progressive training: at first the codes that a pair does not share lie at least `gap` apart,
  which makes them easy to tell from the shared one; after `gap_steps` steps the gap is 0.

Departures, each with its reason:
- Gradients are taken at the same parameters, but for G's second one; the code updates H, then D,
  then G.
- H is kept when the gap closes, where the code starts it anew: a step knows no initialisers.
"""

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ivg import networks as net
from ivg.devices import constrain
from ivg.distributions import categorical
from ivg.errors import UserError
from ivg.losses import adversarial
from ivg.methods import infogan
from ivg.players import Code, Codes, Method, Metrics, Phase, Player, descend, player


class InfoGANCR(NamedTuple):
    """The state: four players and the step number."""

    G: Player
    Q: Player
    D: Player
    H: Player
    t: jax.Array  # int32 []


class Game(NamedTuple):
    """What does not change during training: InfoGAN's part, and the regulariser's."""

    gan: infogan.Game
    H: net.Network
    cr_weight: float
    generator_steps: int


class Pair(NamedTuple):
    """Latents of two images each: `shared` [B, k] is the index I as one-hot."""

    shared: jax.Array
    a: Codes
    b: Codes


def prior(game: Game, key: jax.Array, n: int) -> Codes:
    """Codes from their priors: c [n, k] and z [n, size], both U(-1, 1)."""
    sizes = [code.size for code in game.gan.codes.values()]
    drawn = jax.random.uniform(key, (n, sum(sizes)), minval=-1.0)
    parts = jnp.split(drawn, list(itertools.accumulate(sizes))[:-1], axis=-1)
    return dict(zip(game.gan.codes, parts, strict=True))


def draw_pairs(game: Game, gap: float, key: jax.Array, n: int) -> Pair:
    """Latents of n pairs that share z and one code, whose index is uniform.

    The other codes of a pair are at least `gap` apart, and within [-1, 1]: two draws from an
    interval that is `gap` shorter, which are then moved away from each other.
    """
    shared_key, codes_key, others_key = jax.random.split(key, 3)
    codes = prior(game, codes_key, n)
    c = codes["c"]
    shared = categorical.sample_one_hot(shared_key, n, c.shape[-1])
    edge = 1.0 - gap / 2
    drawn = jax.random.uniform(others_key, (n, 2 * c.shape[-1]), minval=-edge, maxval=edge)
    c_a, c_b = jnp.split(drawn, 2, axis=-1)
    apart = jnp.where(c_a > c_b, gap / 2, -gap / 2)
    return Pair(
        shared,
        codes | {"c": jnp.where(shared == 1, c, c_a + apart)},
        codes | {"c": jnp.where(shared == 1, c, c_b - apart)},
    )


def generator_loss(game: Game, s: InfoGANCR, codes: Codes, theta, stats):
    """InfoGAN's loss of G with its images, statistics and metrics; a scalar."""
    x_g, stats = game.gan.G.train(theta, stats, infogan.latents(game.gan, codes))
    (logits, features), _ = game.gan.D.train(s.D.params, s.D.stats, x_g)
    heads, _ = game.gan.q.train(s.Q.params, s.Q.stats, features)
    fooling = adversarial.non_saturating(logits)
    bound, _ = infogan.information_bound(game.gan, codes, heads)
    loss = jnp.mean(fooling - game.gan.info_weight * bound)
    return loss, (x_g, stats, {"G/adversarial": jnp.mean(fooling)})


def contrast(game: Game, s: InfoGANCR, shared: jax.Array, phi, pair: jax.Array):
    """Cross-entropy of H on pairs `[B, H, W, 2C]`, nats, a scalar; H's statistics and accuracy."""
    logits, stats = game.H.train(phi, s.H.stats, pair)
    found = jnp.argmax(logits, axis=-1) == jnp.argmax(shared, axis=-1)
    cross_entropy = -jnp.mean(categorical.log_prob(shared, logits))
    return cross_entropy, (stats, jnp.mean(found.astype(jnp.float32)))


def update_generator(game: Game, G: Player, loss: Callable) -> tuple[Player, tuple]:
    """G after its updates; what `loss` gave beside its value and the statistics, the first time."""
    firsts = []
    for _ in range(game.generator_steps):
        slope, (stats, *rest) = jax.grad(loss, has_aux=True)(G.params, G.stats)
        G = descend(G, slope, game.gan.tx["G"], stats)
        firsts.append(rest)
    return G, jax.lax.stop_gradient(firsts[0])


def update_discriminator(
    game: Game, s: InfoGANCR, codes: Codes, x: jax.Array, x_g: jax.Array
) -> tuple[Player, Player, Metrics]:
    """D and Q, on the trunk that they share, and their metrics."""
    gan = game.gan

    def loss(w, phi):
        (fake, features), stats = gan.D.train(w, s.D.stats, x_g)
        (real, _), stats = gan.D.train(w, stats, x)
        heads, q_stats = gan.q.train(phi, s.Q.stats, features)
        bound, parts = infogan.information_bound(gan, codes, heads)
        loss = jnp.mean(adversarial.discriminator_fake(fake))
        loss += jnp.mean(adversarial.discriminator_real(real))
        parts |= {"D/loss": loss, "D/real": jnp.mean(real), "D/fake": jnp.mean(fake)}
        return loss - gan.info_weight * jnp.mean(bound), (stats, q_stats, parts)

    (g_w, g_phi), (stats, q_stats, parts) = jax.grad(loss, (0, 1), has_aux=True)(
        s.D.params, s.Q.params
    )
    D = descend(s.D, g_w, gan.tx["D"], stats)
    return D, descend(s.Q, g_phi, gan.tx["Q"], q_stats), parts


def plain_step(
    game: Game, s: InfoGANCR, xs: jax.Array, key: jax.Array
) -> tuple[InfoGANCR, Metrics]:
    """One iteration before `cr_start`: InfoGAN's, H does not move."""
    codes = constrain(prior(game, key, len(xs[0])))

    def loss(theta, stats):
        value, (x_g, stats, parts) = generator_loss(game, s, codes, theta, stats)
        return value, (stats, x_g, parts)

    G, (x_g, parts) = update_generator(game, s.G, loss)
    D, Q, d_parts = update_discriminator(game, s, codes, xs[0], x_g)
    return s._replace(G=G, D=D, Q=Q, t=s.t + 1), parts | d_parts


def contrastive_step(
    game: Game, gap: float, s: InfoGANCR, xs: jax.Array, key: jax.Array
) -> tuple[InfoGANCR, Metrics]:
    """One iteration from `cr_start` on: G also descends H's cross-entropy, and H does."""
    codes_key, pair_key = jax.random.split(key)
    codes = constrain(prior(game, codes_key, len(xs[0])))
    pair = constrain(draw_pairs(game, gap, pair_key, len(xs[0])))

    def loss(theta, stats):
        value, (x_g, stats, parts) = generator_loss(game, s, codes, theta, stats)
        x_a, stats = game.gan.G.train(theta, stats, infogan.latents(game.gan, pair.a))
        x_b, stats = game.gan.G.train(theta, stats, infogan.latents(game.gan, pair.b))
        both = jnp.concatenate([x_a, x_b], axis=-1)
        cross_entropy, _ = contrast(game, s, pair.shared, s.H.params, both)
        return value + game.cr_weight * cross_entropy, (stats, x_g, both, parts)

    G, (x_g, both, parts) = update_generator(game, s.G, loss)
    D, Q, d_parts = update_discriminator(game, s, codes, xs[0], x_g)
    (cross_entropy, (h_stats, accuracy)), slope = jax.value_and_grad(
        lambda phi: contrast(game, s, pair.shared, phi, both), has_aux=True
    )(s.H.params)
    H = descend(s.H, slope, game.gan.tx["H"], h_stats)
    h_parts = {"H/cross_entropy": cross_entropy, "H/accuracy": accuracy}
    return InfoGANCR(G=G, Q=Q, D=D, H=H, t=s.t + 1), parts | d_parts | h_parts


def init(game: Game, key: jax.Array) -> InfoGANCR:
    """All players at the start."""
    gan_key, h_key = jax.random.split(key)
    gan = infogan.init(game.gan, gan_key)
    height, width, channels = game.gan.image_shape
    pair = jnp.zeros((2, height, width, 2 * channels))
    H = player(*game.H.init(h_key, pair), game.gan.tx["H"])
    return InfoGANCR(G=gan.G, Q=gan.Q, D=gan.D, H=H, t=gan.t)


def bounds(game: Game, s: InfoGANCR, key: jax.Array, n: int) -> dict[str, jax.Array]:
    """InfoGAN's L_I on n generated images, nats, `[n]`, with running averages."""
    codes = prior(game, key, n)
    found = infogan.infer(game.gan, s, infogan.generate(game.gan, s, codes))
    return {"info_lower": infogan.information_bound(game.gan, codes, (found["c"],))[0]}


def phases(game: Game, *, cr_start: int, gap: float, gap_steps: int) -> tuple[Phase, ...]:
    """InfoGAN's steps, those with a gap, those without; stretches without steps are left out."""
    stretches = (
        Phase(functools.partial(plain_step, game), 1, end=cr_start),
        Phase(functools.partial(contrastive_step, game, gap), 1, end=cr_start + gap_steps),
        Phase(functools.partial(contrastive_step, game, 0.0), 1),
    )
    lengths = (cr_start, gap_steps, 1)
    return tuple(phase for phase, length in zip(stretches, lengths, strict=True) if length)


def infogan_cr(
    *,
    image_shape: tuple[int, int, int],
    batch_size: int,
    tx: Mapping[str, optax.GradientTransformation],
    network: Mapping,
    dim_z: int = 5,
    dim_c: int = 5,
    info_weight: float = 0.05,
    cr_weight: float = 2.0,
    cr_start: int = 288_000,
    gap: float = 0.0,
    gap_steps: int = 0,
    generator_steps: int = 2,
) -> Method:
    """InfoGAN-CR; the defaults are the released code's on dSprites.

    Args:
        image_shape: (H, W, C) of the images, which are in [-1, 1].
        batch_size: not used; a step takes its size from the images.
        tx: an optimiser for each of "G", "Q", "D", "H".
        network: name of a family in `ivg.networks.CODE_FAMILIES` under "name", its options beside.
        dim_z, dim_c: sizes of z, which may be 0, and of c.
        info_weight: of InfoGAN's bound, in the losses of G and of D and Q.
        cr_weight: of H's cross-entropy in the loss of G, from `cr_start` on.
        cr_start: steps of InfoGAN alone, before the regulariser.
        gap: least distance of the codes that a pair does not share, for the first `gap_steps` steps
            with the regulariser; below 2, afterwards 0.
        gap_steps: see `gap`.
        generator_steps: updates of G in a step.

    Raises:
        UserError: if there is nothing to choose from for H, a number is out of its range, or the
            network family cannot take the image size.
    """
    del batch_size
    if dim_c < 2:
        raise UserError("infogan_cr needs two codes or more: set infogan_cr.dim_c=2 or above.")
    if not 0.0 <= gap < 2.0:
        raise UserError(f"infogan_cr.gap={gap} must be at least 0 and below 2, the codes' range.")
    if min(cr_start, gap_steps) < 0 or generator_steps < 1:
        raise UserError(
            "infogan_cr.cr_start and gap_steps must be at least 0, generator_steps at least 1."
        )
    family = net.code_family(**network)
    family.check(image_shape)
    codes = {"c": Code("continuous", dim_c, prior="uniform on [-1, 1]")}
    if dim_z:
        codes["z"] = Code("noise", dim_z, prior="uniform on [-1, 1]")
    gan = infogan.Game(
        G=family.generator(image_shape),
        q=family.reconstructor((dim_c,)),
        D=family.discriminator(),
        tx=tx,
        image_shape=image_shape,
        codes=codes,
        code_prior="uniform",
        info_weight=info_weight,
        info_c_weight=1.0,
        noise=optax.constant_schedule(0.0),
    )
    game = Game(gan, family.pair_classifier(dim_c), cr_weight, generator_steps)
    return Method(
        init=functools.partial(init, game),
        phases=phases(game, cr_start=cr_start, gap=gap, gap_steps=gap_steps),
        encode=functools.partial(infogan.encode, gan),
        generate=functools.partial(infogan.generate, gan),
        prior=lambda s, key, n: prior(game, key, n),
        codes=codes,
        bounds=functools.partial(bounds, game),
    )
