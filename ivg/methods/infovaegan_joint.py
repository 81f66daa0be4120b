"""The variant of InfoVAEGAN that its authors released: a joint discriminator on (x, [d, c]).

Not the algorithm of the paper (`infovaegan`): binary cross-entropy instead of WGAN-GP, and a
discriminator that sees an image beside its codes, as in ALI and BiGAN, while the encoder is *not*
trained against it. One iteration on a batch: D tells (x, u ~ q(u | x)) from (G(z, u), u); G fools
it; q_u recovers u from G(z, u) (step "Q", which moves G as well); a VAE on generated images with G
frozen moves q_u and infers z.

Symbols as in `infovaegan`; u = (d, c). Players: G, D, q_u, q_z.

Departures from the released code, each the mending of a defect:
- z is inferred by a network q_z; the code decodes a real image with a random z.
- All gradients are taken at the same parameters and applied together; the code runs three updates
  in one session call without an order.
- The Q step compares c with the mean of q(c | x), not with a sample, whose variance would act as
  an unintended penalty.
- Images are in [-1, 1] to match the tanh; batch norm uses running averages outside training.
- Sizes of d and c are independent of each other.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ivg import networks as net
from ivg.devices import constrain
from ivg.distributions import categorical, gaussian
from ivg.losses import adversarial, information
from ivg.methods import infovaegan as paper
from ivg.players import Codes, Method, Metrics, Phase, Player, descend, player


class InfoVAEGANJoint(NamedTuple):
    """The state: four players, q_u's second optimiser state and the step number."""

    G: Player
    D: Player
    q_u: Player
    q_z: Player
    elbo: optax.OptState
    t: jax.Array  # int32 []


def code(d: jax.Array, c: jax.Array) -> jax.Array:
    """The joint code u [B, K + dim_c] as D sees it."""
    return jnp.concatenate([d, c], axis=-1)


def discriminator_gradient(
    game: paper.Game,
    s: InfoVAEGANJoint,
    x: jax.Array,
    x_g: jax.Array,
    u_g: jax.Array,
    key: jax.Array,
):
    """Gradient of BCE(D(x, u), 1) + BCE(D(x_g, u_g), 0) in D's parameters; u ~ q(u | x)."""
    d_key, c_key = jax.random.split(key)
    outputs, _ = game.q_u.train(s.q_u.params, s.q_u.stats, x)
    logits, q_c = paper.posterior_u(outputs)
    d = categorical.gumbel_softmax(d_key, logits, game.temperature)
    u = code(d, gaussian.sample(c_key, q_c))

    def loss(w):
        real, stats = game.D.train(w, s.D.stats, x, u)
        fake, stats = game.D.train(w, stats, x_g, u_g)
        real_loss = jnp.mean(adversarial.discriminator_real(real))
        fake_loss = jnp.mean(adversarial.discriminator_fake(fake))
        return real_loss + fake_loss, (stats, {"D/real": real_loss, "D/fake": fake_loss})

    return jax.grad(loss, has_aux=True)(s.D.params)


def generator_gradients(game: paper.Game, s: InfoVAEGANJoint, codes: Codes):
    """Gradients of BCE(D(x_g, u), 1) - info_weight * information in G and of the latter in q_u."""

    def loss(psi, omega):
        x_g, g_stats = game.G.train(psi, s.G.stats, paper.latents(game, codes, s.t))
        fake, _ = game.D.train(s.D.params, s.D.stats, x_g, code(codes["d"], codes["c"]))
        (logits, c_mean, _), u_stats = game.q_u.train(omega, s.q_u.stats, x_g)
        fooling = jnp.mean(adversarial.non_saturating(fake))
        # The code's Q loss: cross-entropy of d and the plain squared error of c, weight 1 on both.
        info_d = information.categorical_lower_bound(codes["d"], logits)
        c_error = jnp.sum((codes["c"] - c_mean) ** 2, axis=-1)
        objective = fooling - game.info_weight * jnp.mean(info_d - c_error)
        parts = {
            "G/adversarial": fooling,
            "q_u/info_d": jnp.mean(info_d),
            "q_u/c_error": jnp.mean(c_error),
        }
        return objective, (x_g, g_stats, u_stats, parts)

    return jax.grad(loss, (0, 1), has_aux=True)(s.G.params, s.q_u.params)


