"""What one device call of k training steps is made of: its batches, its length."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ivg import devices
from ivg.data import Rendered
from ivg.data import batches as order
from ivg.players import Labelled, Phase, Player


def finite(state) -> dict[str, jax.Array]:
    """Whether every parameter of each player is finite, as {"finite/G": bool []}.

    0 times what is not finite is NaN, and a sum keeps it: half the time of `all(isfinite(x))`,
    which took 4 % of a FactorVAE's step on a CPU.
    """
    return {
        f"finite/{name}": jnp.isfinite(sum(jnp.sum(0.0 * w) for w in jax.tree.leaves(p.params)))
        for name, p in state._asdict().items()
        if isinstance(p, Player)
    }


def reader(source) -> Callable:
    """How a step gets its images: (what stays on the device, batch, key) -> (uint8 images, key).

    `batch` [n, B] indexes images held on the device, or numbers those to be drawn; of a streamed
    set it is the images [n, B, H, W, C]. The key that comes back is the step's own.
    """
    if isinstance(source, Rendered):
        return functools.partial(_drawn, source)
    return _gathered if isinstance(source, np.ndarray) else _streamed


def _gathered(images, batch, key):
    return images[batch], key


def _drawn(source, images, batch, key):
    del images
    keys = jax.random.split(key, 1 + len(batch))
    return jax.vmap(source.draw)(batch, keys[1:]), keys[0]


def _streamed(images, batch, key):
    del images
    return batch, key


def make_step(step: Callable, read: Callable) -> Callable:
    """One training step with what comes before and after it.

    Returns a function (images, key, state, (number, batch [n, B, ...])) -> (state, metrics), of
    what `make_dispatch` takes.
    """

    def one(images, key, state, item):
        number, batch = item
        labelled = isinstance(batch, Labelled)
        chosen = batch.x if labelled else batch
        x, step_key = read(images, chosen, jax.random.fold_in(key, number))
        xs = x.astype(jnp.float32) / 127.5 - 1.0
        xs = Labelled(xs, batch.y.astype(jnp.float32)) if labelled else xs
        state, metrics = step(state, xs, step_key)
        return state, metrics | finite(state)

    return one


def make_dispatch(step: Callable, read: Callable) -> Callable:
    """One device call of k training steps.

    Returns a jitted function (state, images, batches, first_step, key) -> (state, metrics [k]);
    `images` and `batches` [k, n, B, ...] are what `read`, from `reader`, takes; for a method with
    attributes `batches` is `Labelled`, of that and of the attributes bool [k, n, B, A]. The state
    is donated.
    """
    one = make_step(step, read)

    @functools.partial(jax.jit, donate_argnums=0)
    def dispatch(state, images, batches, first_step, key):
        body = functools.partial(one, images, key)
        count = len(jax.tree.leaves(batches)[0])
        if count == 1:  # no loop: a convolution inside one is very slow on a CPU
            only = jax.tree.map(lambda leaf: leaf[0], batches)
            state, metrics = body(state, (first_step, only))
            return state, jax.tree.map(lambda m: m[None], metrics)
        return jax.lax.scan(body, state, (first_step + jnp.arange(count), batches))

    return dispatch


def make_feed(
    images, *, seed: int, batch_size: int, mesh, attributes: np.ndarray | None = None
) -> tuple[jax.Array, Callable]:
    """The images that stay on the device, and (first, steps, per_step) -> batches to dispatch.

    Batch number i of the run holds the same images whether they are resident or streamed. With
    `attributes` (bool [N, A], of the same images) the batches are `Labelled`. On a mesh of runs the
    batches stay with the host: `together.arrange` places those of all runs.
    """
    whole = devices.is_of_runs(mesh)
    rows = slice(0, batch_size) if whole else devices.local_rows(batch_size, mesh)
    place = (lambda batches, _: batches) if whole else devices.place_batches

    def numbers(first: int, steps: int, per_step: int) -> np.ndarray:
        index = order.indices(
            len(images),
            seed=seed,
            batch_size=batch_size,
            first_batch=first,
            num_batches=steps * per_step,
        )
        return index.reshape(steps, per_step, batch_size)[..., rows]

    def gather(first: int, steps: int, per_step: int) -> jax.Array:
        return place(numbers(first, steps, per_step), mesh)

    if isinstance(images, np.ndarray | Rendered):
        stored = images if isinstance(images, np.ndarray) else np.zeros((0,), np.uint8)
        read = gather
    else:
        stored = np.zeros((0,), np.uint8)
        decoded = _make_stream(images, seed=seed, batch_size=batch_size, rows=rows)

        def read(*what: int) -> jax.Array:
            return place(decoded(*what), mesh)

    def read_labelled(*what: int) -> Labelled:
        return Labelled(read(*what), place(attributes[numbers(*what)], mesh))

    return devices.place_state(stored, mesh), read if attributes is None else read_labelled


def _make_stream(images, *, seed: int, batch_size: int, rows: slice) -> Callable:
    """(first, steps, per_step) -> batches, decoded ahead while they are asked for in order."""
    position, stream = None, None

    def read(first: int, steps: int, per_step: int) -> np.ndarray:
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
        return np.concatenate(items or [np.zeros(0, np.uint8)]).reshape(shape)

    return read


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


def next_stop(step: int, ends: Sequence[int | None], every: Sequence[int]) -> int:
    """Where the dispatch that starts at `step` ends: at the first of everything that is due.

    Args:
        step: finished steps.
        ends: steps at which something ends, such as the phase and the run; None never.
        every: what is due at each multiple of a number of steps; 0 never.
    """
    fixed = [end for end in ends if end is not None]
    return min(fixed + [(step // n + 1) * n for n in every if n])
