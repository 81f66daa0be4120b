"""The loop: build, restore, dispatch, log, evaluate, save. Straight-line, without callbacks."""

import contextlib
import json
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import numpy as np

from ivg import (
    alarms,
    build,
    checkpoint,
    cost,
    devices,
    evaluate,
    frechet_scores,
    guard,
    lock,
    midway,
    profiling,
    rollbacks,
    rundir,
    together,
)
from ivg.calls import Calls
from ivg.data import celeba_glasses
from ivg.dispatch import phase_at
from ivg.errors import UserError
from ivg.log import Log, NoLog, parameter_table, read_cost, versions
from ivg.members import Member, calls_of, each, kept, mesh_of, meter_of, named
from ivg.recovery import explain, go_back, restore
from ivg.report import page
from ivg.stopping import Stop, apart, catch_signals, or_end
from ivg.terminal import Progress
from ivg.trackers import Tracker, opened, tell_scores


def loop(run: build.Run, config: Mapping, workdir: pathlib.Path, log: Log, state, step: int, stop,
         others: Sequence[Member] = ()):  # fmt: skip
    """Trains from `step` to the end, or until `stop` is set. Returns (state, step).

    With `others`, which differ in seed and directory only, the state is that of all runs, stacked.
    """
    members = [Member(run, config, workdir, log), *others]
    with (
        Progress(config["num_steps"], step, file=devices.spoken(sys.stderr)) as bar,
        profiling.Profile(
            workdir / "profile",
            count=config["profile_steps"] if devices.is_first() else 0,
            first=step,
            last=config["num_steps"],
            say=bar.print,
        ) as profile,
    ):
        calls, meter = calls_of(members), meter_of(members, stop)
        if step < config["num_steps"]:
            late = [midway.is_missing(m.config, m.workdir, step) for m in members]
            look(members, meter, state, step, stop, late)
        failure = None
        try:
            state, end = dispatch_all(members, calls, meter, state, step, stop, bar, profile)
        except guard.NotFinite as error:
            failure = error.failure  # alone: the traceback holds the state in memory
        if failure is not None:
            raise guard.NotFinite(explain(members, calls, meter, failure, stop, bar.print))
    if end > step:
        note_cost(members, meter, step, end)
    return state, end


def dispatch_all(members: Sequence[Member], calls: Calls, meter: cost.Meter, state, step: int, stop,
                 bar: Progress, profile):  # fmt: skip
    """The loop itself. Returns (state, step)."""
    config, phases, count, mesh = members[0].config, calls.phases, len(members), calls.mesh
    watches = [alarms.Watch() for _ in members]
    pending, pending_from, saved = [], step, step if step else None
    last, spoiled = False, None  # `last` is decided once a dispatch and after what takes long
    while step < config["num_steps"] and not last:
        i = phase_at(phases, step)
        end = calls.end(step)
        if profile.due:
            with meter.apart("profile", state):
                profile.turn()
        meter.asking()
        (batches, number, key), spoiled = inputs_or_why(calls, step, end)
        meter.feeding((batches, number))
        arguments = state, calls.images, batches, number, key
        what = (i, end - step), calls.dispatches[i], arguments
        program = None if spoiled else meter.program(*what)
        if program is not None:  # None: no batch, or asked to end while it was compiled
            drawn = max(phases[i].num_batches, 1) * config["batch_size"] * count
            meter.launching(program, end - step, (end - step) * drawn)
            with jax.transfer_guard("disallow"), profile.steps(step, end):
                state, metrics = program.call(*arguments)
            pending.append(metrics)
            step = end
        last = program is None or devices.stops_here(bool(stop)) or step == config["num_steps"]
        save = (last or step % config["checkpoint_every"] == 0) and step != (saved or 0)
        if pending and (save or step % config["log_every"] == 0 or phases[i].end == step):
            rows = [jax.device_get(m) for m in pending]
            meter.finished()
            speed = meter.since_told()
            table = {name: np.concatenate([r[name] for r in rows], -1) for name in rows[0]}
            means = note(members, pending_from, step, table, saved, bar.print, watches)
            for member in members:
                member.log.cost(step, speed)
            bar.update(step, {n: v for n, v in means.items() if "/kl_" not in n})
            pending, pending_from = [], step
        else:
            bar.update(step)
        if config["eval_every"] and step % config["eval_every"] == 0 and not last:
            look(members, meter, state, step, stop)
            if stop:
                last = save = True
        if save:
            with meter.apart("checkpoints", state):
                for number, (member, own) in enumerate(each(members, state, mesh)):
                    with named(members, number):
                        guard.check_state(step, own, config["method"], kept(saved))
                    member.log.force()
                    folder, about = build.checkpoints(member.workdir), {"config": member.config}
                    keep = config["keep_checkpoints"]
                    checkpoint.save(folder, step, own, keep=keep, metadata=about)
            saved, last = step, last or bool(stop)
    if spoiled:
        raise spoiled
    return state, step


