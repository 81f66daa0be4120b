"""The loop: build, restore, dispatch, log, evaluate, save. Straight-line, without callbacks."""

import contextlib
import functools
import json
import pathlib
import signal
import sys
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from ivg import build, checkpoint, devices, evaluate, rundir
from ivg.data import batches as order
from ivg.errors import UserError
from ivg.log import Log, Progress, parameter_table, versions
from ivg.players import Phase, Player


def finite(state) -> dict[str, jax.Array]:
    """Whether every parameter of each player is finite, as {"finite/G": bool []}."""
    return {
        f"finite/{name}": jnp.all(
            jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(p.params)])
        )
        for name, p in state._asdict().items()
        if isinstance(p, Player)
    }


def make_dispatch(step: Callable, *, resident: bool) -> Callable:
    """One device call of k training steps.

    Returns a jitted function (state, images, batches, first_step, key) -> (state, metrics [k]);
    batches [k, n, B] index the images held on the device if `resident`, and are uint8 images
    [k, n, B, H, W, C] themselves otherwise. The state is donated.
    """

    def one(images, key, state, item):
        number, batch = item
        x = images[batch] if resident else batch
        xs = x.astype(jnp.float32) / 127.5 - 1.0
        state, metrics = step(state, xs, jax.random.fold_in(key, number))
        return state, metrics | finite(state)

    @functools.partial(jax.jit, donate_argnums=0)
    def dispatch(state, images, batches, first_step, key):
        body = functools.partial(one, images, key)
        if len(batches) == 1:  # no loop: a convolution inside one is very slow on a CPU
            state, metrics = body(state, (first_step, batches[0]))
            return state, jax.tree.map(lambda m: m[None], metrics)
        return jax.lax.scan(body, state, (first_step + jnp.arange(len(batches)), batches))

    return dispatch


def make_feed(images, *, seed: int, batch_size: int, mesh) -> tuple[jax.Array, Callable]:
    """The images that stay on the device, and (first, steps, per_step) -> batches to dispatch.

    Batch number i of the run holds the same images whether they are resident or streamed.
    """
    rows = devices.local_rows(batch_size)
    if isinstance(images, np.ndarray):

        def gather(first: int, steps: int, per_step: int) -> jax.Array:
            index = order.indices(
                len(images),
                seed=seed,
                batch_size=batch_size,
                first_batch=first,
                num_batches=steps * per_step,
            )
            return devices.place_batches(
                index.reshape(steps, per_step, batch_size)[..., rows], mesh
            )

        return devices.place_state(images, mesh), gather

    position, stream = None, None

    def read(first: int, steps: int, per_step: int) -> jax.Array:
        nonlocal position, stream
        if position != first:
            stream = order.stream(
                images,
                seed=seed,
                batch_size=batch_size,
                first_batch=first,
                num_batches_per_item=1,
                process_slice=rows,
            )
        position = first + steps * per_step
        items = [next(stream) for _ in range(steps * per_step)]
        shape = (steps, per_step, rows.stop - rows.start, *images.shape[1:])
        return devices.place_batches(
            np.concatenate(items or [np.zeros(0, np.uint8)]).reshape(shape), mesh
        )

    return devices.place_state(np.zeros((0,), np.uint8), mesh), read


def first_batch(phases: tuple[Phase, ...], step: int) -> int:
    """Number of real minibatches that the steps before `step` have consumed."""
    count, start = 0, 0
    for phase in phases:
        end = step if phase.end is None else min(step, phase.end)
        count, start = count + max(end - start, 0) * phase.num_batches, end
    return count


def phase_at(phases: tuple[Phase, ...], step: int) -> int:
    """Index of the phase that step number `step` belongs to."""
    return next(i for i, p in enumerate(phases) if p.end is None or step < p.end)


def next_stop(step: int, phase: Phase, config: Mapping, per_dispatch: int) -> int:
    """Where the dispatch that starts at `step` ends: at the first of everything that is due."""
    due = [config["num_steps"]] + ([phase.end] if phase.end else [])
    every = (config["log_every"], config["eval_every"], config["checkpoint_every"], per_dispatch)
    return min(due + [(step // n + 1) * n for n in every if n])


def check_finite(finished: int, metrics: Mapping[str, np.ndarray], method: str, saved: str) -> None:
    """Raises UserError at the first step whose losses or parameters are NaN or infinite.

    Args:
        finished: steps before the first row of the metrics; steps are counted from 1.
        metrics: name -> [k], "finite/player" among them.
        method: the config's section with the learning rates.
        saved: clause that says where the last good checkpoint is.
    """
    good = {name: np.isfinite(v) & (v != 0 if name.startswith("finite/") else True)
            for name, v in metrics.items()}  # fmt: skip
    rows = np.flatnonzero(~np.all(list(good.values()), axis=0))
    if not rows.size:
        return
    row = rows[0]
    bad = [name for name in metrics if not good[name][row]]
    terms = [name for name in bad if not name.startswith("finite/")]
    players = [name.split("/")[1] for name in bad if name.startswith("finite/")]
    player = players[0] if players else terms[0].split("/")[0]
    own = terms or [name for name in metrics if name.startswith(f"{player}/")]
    values = ", ".join(f"{name} = {metrics[name][row]:.4g}" for name in own)
    what = "a loss" if terms else "an update"
    raise UserError(
        f"step {finished + row + 1}: {what} of player {player} is not finite ({values}); {saved}. "
        f"Lower --config.{method}.optimizer.{player}.learning_rate or the weight of that term."
    )


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
    pending, pending_from, saved = [], step, step if step else None
    bar = Progress(config["num_steps"], step)
    last = False  # decided once a dispatch: a signal that comes later waits for the next one
    while step < config["num_steps"] and not last:
        i = phase_at(phases, step)
        end = next_stop(step, phases[i], config, per_dispatch)
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
    initial = jax.jit(run.method.init, out_shardings=devices.replicated(run.mesh))
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
