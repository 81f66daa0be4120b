"""The vocabulary: a player is one network in the game, a method is pure functions over its players.

A method's state is a NamedTuple whose `Player` fields are its networks and whose other fields are
arrays. Nothing in it is static, so two states built separately have one tree structure and a jitted
step is traced once. `[B]` is the global batch: a step is written for all devices together.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Params = Any
State = Any
Codes = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


class Player(NamedTuple):
    """One network: its parameters, its running batch statistics and its optimiser state."""

    params: Params
    stats: Params  # batch-norm running averages; {} for a network without batch norm
    opt_state: optax.OptState


class Code(NamedTuple):
    """What a latent code is, for samplers, traversals and scores.

    kind: "categorical" (one-hot), "continuous" (interpretable, traversed from low to high) or
        "noise" (the rest of the image, not traversed).
    size: number of classes or of dimensions.
    low, high: the range over which a continuous code is traversed.
    prior: how it is drawn in training, in words.
    """

    kind: str
    size: int
    low: float = -1.0
    high: float = 1.0
    prior: str = "N(0, 1)"


class Labelled(NamedTuple):
    """Images with their binary attributes: what a method that learns from labels gets for images.

    x: images in [-1, 1], [..., H, W, C].
    y: 0 or 1 for each of the k attributes, float [..., k].
    """

    x: jax.Array
    y: jax.Array


class Phase(NamedTuple):
    """A stretch of training with one step function.

    step: (state, xs [num_batches, B, H, W, C] in [-1, 1], key) -> (state, metrics). Metrics are
        scalars named "player/term", so that whatever goes wrong can be named. A method with
        attributes gets a `Labelled` of such arrays for xs.
    num_batches: real minibatches that one step consumes.
    end: the first step that no longer belongs to the phase; None for the last phase.

    Phases are told apart on the host, not by `lax.cond`: on a CPU a convolution inside a
    conditional is about 100 times slower than outside.
    """

    step: Callable[[State, jax.Array, jax.Array], tuple[State, Metrics]]
    num_batches: int
    end: int | None = None


class Method(NamedTuple):
    """A generative method as pure functions.

    init: key -> state.
    phases: the step functions, in order; most methods have one.
    encode: (state, x [B, H, W, C]) -> codes that `generate` takes: the argmax of a discrete code as
        one-hot, the means of continuous ones. None where the method infers nothing.
    generate: (state, codes) -> images [B, H, W, C] in [-1, 1]; batch norm by running averages.
    prior: (state, key, n) -> codes drawn as in training.
    codes: name -> Code, in the order in which pictures show them.
    log_likelihood: (state, x, key) -> parts of a lower bound on log p(x), nats per image, each [B],
        with the bound itself under "bound"; None where the method has none.
    bounds: (state, key, n) -> bounds on the mutual information of codes and n generated images,
        nats: "info_lower" [n], from below; "kl" [n, dims] per dimension of the traversed code,
        whose sum bounds it from above. None where the method has none.
    rates: (state, x) -> KL(q(code | x) || prior) of images per dimension of the continuous codes,
        side by side, nats [B, dims]; None where the method infers no distribution.
    alarm: metrics as logged -> a sentence where they say that training runs away, else None.
    encodes_after: steps that must be over before `encode` and `bounds` have learnt anything.
    num_attributes: k, of a method that learns from k binary attributes; `step`, `encode` and
        `log_likelihood` then take a `Labelled` where others take images.
    posterior: (state, Labelled, key) -> codes as sampled from the posterior, of such a method.
    attribute_prior: (key, y [B, k]) -> the attributes' code drawn from p(c | y), [B, n], of such a
        method; n / k neighbouring dimensions belong to each attribute.
    """

    init: Callable[[jax.Array], State]
    phases: tuple[Phase, ...]
    encode: Callable[[State, jax.Array], Codes] | None
    generate: Callable[[State, Codes], jax.Array]
    prior: Callable[[State, jax.Array, int], Codes]
    codes: Mapping[str, Code]
    log_likelihood: Callable[[State, jax.Array, jax.Array], dict[str, jax.Array]] | None = None
    bounds: Callable[[State, jax.Array, int], dict[str, jax.Array]] | None = None
    rates: Callable[[State, jax.Array], jax.Array] | None = None
    alarm: Callable[[Mapping[str, float]], str | None] | None = None
    encodes_after: int = 0
    num_attributes: int = 0
    posterior: Callable[[State, Labelled, jax.Array], Codes] | None = None
    attribute_prior: Callable[[jax.Array, jax.Array], jax.Array] | None = None

    @property
    def step(self) -> Callable[[State, jax.Array, jax.Array], tuple[State, Metrics]]:
        """The step function of the first phase."""
        return self.phases[0].step

    def at(self, step: int) -> "Method":
        """The method as it is after `step` steps: without what it has not begun to learn."""
        late = step <= self.encodes_after and self.encodes_after > 0
        return self._replace(encode=None, bounds=None) if late else self


def player(params: Params, stats: Params, tx: optax.GradientTransformation) -> Player:
    """A player at the start of the game."""
    return Player(params, stats, tx.init(params))


def descend(
    p: Player, grads: Params, tx: optax.GradientTransformation, stats: Params | None = None
) -> Player:
    """One optimiser step down the gradient; `stats` replaces the batch statistics if given.

    Examples:
        >>> import optax
        >>> from ivg.players import ascend, descend, player
        >>> tx = optax.sgd(0.1)
        >>> p = player({"w": jnp.array([1.0])}, {}, tx)
        >>> down, up = (move(p, {"w": jnp.array([2.0])}, tx) for move in (descend, ascend))
        >>> print(p.params["w"], down.params["w"], up.params["w"])  # p itself is not changed
        [1.] [0.8] [1.2]
    """
    updates, opt_state = tx.update(grads, p.opt_state, p.params)
    return Player(
        params=optax.apply_updates(p.params, updates),
        stats=p.stats if stats is None else stats,
        opt_state=opt_state,
    )


def ascend(
    p: Player, grads: Params, tx: optax.GradientTransformation, stats: Params | None = None
) -> Player:
    """One optimiser step up the gradient: `descend` on its negative."""
    return descend(p, jax.tree.map(jnp.negative, grads), tx, stats)
