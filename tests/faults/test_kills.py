"""`kill -9`, again and again on one run, at random moments: every restart goes on, nothing is lost.

What a kill met is told by what it left behind, not by what it was aimed at.
"""

import collections
import json
import pathlib
import random
import re
import signal
import time
from collections.abc import Callable
from typing import NamedTuple

import command
import crashing
from crashing import INTERVAL

SCORES = "scores and pictures ..."


class Death(NamedTuple):
    """What a killed process has left.

    during: what it was doing; resumed: the step it said it went on from, None where it had not yet
    spoken; repeated: steps that it had logged and that must be done again.
    """

    during: str
    resumed: int | None
    repeated: int


def aimed_at(what: str, workdir: pathlib.Path, moment: random.Random) -> tuple[Callable, float]:
    """A condition and a delay after it, in seconds."""
    saved, folder = crashing.newest(workdir), workdir / "checkpoints"
    if what == "start":
        return lambda: True, moment.uniform(0.2, 3.5)
    if what == "step":
        target = saved + moment.randint(1, 2 * INTERVAL)
        return lambda: crashing.last_logged(workdir) >= target, moment.uniform(0.0, 0.02)
    if what == "scores":  # a start writes config.json again
        config = workdir / "config.json"
        before = config.stat().st_mtime_ns
        return lambda: config.stat().st_mtime_ns != before, moment.uniform(0.5, 2.5)
    if what == "save":
        step, delay = saved + INTERVAL * moment.randint(1, 2), moment.uniform(0.0, 0.03)
        target, delay = folder / f"{step}.saving", moment.choice([0.0, delay])
    elif what == "rename":  # the record is written last, then comes the rename
        step, delay = saved + INTERVAL, 0.0
        target = folder / f"{step}.saving" / "ivg.json"
    else:  # two are kept: the oldest goes after a save
        step, delay = saved + INTERVAL, 0.0
        target = folder / f"{saved - INTERVAL}.deleted"
    # Each is there for milliseconds only: if missed, the next checkpoint.
    return lambda: target.exists() or crashing.newest(workdir) > step, delay


def kill(what: str, workdir: pathlib.Path, moment: random.Random, num_steps: int) -> Death:
    """Starts the run and kills it."""
    before = crashing.newest(workdir)
    when, delay = aimed_at(what, workdir, moment)
    process = command.start(*crashing.arguments(num_steps), f"--workdir={workdir}")
    done = command.interrupt(process, signal.SIGKILL, when, delay)
    assert done.returncode == -signal.SIGKILL and "Traceback" not in done.stderr
    left, saved = crashing.leftovers(workdir), crashing.newest(workdir)
    said = re.search(r"going on from step (\d+) of", done.stdout)
    resumed = int(said[1]) if said else before if SCORES in done.stdout else None
    if SCORES in done.stdout:
        during = "the final evaluation"
    elif not said and "parameters" not in done.stdout:  # nor the table of a run at step 0
        during = "the start"  # what is left may be an earlier one's
    elif any(name.endswith(".saving") for name in left):
        during = "a save"
    elif left:
        during = "the removal of an old checkpoint"
    else:
        during = "a step" if crashing.last_logged(workdir) > before else "the start"
    assert resumed in (None, before)
    assert saved >= before, "a checkpoint was lost"
    return Death(during, resumed, max(0, crashing.last_logged(workdir) - saved))


def test_kill_9_again_and_again(tmp_path, amount, figure):
    kills, num_steps = amount(3, 50), amount(crashing.STEPS, 240)
    at_the_end = amount(0, 4)
    workdir, moment = tmp_path / "run", random.Random(time.time_ns() % 10**6)
    aims = ["step", "save", "start", "rename", "step", "removal"]
    deaths = [
        kill(aims[i % len(aims)], workdir, moment, num_steps) for i in range(kills - at_the_end)
    ]
    assert crashing.newest(workdir) < num_steps
    crashing.finished(workdir, num_steps)
    deaths += [kill("scores", workdir, moment, num_steps) for _ in range(at_the_end)]
    crashing.assert_like_uninterrupted(workdir, num_steps)
    assert max(death.repeated for death in deaths) <= INTERVAL
    met = collections.Counter(death.during for death in deaths)
    if at_the_end:
        assert min(met[what] for what in ("a step", "a save", "the start", "the final evaluation"))
    figure("crashes", "kill -9 survived, the final state bit for bit", len(deaths))
    for what, count in sorted(met.items()):
        figure("crashes", f"of these during {what}", count)
    told = [death for death in deaths if death.resumed is not None]
    figure("crashes", "restarts that lived to say where they go on, all rightly", len(told))
    most = max(death.repeated for death in deaths)
    figure("crashes", f"most steps repeated, with a checkpoint every {INTERVAL}", most)
    if at_the_end:
        scored(workdir, num_steps)


def scored(workdir: pathlib.Path, num_steps: int) -> None:
    """The scores and pictures are those of the run that nothing interrupted."""
    for folder in (workdir, crashing.reference(num_steps)):
        command.ok(*crashing.arguments(num_steps), f"--workdir={folder}")
    whole = crashing.reference(num_steps)
    ours, theirs = (json.loads((at / "results.json").read_text()) for at in (workdir, whole))
    for found in (ours, theirs):
        assert found.pop("versions")
        found.pop("cost", None)  # a process that is killed does not tell it
    assert ours == theirs and ours["step"] == num_steps
    ours, theirs = (command.contents(folder / "figures") for folder in (workdir, whole))
    assert ours == theirs and len(ours) > 3
