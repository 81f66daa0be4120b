"""The loop: build, restore, dispatch, log, evaluate, save. Straight-line, without callbacks."""

import contextlib
import json
import pathlib
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ivg import (
    attribute_scores,
    build,
    checkpoint,
    cost,
    devices,
    evaluate,
    frechet_scores,
    pictures,
    profiling,
    rundir,
    scoring,
    together,
)
from ivg.data import celeba_glasses
from ivg.dispatch import (
    check_finite,
    first_batch,
    make_dispatch,
    make_feed,
    next_stop,
    phase_at,
    reader,
)
from ivg.errors import UserError
from ivg.log import Log, NoLog, parameter_table, read_cost, versions
from ivg.report import page
from ivg.stopping import Stop, catch_signals
from ivg.terminal import Progress
from ivg.trackers import Tracker, opened, tell_scores


class Member(NamedTuple):
    """A run that is trained, alone or together with others."""

    run: build.Run
    config: Mapping
    workdir: pathlib.Path
    log: Log


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
        state, end, meter = dispatch_all(members, state, step, stop, bar, profile)
    if end > step:
        note_cost(members, meter, step, end)
    return state, end


def dispatch_all(members: Sequence[Member], state, step: int, stop, bar: Progress, profile):
    """The loop itself. Returns (state, step, cost.Meter)."""
    run, config = members[0].run, members[0].config
    phases, count, mesh = run.method.phases, len(members), mesh_of(members)
    images, feeds = make_feeds(members, mesh)
    read = reader(run.dataset.train.images)
    dispatches = [make_dispatch(phase.step, read) for phase in phases]
    dispatches = [together.as_one(dispatch, count, mesh) for dispatch in dispatches]
    key = together.place_keys([m.run.train_key for m in members], mesh)
    per_dispatch = config["steps_per_dispatch"] or (20 if devices.on_accelerator() else 1)
    every = [config[f"{what}_every"] for what in ("log", "eval", "checkpoint")] + [per_dispatch]
    pending, pending_from, saved = [], step, step if step else None
    meter = cost.Meter(copies=mesh.size if devices.is_of_runs(mesh) else 1)
    last = False  # decided once a dispatch: a signal that comes later waits for the next one
    while step < config["num_steps"] and not last:
        i = phase_at(phases, step)
        end = next_stop(step, (config["num_steps"], phases[i].end), every)
        what = first_batch(phases, step), end - step, phases[i].num_batches
        if profile.due:
            with meter.apart("profile", state):
                profile.turn()
        meter.asking()
        batches = together.arrange([feed(*what) for feed in feeds], mesh)
        number = devices.place_state(np.int32(step), mesh)
        meter.feeding((batches, number))
        arguments = state, images, batches, number, key
        program = meter.program((i, end - step), dispatches[i], arguments)
        drawn = max(phases[i].num_batches, 1) * config["batch_size"] * count
        meter.launching(program, end - step, (end - step) * drawn)
        with jax.transfer_guard("disallow"), profile.steps(step, end):
            state, metrics = program.call(*arguments)
        pending.append(metrics)
        step = end
        last = devices.stops_here(bool(stop)) or step == config["num_steps"]
        save = last or step % config["checkpoint_every"] == 0
        if save or step % config["log_every"] == 0 or phases[i].end == step:
            rows = [jax.device_get(m) for m in pending]
            meter.finished()
            speed = meter.since_told()
            table = {name: np.concatenate([r[name] for r in rows], -1) for name in rows[0]}
            means = note(members, pending_from, step, table, saved, bar.print)
            for member in members:
                member.log.cost(step, speed)
            bar.update(step, {n: v for n, v in means.items() if "/kl_" not in n})
            pending, pending_from = [], step
        else:
            bar.update(step)
        if config["eval_every"] and step % config["eval_every"] == 0 and not last:
            with meter.apart("evaluation", state):
                for member, own in each(members, state, mesh):
                    log_evaluation(member, own, step)
        if save:
            with meter.apart("checkpoints", state):
                for member, own in each(members, state, mesh):
                    folder = build.checkpoints(member.workdir)
                    checkpoint.save(folder, step, own, keep=config["keep_checkpoints"])
            saved = step
    return state, step, meter


def mesh_of(members: Sequence[Member]) -> jax.sharding.Mesh:
    """The devices that train these runs: all of them one or all runs, or each its own."""
    if len(members) > 1 and build.spreads_runs(members[0].config):
        return devices.runs_mesh(len(members))
    return members[0].run.mesh


def each(members: Sequence[Member], state, mesh: jax.sharding.Mesh) -> Iterator[tuple[Member, Any]]:
    """Every run with its own state."""
    states = together.each(state, len(members), mesh, members[0].run.mesh)
    return zip(members, states, strict=True)


def note_cost(members: Sequence[Member], meter: cost.Meter, first: int, last: int) -> None:
    """Prints what the steps `first` + 1 to `last` cost, and writes it to the log of each run."""
    found = cost.report(
        meter, steps=(first, last), devices=mesh_of(members).size, runs=len(members)
    )
    print(cost.lines(found))
    for member in members:
        member.log.cost_report(last, found)


