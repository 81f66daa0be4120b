"""InfoVAEGAN whose class posterior is learnt on real images, by agreement under affine changes.

An extension, not in the paper. There q(d | x) learns only from what the young generator shows: the
information about d saturates before the generator has classes, and the class code is spent on
whatever was easiest to tell apart. Here q(d | x) looks at the data first: two small random affine
copies of a real image (rotated, scaled, sheared, shifted) are to fall into the same class, surely,
with all classes in use (`losses.information.agreement`; IMSAT, Hu et al. 2017, and SCAN, Van
Gansbeke et al. 2020, cluster images this way without a generator). No label is used.

Two phases: `agreement_steps` steps of q(d | x) alone; then InfoVAEGAN as in the paper, with
q(d | x) as it is: the information bound (eq. 11) drives the generator towards the classes, q(c | x)
and q(z | x) are learnt as before. Trained on generated images as well, q(d | x) would come to read
faint marks that the generator leaves for it instead of shapes, and lose classes again.

Agreement has poor local optima (two classes merged, a third split). As in IIC (Ji et al. 2019), the
network carries `num_heads` class heads, which keep each other's trunk out of them; q(d | x) is the
head whose agreement was highest on a running average, a choice without labels.

Symbols as in `infovaegan`. Players: G, D, q_z; q_d = q(d | x), and q_u is left with q(c | x).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ivg import networks as net
from ivg.devices import constrain
from ivg.losses import information
from ivg.methods import infovaegan as paper
from ivg.players import Method, Metrics, Phase, Player, descend, player
from ivg.transforms import random_affine

DECAY = 0.98  # of the running average of each head's agreement: about 50 steps


class InfoVAEGANInvariant(NamedTuple):
    """The state: InfoVAEGAN's, with q_u divided in two, and what the choice of a head needs."""

    G: Player
    D: Player
    q_d: Player
    q_u: Player
    q_z: Player
    elbo: optax.OptState
    agreement: jax.Array  # running average of each head's, [num_heads]
    t: jax.Array  # steps of the second phase, int32 []


def class_heads(logits: jax.Array, num_heads: int) -> jax.Array:
    """The logits [B, num_heads * K] of all heads as [num_heads, B, K]."""
    return jnp.moveaxis(jnp.reshape(logits, (logits.shape[0], num_heads, -1)), 1, 0)


def joint_encoder(q_d: net.Network, q_c: net.Network, num_heads: int) -> net.Network:
    """q(d, c | x) as the game sees it: images to (logits of d, mean and raw deviation of c).

    Its parameters are q_c's. Its statistics are {"c": q_c's, "d": (q_d's parameters, statistics),
    "agreement": [num_heads]}: the game judges generated images by q_d, with the running averages of
    real images, and does not train it.
    """

    def init(key: jax.Array, x: jax.Array) -> tuple[Any, Any]:
        d_key, c_key = jax.random.split(key)
        params, stats = q_c.init(c_key, x)
        return params, {"c": stats, "d": q_d.init(d_key, x), "agreement": jnp.zeros(num_heads)}

    def classes(stats: Any, x: jax.Array) -> jax.Array:
        (logits,) = q_d.infer(*stats["d"], x)
        return class_heads(logits, num_heads)[jnp.argmax(stats["agreement"])]

    def train(params: Any, stats: Any, x: jax.Array) -> tuple[Any, Any]:
        c, c_stats = q_c.train(params, stats["c"], x)
        return (classes(stats, x), *c), stats | {"c": c_stats}

    def infer(params: Any, stats: Any, x: jax.Array) -> tuple[jax.Array, ...]:
        return classes(stats, x), *q_c.infer(params, stats["c"], x)

    return net.Network(init, train, infer)


def divide(s: paper.InfoVAEGAN, q_d: Player) -> InfoVAEGANInvariant:
    """A state of the game with q_d taken out of q_u's statistics."""
    stats = s.q_u.stats
    q_u = s.q_u._replace(stats=stats["c"])
    return InfoVAEGANInvariant(s.G, s.D, q_d, q_u, s.q_z, s.elbo, stats["agreement"], s.t)