def look(members: Sequence[Member], meter: cost.Meter, state, step: int, stop,
         which: Sequence[bool] | None = None):  # fmt: skip
    """Looks at the state of each run, or of some; a signal cuts it off."""
    which = which or [True] * len(members)
    if any(which):
        with meter.apart("evaluation", state):
            for wanted, (member, own) in zip(
                which, each(members, state, mesh_of(members)), strict=True
            ):
                if wanted:
                    apart(stop, midway.look, *member, own, step)


def inputs_or_why(calls: Calls, step: int, end: int) -> tuple[tuple, UserError | None]:
    """What the call from `step` to `end` takes, or why an image of it cannot be had any more.

    Then the steps until now are saved before the error is raised. With other processes it is raised
    at once: a checkpoint is written by all, and they are in the next call already.
    """
    try:
        return calls.inputs(step, end), None
    except UserError as error:
        if not devices.is_alone():
            raise
        return (None, None, None), error


def note_cost(members: Sequence[Member], meter: cost.Meter, first: int, last: int) -> None:
    """Prints what the steps `first` + 1 to `last` cost, and writes it to the log of each run."""
    found = cost.report(
        meter, steps=(first, last), devices=mesh_of(members).size, runs=len(members)
    )
    print(cost.lines(found))
    for member in members:
        member.log.cost_report(last, found)


def note(members: Sequence[Member], first: int, step: int, table: Mapping, saved: int | None,
         say: Callable[[str], None] = print, watches: Sequence[alarms.Watch] = ()):  # fmt: skip
    """Checks and logs what the steps `first` + 1 to `step` measured: {name: [k] or [R, k]}.

    Returns the means over them (and over the runs) by name.
    """
    rows = []
    for i, (run, config, _, log) in enumerate(members):
        own = table if len(members) == 1 else together.pick(table, i)
        with named(members, i):
            guard.check_finite(first, own, config["method"], kept(saved))
        rows.append({n: float(v.mean()) for n, v in own.items() if not n.startswith("finite/")})
        log.scalars(step, rows[-1])
        found = watches[i](first, step, rows[-1]) if watches else {}
        if run.method.alarm is not None:
            found |= {"method": run.method.alarm(rows[-1])}
        for kind, text in found.items():
            text = f"seed {config['seed']}: {text}" if text and members[1:] else text
            log.alarm(step, text, say, kind=kind)
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def train(config: Mapping, workdir: pathlib.Path) -> dict:
    """One run from its config to its results; goes on where an earlier call stopped.

    Args:
        config: the resolved config as plain JSON types.
        workdir: the run directory.

    Returns:
        What results.json holds.

    Raises:
        UserError: for a mistake in the config or the data, a loss that is not finite, a full disk.
        SystemExit: 128 + the signal's number, after SIGTERM or Ctrl-C, once the state is saved.
    """
    return train_together([config], [workdir])[0]


def train_together(configs: Sequence[Mapping], workdirs: Sequence[pathlib.Path]) -> list[dict]:
    """As `train`, for runs that differ in their seeds only; several are trained as one.

    Runs that stand at the same step go on together. A kill between two of their saves or a damaged
    checkpoint leaves some of them behind: those go on among themselves, first.
    """
    runs = make_runs(configs)
    with lock.held(*workdirs):
        devices.on_first(lambda: claim(runs[0], configs, workdirs))
        with opened(configs, workdirs) as told:
            ends = train_groups(runs, configs, workdirs, told)
            results = [
                or_end(finish, run, config, workdir, *end)
                for run, config, workdir, end in zip(runs, configs, workdirs, ends, strict=True)
            ]
            tell_scores(told, results)
    devices.wait_for_all("scores")
    return results


def train_groups(runs: Sequence[build.Run], configs: Sequence[Mapping], workdirs: Sequence,
                 told: Sequence[Tracker | None]) -> list:  # fmt: skip
    """Trains all runs, those together that stand at the same step. Returns (state, step) of each.

    `told` has the tracker of each run, or None.
    """
    with jax.set_mesh(runs[0].mesh), catch_signals() as stop:
        found = [apart(stop, restore, *its) for its in zip(runs, workdirs, configs, strict=True)]
        if stop:
            stop.end(0)
        for (_, step), workdir in zip(found, workdirs, strict=True):
            seen = step if (workdir / "config.json").exists() else -1
            devices.check_shared(seen, str(workdir))
        for start in sorted({step for _, step in found}):
            group = [i for i, (_, step) in enumerate(found) if step == start]
            own = [(runs[i], configs[i], workdirs[i]) for i in group]
            states, found_now = [found[i][0] for i in group], None
            while found_now is None:
                with contextlib.ExitStack() as logs:
                    members = [
                        logs.enter_context(with_log(*its, start, told[i]))
                        for i, its in zip(group, own, strict=True)
                    ]
                    found_now, failure = try_on(members, states, start, stop)
                if failure is not None:
                    states, start = go_back(own, failure)
            for i, state_and_step in zip(group, found_now, strict=True):
                found[i] = state_and_step
    return found


