"""Faults put into weights, learning rates and batches of every method: each must be named."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import test_every_method as games
import unlucky

from ivg import build, calls, cost, data, devices, guard, watch
from ivg.dispatch import phase_at
from ivg.methods import METHODS
from ivg.players import Labelled, Player

SHORT = ("vae",)
GROUP = "numbers"
HUGE = 3e38  # finite, but no product with it is
BATCHED = 24  # images


def parameters(state):
    """(player, path, leaf, the state with another one in its place) of every parameter."""
    for name, player in state._asdict().items():
        if not isinstance(player, Player):
            continue
        leaves, tree = jax.tree.flatten_with_path(player.params)
        for i, (path, leaf) in enumerate(leaves):

            def changed(value, name=name, player=player, leaves=leaves, tree=tree, i=i):
                new = [value if j == i else leaf for j, (_, leaf) in enumerate(leaves)]
                return state._replace(**{name: player._replace(params=tree.unflatten(new))})

            yield name, jax.tree_util.keystr(path, simple=True, separator="/"), leaf, changed


def watched(method, phase: int, state, xs) -> watch.Cause | None:
    """What the watch finds in one step."""
    step = method.phases[phase].step
    inputs = {"batch": xs, "key": jax.random.key(1)}
    return watch.first_bad(lambda s, given: step(s, given["batch"], given["key"]), state, inputs)


def name_all(name: str, every: int) -> tuple[int, int]:
    """Faults in the parameters of one method: (injected, that the step showed and were named)."""
    method, rng = games.make(name), np.random.default_rng(0)
    state, injected, named = method.init(jax.random.key(0)), 0, 0
    for phase in range(len(method.phases)):
        xs = games.examples(method, method.phases[phase].num_batches, rng)
        assert watched(method, phase, state, xs) is None
        for number, (player, path, leaf, changed) in enumerate(parameters(state)):
            if number % every:
                continue
            bad = np.nan if number % 2 else np.inf  # in one place of the array only
            found = watched(method, phase, changed(leaf.at[(0,) * leaf.ndim].set(bad)), xs)
            assert found == watch.Cause("input", f"{player}/{path}", player, False, "")
            injected, named = injected + 1, named + 1
            if not path.endswith("kernel"):
                continue
            found = watched(method, phase, changed(jnp.full_like(leaf, HUGE)), xs)
            injected += 1
            if found is None:  # before a tanh; or the phase leaves that network alone
                continue
            layer = f"{player}/{path.removesuffix('/kernel')}"
            assert (found.kind, found.name, found.player) == ("layer", layer, player)
            named += 1
    return injected, named


def test_every_poisoned_weight_is_named(amount, figure):
    injected = named = 0
    names = amount(SHORT, tuple(METHODS))
    for name in names:
        counts = name_all(name, every=amount(2, 5))
        injected, named = injected + counts[0], named + counts[1]
    assert named > 0.75 * injected  # the rest does not reach anything that must be finite
    figure(GROUP, "methods with faults in their weights", len(names))
    figure(GROUP, "faults in weights", injected)
    figure(GROUP, "of these, shown by the step and named by layer and player", named)


def test_a_poisoned_batch_is_named(amount, figure):
    named = 0
    for name in amount(("vae",), ("vae", "ibgan", "wgan_gp", "mmvae", "csvae")):
        method, rng = games.make(name), np.random.default_rng(0)
        state = method.init(jax.random.key(0))
        xs = games.examples(method, method.phases[0].num_batches, rng)
        parts = ("x", "y") if isinstance(xs, Labelled) else ("",)
        for part in parts:
            good = getattr(xs, part) if part else xs
            bad = jnp.asarray(good).at[(0,) * good.ndim].set(jnp.nan)
            found = watched(method, 0, state, xs._replace(**{part: bad}) if part else bad)
            assert (found.kind, found.name) == ("input", f"batch/{part}".rstrip("/"))
            named += 1
    figure(GROUP, "poisoned batches named", named)


# ---- with the programs of the training ----------------------------------------------------------


@functools.cache
def dataset() -> data.Dataset:
    images = np.random.default_rng(0).integers(0, 256, (BATCHED, *games.SHAPE), np.uint8)
    split = data.Split(images, None, np.arange(BATCHED)[:, None] % 3 < (1, 2))
    return data.Dataset("toy", split, split, games.SHAPE)


def trained_until_bad(method, state=None):
    """Runs the compiled steps until one fails, and asks where it began."""
    run = build.Run(method, dataset(), devices.make_mesh(1), *build.root_keys(0))
    config = unlucky.CONFIG | {"batch_size": games.BATCH}
    with jax.set_mesh(run.mesh):
        its, meter = calls.make_calls([run], [config], [()], run.mesh), cost.Meter()
        start = method.init(run.init_key) if state is None else state
        now, step, row = jax.tree.map(jnp.copy, start), 0, None
        while row is None and step < 10:
            end = its.end(step)
            program = meter.program((phase_at(its.phases, step), 1), its.dispatches[0],
                                    (now, its.images, *its.inputs(step, end)))  # fmt: skip
            now, metrics = program.call(now, its.images, *its.inputs(step, end))
            row, step = guard.bad_row(jax.device_get(metrics)), end
        if row is None:
            return None
        failure = guard.Failure(step, "?", "a loss", False, "", "m", "")
        apart = lambda function, *args: function(*args)  # noqa: E731
        again = jax.tree.map(jnp.copy, start)
        return guard.explained(failure, its, meter.program, again, 0, apart)


EXPLODING = [("vae", "G"), ("wgan_gp", "D"), ("ibgan", "Q")]


def test_an_exploding_learning_rate_is_named(amount, figure):
    """After a step or two the weights overflow: the player whose rate it is comes first."""
    found = []
    for name, player in EXPLODING[: amount(1, len(EXPLODING))]:
        failure = trained_until_bad(
            games.make(name, lambda p, player=player: 1e30 if p == player else 1e-3)
        )
        assert failure.player == player and "it began in" in failure.found, failure
        assert "run again, in step" not in failure.found  # in the very step that was noticed
        found.append(failure)
    figure(GROUP, "exploding learning rates traced to their player", len(found))


def test_a_weight_out_of_range_is_named_by_a_replay_of_the_training(amount, figure):
    traced = 0
    for name in amount(("vae",), ("vae", "wgan_gp")):
        method = games.make(name)
        for player, path, leaf, changed in parameters(method.init(jax.random.key(0))):
            if not path.endswith("Dense_0/kernel"):
                continue
            failure = trained_until_bad(method, changed(jnp.full_like(leaf, HUGE)))
            layer = f"it began in layer {player}/{path.removesuffix('/kernel')}, at dot_general"
            assert failure.player == player and failure.found.startswith(layer), failure
            traced += 1
    figure(GROUP, "weights out of range traced by a replay", traced)
