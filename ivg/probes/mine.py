"""Mutual information of two arrays, measured by a fresh statistics network on held-out pairs.

The MMVAE thesis' protocol (MINE: Belghazi et al. 2018): train T on the training set's latents and
report the Donsker-Varadhan bound on the test set's. What the thesis leaves open is chosen here:
Adam, the moving-average gradient, early stopping on a tenth of the training rows, and bounds by the
exponential average of the weights (without it the noise of single minibatches keeps T about as far
again from its optimum: 0.84 instead of 0.88 of 0.94 nats on 20-dimensional Gaussians). For a fixed
T the bound on the test rows estimates a number that is at most the true information: T never saw
them, and the many pairings make the bias of the logarithm small. It may come out below 0.

Columns are standardised by the training rows' mean and deviation, and cut at 10 deviations, so that
neither rare labels nor outliers rule the network. Information is invariant under the former and can
only fall by the latter (labels keep their two values). A constant column becomes 0 and tells
nothing.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ivg import players
from ivg.errors import UserError
from ivg.losses import information
from ivg.networks.statistics import statistics_network
from ivg.players import Player

FEWEST_ROWS = 20
VALIDATION_SHARE = 0.1
MOST_DEVIATIONS = 10.0
# Pairs from the product of the marginals. The logarithm's bias is var(exp T) / (2 mean(exp T)^2)
# over their number: for the best T and Gaussians of 2 nats, 0.001 nats at 20,000.
VALIDATION_PAIRS, TEST_PAIRS = 20_000, 100_000


class Recipe(NamedTuple):
    """How a statistics network is trained.

    width, depth: of its hidden layers.
    learning_rate: of Adam.
    batch_size: pairs from the joint law, and as many from the product of the marginals; fewer where
        there are fewer rows.
    steps: at most so many.
    check_every: steps between two looks at the validation bound.
    patience: checks without a better validation bound after which training ends.
    ema_rate: of the gradient's moving denominator; 1 is the plain, biased gradient.
    averaging: decay of the exponential average of the weights; 0 takes the last ones.
    product: where b of the product samples comes from, "second" (an independent minibatch) or
        "shuffled" (the same minibatch in another order).
    """

    width: int = 512
    depth: int = 7
    learning_rate: float = 1e-4
    batch_size: int = 512
    steps: int = 5_000
    check_every: int = 100
    patience: int = 10
    ema_rate: float = 0.01
    averaging: float = 0.995
    product: str = "second"


class Estimate(NamedTuple):
    """An estimate and how it came about.

    nats: the bound on the test rows, by the network of the best check.
    steps: of the checks, [n], from 0 on.
    train, validation: the bound at each check, [n], nats; on as many training as validation rows.
    """

    nats: float
    steps: np.ndarray
    train: np.ndarray
    validation: np.ndarray


class Pairs(NamedTuple):
    """Rows that belong together: a `[N, n]`, b `[N, m]`, float32."""

    a: Any
    b: Any


class _Learner(NamedTuple):
    """What a step changes."""

    T: Player
    log_average: jax.Array  # ln of the moving average of mean exp T(product)
    averaged: Any  # T's parameters over the last steps
    t: jax.Array  # steps done


def estimate(
    train: Sequence, test: Sequence, *, recipe: Recipe, seed: int, draws: int = 1
) -> Estimate:
    """A lower estimate of I(a; b) in nats.

    Args:
        train: a `[N, n]` and b `[N, m]`, numbers or labels; a tenth of them is validation.
        test: a and b that no choice has seen, `[M, n]` and `[M, m]`.
        recipe: how the network is trained.
        seed: of its initial weights, its minibatches and the split.
        draws: training rows are so many draws for each of N / draws examples, one whole set of
            examples after the other; validation is by example.

    Returns:
        The estimate. One recipe is compiled once for all arrays of the same shapes.

    Raises:
        UserError: arrays do not fit together, are not finite or have fewer than 20 rows; or the
            recipe cannot be.

    Examples:
        The sign of a normal number tells ln 2 = 0.69 nats of it; a quick recipe finds most of them:

        >>> from ivg.probes import mine
        >>> a = np.random.default_rng(0).normal(size=(3000, 1))
        >>> recipe = mine.Recipe(width=16, depth=1, learning_rate=1e-2, steps=200, averaging=0.9)
        >>> train, test = ((rows, rows > 0) for rows in (a[:2000], a[2000:]))
        >>> found = mine.estimate(train, test, recipe=recipe, seed=0)
        >>> bool(0.5 < found.nats < 0.75)
        True
    """
    train, test = _checked("train", train), _checked("test", test)
    _require_fit(train, test, recipe)
    if draws < 1 or len(train.a) % draws or len(train.a) // draws < FEWEST_ROWS:
        raise UserError(
            f"{len(train.a)} training rows are not {draws} draws each of at least {FEWEST_ROWS} "
            "examples: give whole sets of draws"
        )
    rng = np.random.default_rng(seed)
    fit, validation, test = _prepared(train, test, draws, rng)
    size = len(validation.a)
    rotations = _rotations(size, VALIDATION_PAIRS, rng)
    known = Pairs(fit.a[:size], fit.b[:size])
    bounds = functools.partial(_bounds, (recipe.width, recipe.depth), known, validation, rotations)

    init_key, key = jax.random.split(jax.random.key(seed))
    chunk = min(recipe.check_every, recipe.steps)
    # What a program depends on: recipes that differ in the rest share one.
    step = recipe._replace(check_every=chunk, steps=chunk, patience=1)
    learner = _start(step, init_key, fit)
    history = [(0, *bounds(learner.averaged))]
    best, since = learner.averaged, 0
    for check in range(1, recipe.steps // chunk + 1):
        learner = _advance(step, learner, jax.random.fold_in(key, check), fit)
        history.append((check * chunk, *bounds(learner.averaged)))
        since = 0 if history[-1][2] > max(row[2] for row in history[:-1]) else since + 1
        best = learner.averaged if since == 0 else best
        if since >= recipe.patience:
            break
    rotations = _rotations(len(test.a), TEST_PAIRS, rng)
    nats = _bound((recipe.width, recipe.depth), best, test, rotations)
    steps, *curves = (np.array(column) for column in zip(*history, strict=True))
    return Estimate(float(nats), steps, *curves)


def summary(estimates: Sequence[Estimate]) -> dict[str, Any]:
    """Mean, sample standard deviation (None of a single one) and values of estimates, in *bits*."""
    bits = [estimate.nats / math.log(2) for estimate in estimates]
    return {
        "mean": float(np.mean(bits)),
        "std": float(np.std(bits, ddof=1)) if len(bits) > 1 else None,
        "values": bits,
    }


# --- data -----------------------------------------------------------------------------------------


def _checked(name: str, pairs: Sequence) -> Pairs:
    a, b = (np.asarray(array) for array in pairs)
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b):
        raise UserError(
            f"mutual information needs two tables with the same rows for {name}, "
            f"not arrays of shapes {a.shape} and {b.shape}: give [N, n] and [N, m]"
        )
    if len(a) < FEWEST_ROWS:
        raise UserError(
            f"{len(a)} {name} rows are too few to measure mutual information: "
            f"give at least {FEWEST_ROWS}"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise UserError(
            f"the {name} rows hold values that are not finite, so that no mutual information can "
            "be measured: look for the step at which training broke down"
        )
    return Pairs(a, b)


def _require_fit(train: Pairs, test: Pairs, recipe: Recipe) -> None:
    for x, y in zip(train, test, strict=True):
        if x.shape[1] != y.shape[1]:
            raise UserError(
                f"training rows have {x.shape[1]} columns but test rows {y.shape[1]}: "
                "measure both by the same model"
            )
    if recipe.product not in PRODUCTS:
        raise UserError(
            f'there are no product samples "{recipe.product}": use {", ".join(PRODUCTS)}'
        )
    for name in ("batch_size", "steps", "check_every", "patience"):
        if getattr(recipe, name) < 1:
            raise UserError(f"{name} of a MINE recipe must be at least 1")
    if not 0 < recipe.ema_rate <= 1:
        raise UserError(f"ema_rate of a MINE recipe must be in (0, 1], not {recipe.ema_rate}")
    if not 0 <= recipe.averaging < 1:
        raise UserError(f"averaging of a MINE recipe must be in [0, 1), not {recipe.averaging}")


def _prepared(
    train: Pairs, test: Pairs, draws: int, rng: np.random.Generator
) -> tuple[Pairs, Pairs, Pairs]:
    """Training, validation and test rows, each in a random order, standardised, on the device."""
    count = len(train.a) // draws
    order, test_order = rng.permutation(count), rng.permutation(len(test.a))
    held = max(2, round(VALIDATION_SHARE * count))
    fitted = (order[held:][None] + count * np.arange(draws)[:, None]).reshape(-1)
    columns = []
    for known, unknown in zip(train, test, strict=True):
        fit = known[fitted]
        parts = (fit, known[order[:held]], unknown[test_order])
        columns.append([_standardised(part, like=fit) for part in parts])
    fit, validation, test = (Pairs(*part) for part in zip(*columns, strict=True))
    return fit, validation, test


def _standardised(x: np.ndarray, *, like: np.ndarray) -> jax.Array:
    mean, deviation = np.mean(like, axis=0, dtype=np.float64), np.std(like, 0, dtype=np.float64)
    # A column that only rounding moves is constant.
    constant = deviation <= 1e-7 * np.abs(mean)
    scaled = (x - mean[None]) / np.where(constant, 1.0, deviation)[None]
    return jnp.asarray(np.clip(scaled, -MOST_DEVIATIONS, MOST_DEVIATIONS), jnp.float32)


def _rotations(rows: int, pairs: int, rng: np.random.Generator) -> np.ndarray:
    """Distinct distances between a's and b's row, none 0: no pair is from the joint law."""
    count = min(rows - 1, math.ceil(pairs / rows))
    return rng.choice(np.arange(1, rows), size=count, replace=False)


# --- training -------------------------------------------------------------------------------------

# a and b of two independent minibatches -> b of the product samples, for the first one's a
PRODUCTS: Mapping[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "second": lambda b, b_bar: b_bar,
    "shuffled": lambda b, b_bar: jnp.roll(b, 1, axis=0),  # rows are drawn in a random order
}


def _optimizer(recipe: Recipe) -> optax.GradientTransformation:
    return optax.adam(recipe.learning_rate)


@functools.partial(jax.jit, static_argnums=0)
def _start(recipe: Recipe, key: jax.Array, pairs: Pairs) -> _Learner:
    params, stats = statistics_network(width=recipe.width, depth=recipe.depth).init(
        key, pairs.a[:1], pairs.b[:1]
    )
    T = players.player(params, stats, _optimizer(recipe))
    return _Learner(T, log_average=jnp.zeros(()), averaged=params, t=jnp.zeros((), jnp.int32))


@functools.partial(jax.jit, static_argnums=0)
def _advance(recipe: Recipe, learner: _Learner, key: jax.Array, pairs: Pairs) -> _Learner:
    """`check_every` steps in one dispatch."""
    rows = len(pairs.a)
    batch = min(recipe.batch_size, rows)
    T = statistics_network(width=recipe.width, depth=recipe.depth)
    tx, product = _optimizer(recipe), PRODUCTS[recipe.product]

    def step(learner: _Learner, numbers: jax.Array) -> tuple[_Learner, None]:
        a, b = pairs.a[numbers[0]], pairs.b[numbers[0]]
        b_bar = product(b, pairs.b[numbers[1]])

        def bound(params: Any) -> tuple[jax.Array, jax.Array]:
            # One pass for both kinds of pairs: there is no batch norm, so that they do not mix.
            both = jnp.concatenate([a, a]), jnp.concatenate([b, b_bar])
            joint, marginal = jnp.split(T.infer(params, {}, *both), 2)
            return information.donsker_varadhan_ema(
                joint, marginal, learner.log_average, rate=recipe.ema_rate
            )

        grads, log_average = jax.grad(bound, has_aux=True)(learner.T.params)
        player = players.ascend(learner.T, grads, tx)
        averaged = _averaged(recipe.averaging, learner, player.params)
        return _Learner(player, log_average, averaged, learner.t + 1), None

    numbers = jax.random.randint(key, (recipe.check_every, 2, batch), 0, rows)
    return jax.lax.scan(step, learner, numbers)[0]


def _averaged(averaging: float, learner: _Learner, params: Any) -> Any:
    # Short at first, so that the initial weights are soon forgotten.
    keep = jnp.minimum(averaging, (1.0 + learner.t) / (10.0 + learner.t))
    return optax.incremental_update(params, learner.averaged, 1.0 - keep)


@functools.partial(jax.jit, static_argnums=0)
def _bound(sizes: tuple[int, int], params: Any, pairs: Pairs, rotations: jax.Array) -> jax.Array:
    """The plain bound, with the product's mean over all rotations of b against a."""
    T = functools.partial(statistics_network(width=sizes[0], depth=sizes[1]).infer, params, {})

    def rotated(distance: jax.Array) -> jax.Array:
        return information.log_mean_exp(T(pairs.a, jnp.roll(pairs.b, distance, axis=0)))

    return jnp.mean(T(*pairs)) - information.log_mean_exp(jax.lax.map(rotated, rotations))


def _bounds(
    sizes: tuple[int, int], known: Pairs, validation: Pairs, rotations: np.ndarray, params: Any
) -> tuple[float, float]:
    return tuple(float(_bound(sizes, params, x, rotations)) for x in (known, validation))
