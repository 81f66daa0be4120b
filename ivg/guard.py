"""Numbers that are not finite: noticed at once, and traced to where they began.

Every step reports whether its losses and parameters are finite (`dispatch.finite`); they are looked
at before they are logged, and so before a checkpoint is saved. To find the cause costs nothing
until there is one: the steps since the last good checkpoint are run again, by the programs that the
training has compiled, and the one that fails again is watched (`ivg.watch`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ivg import watch
from ivg.calls import Calls
from ivg.dispatch import phase_at
from ivg.errors import UserError


class Failure(NamedTuple):
    """What was noticed.

    Attributes:
        step: the first one that was not finite, counted from 1.
        player: whose.
        what: as "a loss"; `of_state` where it is what only a checkpoint would have shown.
        values: the losses, or the names of arrays.
        method: the config's section with the learning rates.
        kept: clause that says where the last good checkpoint is.
        found: clause that says where it began; "" while that is not known.
        who: names the run where several are trained as one, as "seed 3, ".
        run: its number among them.
        tried: how often the run went back before.
        advice: a sentence; "" for the usual one.
    """

    step: int
    player: str
    what: str
    of_state: bool
    values: str
    method: str
    kept: str
    found: str = ""
    who: str = ""
    run: int = 0
    tried: int = 0
    advice: str = ""


class NotFinite(UserError):
    """A step whose losses or parameters are not finite; its `failure` says which."""

    def __init__(self, failure: Failure) -> None:
        """Makes the sentence."""
        found = f" {failure.found};" if failure.found else ""
        times = f"{failure.tried} time" + ("s" if failure.tried > 1 else "")
        tried = f" The run has gone back {times}, see rollbacks.json." if failure.tried else ""
        super().__init__(
            f"{failure.who}step {failure.step}: {failure.what} of player {failure.player} is not "
            f"finite ({failure.values});{found} {failure.kept}. "
            + (failure.advice or _usual(failure))
            + tried
        )
        self.failure = failure


def _usual(failure: Failure) -> str:
    return (
        f"Lower --config.{failure.method}.optimizer.{failure.player}.learning_rate or the weight "
        "of that term."
    )


def bad_row(metrics: Mapping[str, np.ndarray]) -> int | None:
    """The first row, of metrics [k] by name, where one or a parameter is not finite; or None."""
    rows = np.flatnonzero(~np.all(list(_good(metrics).values()), axis=0))
    return int(rows[0]) if rows.size else None


def _good(metrics: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.isfinite(v) & (v != 0 if name.startswith("finite/") else True)
            for name, v in metrics.items()}  # fmt: skip


def check_finite(finished: int, metrics: Mapping[str, np.ndarray], method: str, kept: str) -> None:
    """Raises NotFinite at the first step whose losses or parameters are NaN or infinite.

    Args:
        finished: steps before the first row of the metrics; steps are counted from 1.
        metrics: name -> [k], "finite/player" among them.
        method: the config's section with the learning rates.
        kept: clause that says where the last good checkpoint is.
    """
    row = bad_row(metrics)
    if row is None:
        return
    bad = [name for name, good in _good(metrics).items() if not good[row]]
    terms = [name for name in bad if not name.startswith("finite/")]
    players = [name.split("/")[1] for name in bad if name.startswith("finite/")]
    player = players[0] if players else terms[0].split("/")[0]
    own = terms or [name for name in metrics if name.startswith(f"{player}/")]
    values = ", ".join(f"{name} = {metrics[name][row]:.4g}" for name in own)
    what = "a loss" if terms else "an update"
    raise NotFinite(Failure(finished + row + 1, player, what, False, values, method, kept))


def bad_arrays(state: Any) -> list[str]:
    """Names of all arrays of a state that are not finite, as `D/opt_state/0/nu/Dense_0/bias`."""
    found = []
    for path, leaf in jax.tree.leaves_with_path(state):
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and not np.isfinite(np.asarray(leaf)).all():
            found.append(jax.tree_util.keystr(path, simple=True, separator="/"))
    return found


def check_state(step: int, state: Any, method: str, kept: str) -> None:
    """Raises NotFinite where anything of a state that is to be saved is NaN or infinite.

    The losses and parameters are known to be good: what remains are batch statistics and what the
    optimisers remember, which may be wrong for long before a parameter shows it.
    """
    if not (bad := bad_arrays(state)):
        return
    more = f" and {len(bad) - 1} more" if bad[1:] else ""
    player, part = bad[0].split("/")[0], "the optimiser's state"
    part = "a batch statistic" if "/stats/" in bad[0] else part
    raise NotFinite(Failure(step, player, part, True, bad[0] + more, method, kept))


def explained(
    failure: Failure,
    calls: Calls,
    program: Callable[[Any, Callable, Sequence[Any]], Any],
    state: Any,
    step: int,
    apart: Callable[..., Any],
) -> Failure | None:
    """The failure with the clause that says where it began.

    Args:
        failure: of one run.
        calls: of that run.
        program: (name, function, arguments) -> the compiled program, or None once the process is
            asked to end.
        state: the last good one, at `step`; it is used up.
        step: its number of finished steps.
        apart: calls a function that takes long; returns None once the process is asked to end.

    Returns:
        None once the process is asked to end.
    """
    if held := bad_arrays(state):
        return failure._replace(
            found=f"the state of step {step}, where it went on, holds it already ({held[0]})",
            kept="that checkpoint is not good",
            advice="Delete it, and the same command again goes on from the one before.",
        )
    while step < failure.step:
        end = calls.end(step)
        before = jax.tree.map(jnp.copy, state)
        ran = _run(calls, program, state, step, end)
        if ran is None:
            return None
        state, row = ran
        if row is not None or failure.of_state and bad_arrays(state):
            return _within(failure, calls, program, before, step, end, apart)
        step = end
    found = (
        "the same steps run again stay finite: a fault of the machine, or programs that do not "
        "compute the same twice"
    )
    return failure._replace(found=found, advice="The same command again goes on from there.")


def _within(
    failure: Failure,
    calls: Calls,
    program: Callable,
    state: Any,
    step: int,
    end: int,
    apart: Callable,
) -> Failure | None:
    """The same, once it is known between which steps it is: one step at a time."""
    for number in range(step, end):
        before = jax.tree.map(jnp.copy, state)
        ran = _run(calls, program, state, number, number + 1)
        if ran is None:
            return None
        state, row = ran
        if row is not None or failure.of_state and bad_arrays(state):
            cause = apart(_watched, calls, before, number)
            if cause is None:
                return None
            same = "" if number + 1 == failure.step else f"run again, in step {number + 1}: "
            player = cause and cause.player or failure.player
            return failure._replace(found=same + clause(cause), player=player)
    return failure._replace(found=f"no step from {step + 1} to {end} alone shows it again")


def _run(calls: Calls, program: Callable, state: Any, step: int, end: int):
    """One call: (state, first row that is not finite or None); None if it is asked to end."""
    i = phase_at(calls.phases, step)
    batches, number, key = calls.inputs(step, end)
    arguments = state, calls.images, batches, number, key
    compiled = program((i, end - step), calls.dispatches[i], arguments)
    if compiled is None:
        return None
    state, metrics = compiled.call(*arguments)
    return state, bad_row(jax.device_get(metrics))


def _watched(calls: Calls, state: Any, step: int) -> watch.Cause | bool:
    """The cause of the step after `step`; False where it is finite this way."""
    batches, number, key = calls.inputs(step, step + 1)
    one = calls.steps[phase_at(calls.phases, step)]
    inputs = {"images": calls.images, "step": number, "key": key}
    inputs["batch"] = jax.tree.map(lambda leaf: leaf[0], batches)

    def alone(s: Any, given: Mapping[str, Any]) -> tuple[Any, Any]:
        return one(given["images"], given["key"], s, (given["step"], given["batch"]))

    return watch.first_bad(alone, state, inputs) or False


def clause(cause: watch.Cause | bool) -> str:
    """A cause in words."""
    if not cause:
        return "run one operation after the other the step stays finite"
    where = {
        "input": f"{cause.name} was not finite before the step",
        "weights": f"it began in the parameter {cause.name}",
        "layer": f"it began in layer {cause.name}",
        "output": f"it began in what is made of the outputs of player {cause.player}",
        "term": f"it began in the term {cause.name}" if cause.name else "it began in a loss",
        "update": f"it began in the update of {cause.name}",
    }[cause.kind]
    where = where.replace("began in", "began in the gradient of", 1) if cause.backward else where
    return where + (f", at {cause.place}" if cause.place else "")
