"""How often a run went back to its last good checkpoint, and with which keys it went on.

`rollbacks.json` lists the rollbacks of a run: which step was not finite, from which step the run
went on, how often it had gone back by then, and the sentence. It is written before the run goes on,
so that a run which is killed at any moment afterwards draws what it would have drawn without.

From the step that rollback number n went back to, the steps' keys are folded from another root. The
images of batch i stay the same: every epoch still holds each image once. A cause that lies in the
images alone comes again, then, and the run stops after the last rollback that it was allowed.
"""

import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax

from ivg import rundir
from ivg.errors import UserError

# Added to the number of the rollback: the run's own root is folded with step numbers, below 2^31.
_OFFSET = 2**31


class Rollback(NamedTuple):
    """One rollback.

    Attributes:
        number: 1, 2, ...: how often the run has gone back, with this one.
        failed: the step that was not finite.
        step: finished steps of the state that it went back to.
        why: the sentence.
    """

    number: int
    failed: int
    step: int
    why: str


def read(workdir: pathlib.Path) -> tuple[Rollback, ...]:
    """The rollbacks of a run, in their order; () where there were none.

    Raises:
        UserError: the file cannot be read.
    """
    path = workdir / "rollbacks.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        past = tuple(Rollback(**entry) for entry in found)
        if any(type(n) is not int or n < 0 for entry in past for n in entry[:3]):
            raise ValueError("no counts")
        return past
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError, RecursionError):
        raise UserError(
            f"{path} cannot be read; put back a copy, as it says which keys the run draws from, or "
            "start again in another --workdir."
        ) from None


def write(workdir: pathlib.Path, past: Sequence[Rollback]) -> None:
    """Writes the rollbacks of a run, whole or not at all."""
    rundir.write_json(workdir / "rollbacks.json", [entry._asdict() for entry in past])


def number_at(past: Sequence[Rollback], step: int) -> int:
    """The rollback whose keys step number `step` draws from; 0 for the run's own."""
    return max((entry.number for entry in past if entry.step <= step), default=0)


def key_at(key: jax.Array, past: Sequence[Rollback], step: int) -> jax.Array:
    """The root that step number `step` draws from, given that of the run."""
    number = number_at(past, step)
    return jax.random.fold_in(key, _OFFSET + number) if number else key


def allowed(config: Mapping, past: Sequence[Rollback]) -> bool:
    """Whether the run may go back once more. Runs made before there was a choice stop."""
    wanted = config.get("on_nan", "stop") == "rollback"
    return wanted and len(past) < config.get("max_rollbacks", 0)


def keys_from(
    roots: Sequence[jax.Array],
    pasts: Sequence[Sequence[Rollback]],
    place: Callable[[list[jax.Array]], jax.Array],
) -> dict[int, jax.Array]:
    """From which step on which keys are drawn from: {0: ..., step: ...}.

    Args:
        roots: of each run.
        pasts: the rollbacks of each run.
        place: the keys of all runs -> as their steps want them.
    """
    steps = sorted({0} | {entry.step for past in pasts for entry in past})
    return {
        step: place([key_at(key, past, step) for key, past in zip(roots, pasts, strict=True)])
        for step in steps
    }
