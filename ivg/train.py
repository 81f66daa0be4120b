"""The loop: build, restore, dispatch, log, evaluate, save. Straight-line, without callbacks."""

import contextlib
import json
import pathlib
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from ivg import (
    attribute_scores,
    build,
    checkpoint,
    devices,
    evaluate,
    pictures,
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
from ivg.log import Log, Progress, parameter_table, versions


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
    phases, count = run.method.phases, len(members)
    images, feeds = make_feeds(members)
    read = reader(run.dataset.train.images)
    dispatches = [make_dispatch(phase.step, read) for phase in phases]
    dispatches = [together.over_runs(dispatch, count) for dispatch in dispatches]
    keys = together.join([m.run.train_key for m in members], run.mesh)
    key = devices.place_state(keys, run.mesh)
    per_dispatch = config["steps_per_dispatch"] or (20 if devices.on_accelerator() else 1)
    every = [config[f"{what}_every"] for what in ("log", "eval", "checkpoint")] + [per_dispatch]
    pending, pending_from, saved = [], step, step if step else None
    bar = Progress(config["num_steps"], step)
    last = False  # decided once a dispatch: a signal that comes later waits for the next one
    while step < config["num_steps"] and not last:
        i = phase_at(phases, step)
        end = next_stop(step, (config["num_steps"], phases[i].end), every)
        what = first_batch(phases, step), end - step, phases[i].num_batches
        batches = [feed(*what) for feed in feeds]
        number = devices.place_state(np.int32(step), run.mesh)
        with jax.transfer_guard("disallow"):
            state, metrics = dispatches[i](state, images, batches, number, key)
        pending.append(metrics)
        step = end
        last = step == config["num_steps"] or bool(stop)
        save = last or step % config["checkpoint_every"] == 0
        if save or step % config["log_every"] == 0 or phases[i].end == step:
            rows = [jax.device_get(m) for m in pending]
            table = {name: np.concatenate([r[name] for r in rows], -1) for name in rows[0]}
            means = note(members, pending_from, step, table, saved)
            bar.update(step, {n: v for n, v in means.items() if "/kl_" not in n})
            pending, pending_from = [], step
        else:
            bar.update(step)
        if config["eval_every"] and step % config["eval_every"] == 0 and not last:
            for member, own in zip(members, together.each(state, count, run.mesh), strict=True):
                log_evaluation(member.run, config, member.log, own, step)
        if save:
            for member, own in zip(members, together.each(state, count, run.mesh), strict=True):
                folder = build.checkpoints(member.workdir)
                checkpoint.save(folder, step, own, keep=config["keep_checkpoints"])
            saved = step
    bar.close()
    return state, step


def make_feeds(members: Sequence[Member]) -> tuple[jax.Array, list[Callable]]:
    """The images that stay on the device, once, and the batches of each run in its own order."""
    train = members[0].run.dataset.train
    made = (
        make_feed(
            train.images,
            seed=member.config["seed"],
            batch_size=member.config["batch_size"],
            mesh=member.run.mesh,
            attributes=train.attributes if member.run.method.num_attributes else None,
        )
        for member in members
    )
    images, first = next(made)
    return images, [first, *(feed for _, feed in made)]


def note(members: Sequence[Member], first: int, step: int, table: Mapping, saved: int | None):
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
            log.alarm(step, f"seed {config['seed']}: {text}" if text and members[1:] else text)
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def log_evaluation(run: build.Run, config: Mapping, log: Log, state, step: int) -> None:
    """A sample grid, and clustering where there are labels, in the middle of training."""
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


class Stop:
    """True once SIGTERM or Ctrl-C asked the process to end; a second Ctrl-C ends it at once."""

    def __init__(self):
        self.signal = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def __call__(self, number, frame) -> None:
        """The signal handler."""
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number


@contextlib.contextmanager
def catch_signals():
    """Within it, SIGTERM and Ctrl-C only set the Stop that it yields."""
    stop = Stop()
    before = {n: signal.signal(n, stop) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
    for config, workdir in zip(configs, workdirs, strict=True):
        own = devices.own_folder(workdir)
        rundir.claim(own, config)
        if own == workdir:
            checkpoint.clean(build.checkpoints(workdir))
            if runs[0].dataset.name == "celeba_glasses":
                celeba_glasses.write_subset(own / "subset.json", runs[0].dataset, seed=0)
    with jax.set_mesh(runs[0].mesh), catch_signals() as stop:
        found = [restore(run, workdir) for run, workdir in zip(runs, workdirs, strict=True)]
        for start in sorted({step for _, step in found}):
            group = [i for i, (_, step) in enumerate(found) if step == start]
            with contextlib.ExitStack() as logs:
                members = [
                    logs.enter_context(with_log(runs[i], configs[i], workdirs[i], start))
                    for i in group
                ]
                trained = go_on(members, [found[i][0] for i in group], start, stop)
            for i, state_and_step in zip(group, trained, strict=True):
                found[i] = state_and_step
    return [
        finish(run, config, workdir, state, step)
        for run, config, workdir, (state, step) in zip(runs, configs, workdirs, found, strict=True)
    ]


def make_runs(configs: Sequence[Mapping]) -> list[build.Run]:
    """What `build` makes of each config, with one method and one data set for all."""
    first = build.build(configs[0])
    runs = [first]
    for config in configs[1:]:
        init_key, train_key, eval_key = build.root_keys(config["seed"])
        runs.append(first._replace(init_key=init_key, train_key=train_key, eval_key=eval_key))
    return runs


@contextlib.contextmanager
def with_log(run: build.Run, config: Mapping, workdir: pathlib.Path, step: int) -> Iterator[Member]:
    """A run at `step` with its log, which is closed afterwards."""
    with contextlib.closing(Log(devices.own_folder(workdir), resume_step=step or None)) as log:
        if step == 0:
            log.text("config", json.dumps(config, indent=2))
        yield Member(run, config, workdir, log)


def go_on(members: Sequence[Member], states: Sequence, step: int, stop: "Stop") -> list:
    """Trains runs that stand at `step` to the end. Returns (state, step) of each.

    Raises:
        SystemExit: 128 + the signal's number, after SIGTERM or Ctrl-C, once the states are saved.
    """
    config, mesh = members[0].config, members[0].run.mesh
    if step == 0:
        print(parameter_table(states[0]))
    elif step < config["num_steps"]:
        seeds = ", ".join(str(m.config["seed"]) for m in members)
        who = f" (seeds {seeds})" if len(members) > 1 else ""
        print(f"going on from step {step} of {config['num_steps']}{who}")
    state = together.join(states, mesh)
    state, step = loop(*members[0], state, step, stop, others=members[1:])
    if stop:
        print(f"stopped at step {step}, state saved; the same command again goes on from there")
        sys.exit(128 + stop.signal)
    return [(own, step) for own in together.each(state, len(members), mesh)]


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
    """Scores and pictures of a state, written and returned."""
    method = run.method.at(step)
    if method.encode is not run.method.encode:
        late = f"{config['method']} learns to infer codes after step {method.encodes_after} only"
        print(f"codes are not scored: {late}")
    with jax.set_mesh(run.mesh):
        return evaluate.evaluate(
            method,
            state,
            run.dataset,
            run.eval_key,
            workdir=devices.own_folder(workdir),
            limit=config["eval_images"],
            disentanglement=config["disentanglement"],
            attributes=config["attribute_scores"],
            header={"method": config["method"], "data": run.dataset.name, "step": step}
            | {"seed": config["seed"], "versions": versions()},
        )
