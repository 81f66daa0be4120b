"""The loop: build, restore, dispatch, log, evaluate, save. Straight-line, without callbacks."""

import contextlib
import json
import pathlib
import signal
import sys
from collections.abc import Mapping

import jax
import numpy as np

from ivg import build, checkpoint, devices, evaluate, rundir
from ivg.dispatch import (
    check_finite,
    first_batch,
    make_dispatch,
    make_feed,
    next_stop,
    phase_at,
)
from ivg.log import Log, Progress, parameter_table, versions


def loop(run: build.Run, config: Mapping, workdir: pathlib.Path, log: Log, state, step: int, stop):
    """Trains from `step` to the end, or until `stop` is set. Returns (state, step)."""
    phases, folder = run.method.phases, build.checkpoints(workdir)
    images, feed = make_feed(
        run.dataset.train.images,
        seed=config["seed"],
        batch_size=config["batch_size"],
        mesh=run.mesh,
    )
    dispatches = [make_dispatch(p.step, resident=isinstance(run.dataset.train.images, np.ndarray))
                  for p in phases]  # fmt: skip
    key = devices.place_state(run.train_key, run.mesh)
    per_dispatch = config["steps_per_dispatch"] or (20 if devices.on_accelerator() else 1)
    every = [config[f"{what}_every"] for what in ("log", "eval", "checkpoint")] + [per_dispatch]
    pending, pending_from, saved = [], step, step if step else None
    bar = Progress(config["num_steps"], step)
    last = False  # decided once a dispatch: a signal that comes later waits for the next one
    while step < config["num_steps"] and not last:
        i = phase_at(phases, step)
        end = next_stop(step, (config["num_steps"], phases[i].end), every)
        batches = feed(first_batch(phases, step), end - step, phases[i].num_batches)
        number = devices.place_state(np.int32(step), run.mesh)
        with jax.transfer_guard("disallow"):
            state, metrics = dispatches[i](state, images, batches, number, key)
        pending.append(metrics)
        step = end
        last = step == config["num_steps"] or bool(stop)
        save = last or step % config["checkpoint_every"] == 0
        if save or step % config["log_every"] == 0 or phases[i].end == step:
            rows = [jax.device_get(m) for m in pending]
            table = {name: np.concatenate([r[name] for r in rows]) for name in rows[0]}
            kept = (
                f"the last good checkpoint is that of step {saved}"
                if saved
                else "no checkpoint yet"
            )
            check_finite(pending_from, table, config["method"], kept)
            means = {n: float(v.mean()) for n, v in table.items() if not n.startswith("finite/")}
            log.scalars(step, means)
            bar.update(step, {n: v for n, v in means.items() if "/kl_" not in n})
            pending, pending_from = [], step
        else:
            bar.update(step)
        if config["eval_every"] and step % config["eval_every"] == 0 and not last:
            log_evaluation(run, config, log, state, step)
        if save:
            checkpoint.save(folder, step, state, keep=config["keep_checkpoints"])
            saved = step
    bar.close()
    return state, step


def log_evaluation(run: build.Run, config: Mapping, log: Log, state, step: int) -> None:
    """A sample grid, and clustering where there are labels, in the middle of training."""
    key = jax.random.fold_in(run.eval_key, step)
    log.images(step, {"samples": evaluate.sample_picture(run.method, state, key)})
    if evaluate.has_classes(run.method, run.dataset):
        scores = evaluate.clustering_scores(
            run.method, state, run.dataset, min(config["eval_images"], 2_000)
        )
        log.scalars(step, {f"eval/{name}": value for name, value in scores.items()})


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
    run = build.build(config)
    own = devices.own_folder(workdir)
    rundir.claim(own, config)
    if own == workdir:
        checkpoint.clean(build.checkpoints(workdir))
    with jax.set_mesh(run.mesh), catch_signals() as stop:
        state, step = restore(run, workdir)
        if step == 0:
            print(parameter_table(state))
        elif step < config["num_steps"]:
            print(f"going on from step {step} of {config['num_steps']}")
        with contextlib.closing(Log(own, resume_step=step or None)) as log:
            if step == 0:
                log.text("config", json.dumps(config, indent=2))
            state, step = loop(run, config, workdir, log, state, step, stop)
        if stop:
            print(f"stopped at step {step}, state saved; the same command again goes on from there")
            sys.exit(128 + stop.signal)
    return finish(run, config, workdir, state, step)


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
    with jax.set_mesh(run.mesh):
        return evaluate.evaluate(
            run.method,
            state,
            run.dataset,
            run.eval_key,
            workdir=devices.own_folder(workdir),
            limit=config["eval_images"],
            header={"method": config["method"], "data": run.dataset.name, "step": step}
            | {"seed": config["seed"], "versions": versions()},
        )