def step(
    game: paper.Game, s: InfoVAEGANJoint, xs: jax.Array, key: jax.Array
) -> tuple[InfoVAEGANJoint, Metrics]:
    """One iteration of the released code on xs [1, B, H, W, C]."""
    prior_key, discriminator_key, inference_key = jax.random.split(key, 3)
    x = xs[0]
    codes = constrain(paper.prior(game, prior_key, len(x)))
    (g_psi, g_omega), (x_g, g_stats, u_stats, parts) = generator_gradients(game, s, codes)
    g_w, (d_stats, d_parts) = discriminator_gradient(
        game, s, x, x_g, code(codes["d"], codes["c"]), discriminator_key
    )
    inferred, vae_parts = paper.inference(game, s, len(x), inference_key)  # at the old parameters
    tx = game.tx
    # q_u takes both steps: the second update is added to the first.
    q_u = descend(s.q_u, g_omega, tx["q_u"], u_stats)
    params = jax.tree.map(
        lambda new, old, vae: new + (vae - old), q_u.params, s.q_u.params, inferred.q_u.params
    )
    return InfoVAEGANJoint(
        G=descend(s.G, g_psi, tx["G"], g_stats),
        D=descend(s.D, g_w, tx["D"], d_stats),
        q_u=q_u._replace(params=params),
        q_z=inferred.q_z,
        elbo=inferred.elbo,
        t=s.t + 1,
    ), parts | d_parts | vae_parts


def init(game: paper.Game, key: jax.Array) -> InfoVAEGANJoint:
    """The state at step 0."""
    keys = jax.random.split(key, 4)
    x = jnp.zeros((2, *game.image_shape))
    latent = jnp.zeros((2, game.dim_z + game.num_classes + game.dim_c))
    u = jnp.zeros((2, game.num_classes + game.dim_c))
    inputs = {"G": (latent,), "D": (x, u), "q_u": (x,), "q_z": (x,)}
    players = {
        name: player(*getattr(game, name).init(k, *args), game.tx[name])
        for k, (name, args) in zip(keys, inputs.items(), strict=True)
    }
    elbo = game.tx["elbo"].init(players["q_u"].params)
    return InfoVAEGANJoint(**players, elbo=elbo, t=jnp.zeros((), jnp.int32))


def infovaegan_joint(
    *,
    image_shape: tuple[int, int, int],
    batch_size: int,
    tx: Mapping[str, optax.GradientTransformation],
    network: Mapping,
    dim_z: int = 100,
    dim_c: int = 10,
    num_classes: int = 10,
    info_weight: float = 1.0,
    temperature: float = 0.1,
    kl_weight_z: float = 1.0,
    kl_weight_c: float = 1.0,
    kl_weight_d: float = 0.001,
) -> Method:
    """The released code's variant; arguments as in `infovaegan`.

    Args:
        image_shape: (H, W, C) of the images, which are in [-1, 1].
        batch_size: not used: every batch of latents has the size of the image batch.
        tx: an optimiser for each of "G", "D", "q_u" (Q step), "elbo" (VAE step), "q_z".
        network: name of a family in `ivg.networks` under "name", its options beside it.
        dim_z, dim_c, num_classes: sizes of z, c and d.
        info_weight: of the Q step's loss.
        temperature: of the Gumbel-softmax samples of d.
        kl_weight_z, kl_weight_c, kl_weight_d: of the VAE step's KL terms.

    Raises:
        UserError: if the network family cannot take the image size.
    """
    del batch_size
    family = net.family(**network)
    family.check(image_shape)
    game = paper.Game(
        G=family.generator(image_shape),
        D=family.joint_discriminator(),
        q_u=family.encoder((num_classes, dim_c, dim_c)),
        q_z=family.encoder((dim_z, dim_z)),
        tx=tx,
        image_shape=image_shape,
        dim_z=dim_z,
        dim_c=dim_c,
        num_classes=num_classes,
        info_weight=info_weight,
        temperature=temperature,
        kl_weights=(kl_weight_z, kl_weight_c, kl_weight_d),
    )
    return paper.make_method(
        game,
        init=functools.partial(init, game),
        phases=(Phase(functools.partial(step, game), 1),),
    )