def make_feeds(
    members: Sequence[Member], mesh: jax.sharding.Mesh
) -> tuple[jax.Array, list[Callable]]:
    """The images that stay on the device, once, and the batches of each run in its own order."""
    train = members[0].run.dataset.train
    made = (
        make_feed(
            train.images,
            seed=member.config["seed"],
            batch_size=member.config["batch_size"],
            mesh=mesh,
            attributes=train.attributes if member.run.method.num_attributes else None,
        )
        for member in members
    )
    images, first = next(made)
    return images, [first, *(feed for _, feed in made)]


def note(members: Sequence[Member], first: int, step: int, table: Mapping, saved: int | None,
         say: Callable[[str], None] = print):  # fmt: skip
    """Checks and logs what the steps `first` + 1 to `step` measured: {name: [k] or [R, k]}.

    Returns the means over them (and over the runs) by name.
    """
    kept = f"the last good checkpoint is that of step {saved}" if saved else "no checkpoint yet"
    rows = []
    for i, (run, config, _, log) in enumerate(members):
        own = table if len(members) == 1 else together.pick(table, i)
        try:
            check_finite(first, own, config["method"], kept)
        except UserError as error:
            if len(members) == 1:
                raise
            raise UserError(f"seed {config['seed']}, {error}") from None
        rows.append({n: float(v.mean()) for n, v in own.items() if not n.startswith("finite/")})
        log.scalars(step, rows[-1])
        if run.method.alarm is not None:
            text = run.method.alarm(rows[-1])
            text = f"seed {config['seed']}: {text}" if text and members[1:] else text
            log.alarm(step, text, say)
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def log_evaluation(member: Member, state, step: int) -> None:
    """A sample grid, clustering where there are labels, the page, in the middle of training."""
    if not devices.is_first():
        return
    with jax.set_mesh(devices.local_mesh(member.run.mesh)):
        log_scores(member, devices.own_copy(state, member.run.mesh), step)


def log_scores(member: Member, state, step: int) -> None:
    """The same, in the process that writes."""
    run, config, workdir, log = member
    method, key = run.method.at(step), jax.random.fold_in(run.eval_key, step)
    log.images(step, {"samples": pictures.sample_picture(method, state, key)})
    votes = config["disentanglement"]["quick_votes"]
    if votes and scoring.has_factors(method, run.dataset):
        score = scoring.quick_score(method, state, run.dataset, votes)
        log.scalars(step, {"eval/factor_vae": score})
    if evaluate.has_classes(method, run.dataset):
        scores = evaluate.clustering_scores(
            method, state, run.dataset, min(config["eval_images"], 2_000)
        )
        log.scalars(step, {f"eval/{name}": value for name, value in scores.items()})
    if method.num_attributes and config["attribute_scores"]["quick_steps"]:
        bits = attribute_scores.quick_information(
            method, state, run.dataset, key, config["attribute_scores"]
        )
        log.scalars(step, {f"eval/{name}": value for name, value in bits.items()})
    page.write_run(run, config, workdir, state, step, running=True)


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
    devices.on_first(lambda: claim(runs[0], configs, workdirs))
    with opened(configs, workdirs) as told:
        ends = train_groups(runs, configs, workdirs, told)
        results = [
            finish(run, config, workdir, *end)
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
        found = [restore(run, workdir) for run, workdir in zip(runs, workdirs, strict=True)]
        for (_, step), workdir in zip(found, workdirs, strict=True):
            seen = step if (workdir / "config.json").exists() else -1
            devices.check_shared(seen, str(workdir))
        for start in sorted({step for _, step in found}):
            group = [i for i, (_, step) in enumerate(found) if step == start]
            with contextlib.ExitStack() as logs:
                members = [
                    logs.enter_context(with_log(runs[i], configs[i], workdirs[i], start, told[i]))
                    for i in group
                ]
                trained = go_on(members, [found[i][0] for i in group], start, stop)
            for i, state_and_step in zip(group, trained, strict=True):
                found[i] = state_and_step
    return found


def claim(run: build.Run, configs: Sequence[Mapping], workdirs: Sequence[pathlib.Path]) -> None:
    """Makes the directories those of these runs."""
    for config, workdir in zip(configs, workdirs, strict=True):
        rundir.claim(workdir, config)
        rundir.write_facts(workdir, build.facts(run.dataset))
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
        print(f"stopped at step {step}, state saved; the same command again goes on from there")
        sys.exit(128 + (stop.signal or signal.SIGTERM))
    return [(own, step) for _, own in each(members, state, mesh)]


def restore(run: build.Run, workdir: pathlib.Path):
    """(state, step) of the last good checkpoint, or the state at step 0."""
    # Compiling dozens of random draws well takes a CPU longer than drawing them badly, once.
    fast = {} if devices.on_accelerator() else {"xla_backend_optimization_level": 0}
    initial = jax.jit(
        run.method.init, out_shardings=devices.replicated(run.mesh), compiler_options=fast
    )
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=devices.replicated(run.mesh)),
        jax.eval_shape(run.method.init, run.init_key),
    )
    found = checkpoint.restore(
        build.checkpoints(workdir), abstract, warn=lambda text: print(f"warning: {text}")
    )
    if found is None:
        return initial(run.init_key), 0
    return found[1], found[0]


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
            | ({"cost": spent} if spent else {}),
        )
        page.write_run(run, config, workdir, state, step)
    return results