def unite(s: InfoVAEGANInvariant) -> paper.InfoVAEGAN:
    """The state as the paper's functions know it."""
    stats = {"c": s.q_u.stats, "d": (s.q_d.params, s.q_d.stats), "agreement": s.agreement}
    return paper.InfoVAEGAN(s.G, s.D, s.q_u._replace(stats=stats), s.q_z, s.elbo, s.t)


def agreement_step(
    s: InfoVAEGANInvariant,
    xs: jax.Array,
    key: jax.Array,
    *,
    q_d: net.Network,
    tx: optax.GradientTransformation,
    balance: float,
    jitter: Mapping[str, float],
) -> tuple[InfoVAEGANInvariant, Metrics]:
    """q_d ascends the mean agreement of its heads on affine copies of xs [n, B, H, W, C]."""
    num_heads = len(s.agreement)
    x = xs.reshape(-1, *xs.shape[2:])
    views = random_affine(key, constrain(jnp.concatenate([x, x])), **jitter)

    def loss(params):
        (logits,), stats = q_d.train(params, s.q_d.stats, views)
        heads = class_heads(logits, num_heads)
        a, b = heads[:, : len(x)], heads[:, len(x) :]
        agreed = jnp.stack(
            [information.agreement(a[i], b[i], balance=balance) for i in range(num_heads)]
        )
        return -jnp.mean(agreed), (stats, agreed)

    grads, (stats, agreed) = jax.grad(loss, has_aux=True)(s.q_d.params)
    return s._replace(
        q_d=descend(s.q_d, grads, tx, stats),
        agreement=DECAY * s.agreement + (1 - DECAY) * agreed,
    ), {"q_d/agreement": jnp.mean(agreed), "q_d/best_head": jnp.max(agreed)}


def infovaegan_invariant(
    *,
    image_shape: tuple[int, int, int],
    batch_size: int,
    tx: Mapping[str, optax.GradientTransformation],
    network: Mapping,
    dim_c: int = 2,
    num_classes: int = 10,
    num_heads: int = 5,
    agreement_balance: float = 2.0,
    agreement_batches: int = 4,
    agreement_steps: int = 1_000,
    rotation: float = 20.0,
    scale: float = 0.2,
    shear: float = 0.3,
    translation: float = 1.0,
    **infovaegan,
) -> Method:
    """InfoVAEGAN with classes from real images; what is not listed is as in `infovaegan`.

    Args:
        image_shape, batch_size, network, dim_c, num_classes: as in `infovaegan`.
        tx: as in `infovaegan`, and "q_d" for the first phase.
        num_heads: class heads to choose from.
        agreement_balance: weight of the entropy of the mean prediction; above 1, or classes merge.
        agreement_batches: real minibatches that one agreement is computed over.
        agreement_steps: length of the first phase.
        rotation: of the affine copies, degrees; uniform in +-rotation, as below.
        scale: of each axis, as a fraction.
        shear: horizontal pixels per vertical pixel.
        translation: pixels.
        **infovaegan: other arguments of `infovaegan`.
    """
    family = net.family(**network)
    q_d = family.encoder((num_heads * num_classes,))
    game = paper.infovaegan(
        image_shape=image_shape,
        batch_size=batch_size,
        tx=tx,
        network=network,
        q_u=joint_encoder(q_d, family.encoder((dim_c, dim_c)), num_heads),
        dim_c=dim_c,
        num_classes=num_classes,
        **infovaegan,
    )

    def init(key):
        s = game.init(key)
        return divide(s, player(*s.q_u.stats["d"], tx["q_d"]))

    def classes_first(s, xs, key):
        jitter = dict(rotation=rotation, scale=scale, shear=shear, translation=translation)
        return agreement_step(
            s, xs, key, q_d=q_d, tx=tx["q_d"], balance=agreement_balance, jitter=jitter
        )

    def play(step: Callable) -> Callable:
        def united(s, xs, key):
            after, parts = step(unite(s), xs, key)
            return divide(after, s.q_d), parts

        return united

    later = [
        p._replace(step=play(p.step), end=p.end and p.end + agreement_steps) for p in game.phases
    ]
    return game._replace(
        init=init,
        phases=(Phase(classes_first, agreement_batches, end=agreement_steps), *later),
        encode=lambda s, x: game.encode(unite(s), x),
        generate=lambda s, codes: game.generate(unite(s), codes),
        log_likelihood=lambda s, x, key: game.log_likelihood(unite(s), x, key),
    )