def try_on(members: Sequence[Member], states: Sequence, step: int, stop: Stop):
    """(what `go_on` returns, None), or (None, what was not finite)."""
    try:
        return go_on(members, states, step, stop), None
    except guard.NotFinite as error:
        return None, error.failure


def claim(run: build.Run, configs: Sequence[Mapping], workdirs: Sequence[pathlib.Path]) -> None:
    """Makes the directories those of these runs."""
    for config, workdir in zip(configs, workdirs, strict=True):
        rundir.claim(workdir, config)
        if changed := rundir.write_facts(workdir, build.facts(run.dataset)):
            print(
                f"warning: {workdir}: its data are not those that it began with "
                f"({changed}); it goes on with them"
            )
        checkpoint.clean(build.checkpoints(workdir))
        if run.dataset.name == "celeba_glasses":
            celeba_glasses.write_subset(workdir / "subset.json", run.dataset, seed=0)


def make_runs(configs: Sequence[Mapping]) -> list[build.Run]:
    """What `build` makes of each config, with one method and one data set for all."""
    first = build.build(configs[0])
    runs = [first]
    for config in configs[1:]:
        init_key, train_key, eval_key = build.root_keys(config["seed"])
        runs.append(first._replace(init_key=init_key, train_key=train_key, eval_key=eval_key))
    return runs


@contextlib.contextmanager
def with_log(
    run: build.Run, config: Mapping, workdir: pathlib.Path, step: int, tracker: Tracker | None
) -> Iterator[Member]:
    """A run at `step` with its log, which is closed afterwards; one process writes it."""
    first = devices.is_first()
    made = Log(workdir, resume_step=step or None, tracker=tracker) if first else NoLog()
    with contextlib.closing(made) as log:
        if step == 0:
            log.text("config", json.dumps(config, indent=2))
        for entry in rollbacks.read(workdir):
            if entry.step == step:
                log.text(f"rollback {entry.number}", entry.why)
        yield Member(run, config, workdir, log)


def go_on(members: Sequence[Member], states: Sequence, step: int, stop: "Stop") -> list:
    """Trains runs that stand at `step` to the end. Returns (state, step) of each.

    Raises:
        SystemExit: 128 + the signal's number, after SIGTERM or Ctrl-C, once the states are saved.
    """
    config, mesh = members[0].config, mesh_of(members)
    if step == 0:
        print(parameter_table(states[0]))
    elif step < config["num_steps"]:
        seeds = ", ".join(str(m.config["seed"]) for m in members)
        who = f" (seeds {seeds})" if len(members) > 1 else ""
        print(f"going on from step {step} of {config['num_steps']}{who}")
    with jax.set_mesh(mesh):
        state = together.join(states, mesh)
        state, step = loop(*members[0], state, step, stop, others=members[1:])
    if stop or step < config["num_steps"]:
        stop.end(step)
    return [(own, step) for _, own in each(members, state, mesh)]


def finish(run: build.Run, config: Mapping, workdir: pathlib.Path, state, step: int) -> dict:
    """Scores and pictures of a state, written and returned; {} in the processes that only train."""
    if not devices.is_first():
        return {}
    state, method = devices.own_copy(state, run.mesh), run.method.at(step)
    if method.encode is not run.method.encode:
        late = f"{config['method']} learns to infer codes after step {method.encodes_after} only"
        print(f"codes are not scored: {late}")
    spent = read_cost(workdir)
    print("scores and pictures ...", flush=True)  # some take minutes
    with jax.set_mesh(devices.local_mesh(run.mesh)):
        results = evaluate.evaluate(
            method,
            state,
            run.dataset,
            run.eval_key,
            workdir=workdir,
            limit=config["eval_images"],
            disentanglement=config["disentanglement"],
            attributes=config["attribute_scores"],
            frechet=config.get("frechet", frechet_scores.OFF),
            header={"method": config["method"], "data": run.dataset.name, "step": step}
            | {"seed": config["seed"], "versions": versions()}
            | {"rollbacks": len(rollbacks.read(workdir))}
            | ({"cost": spent} if spent else {}),
        )
        page.write_run(run, config, workdir, state, step)
    return results
