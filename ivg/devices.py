"""The only file that knows about devices: the mesh, placement of state and batches, processes.

Every step is written for the global batch and jitted over a one-axis mesh with the batch split
along it. This is the successor of `jax.pmap`, which JAX keeps in maintenance mode: batch norm,
mutual information and every other batch quantity keep their meaning on any number of devices.
A mesh of runs has another axis: its devices train runs of their own, whole batches each.
"""

import atexit
import contextlib
import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from typing import TextIO

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ivg.errors import UserError

AXIS = "batch"
RUNS = "runs"
HEARTBEAT = 60  # seconds without a sign of life after which a process counts as lost
_LOST = (
    "error: this process or another one of the run was lost; the same command again, with any "
    "number of processes, goes on from the last checkpoint."
)
# Like JAX's own manager of these calls: one for the process, however many runs it trains.
_CALLS = itertools.count(1)


# ---- processes ----------------------------------------------------------------------------------


def start_processes(
    *,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    heartbeat: int = HEARTBEAT,
) -> None:
    """Joins the other processes of the run; a run of one process passes through.

    What is not given comes from JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, and
    otherwise from JAX's own look at SLURM, Open MPI, TPU pods and indexed jobs of Kubernetes. To be
    called before anything else touches a device; a second call does nothing. Process 0 alone
    speaks on the standard output afterwards.

    Args:
        coordinator: host:port of process 0.
        num_processes: in all; 1 runs alone, wherever it is.
        process_id: 0 to num_processes - 1.
        heartbeat: seconds after which a silent process counts as lost and the others end.

    Raises:
        UserError: these do not fit together, or the others cannot be reached.
    """
    address = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    count = _number("JAX_NUM_PROCESSES", num_processes)
    index = _number("JAX_PROCESS_ID", process_id)
    named = any(given is not None for given in (address, count, index))
    if jax.distributed.is_initialized() or count == 1 or not (named or _launched()):
        return
    try:
        jax.distributed.initialize(
            address,
            count,
            index,
            heartbeat_timeout_seconds=heartbeat,
            shutdown_timeout_seconds=heartbeat,
        )
    except ValueError as error:
        if not named:
            print("note: this process was not started by the launcher (srun, mpirun): it is alone.")
            return
        raise UserError(
            f"the processes are not described in full ({error}); give --coordinator=HOST:PORT, "
            "--num_processes=N and --process_id=0 to N - 1, each on its own process."
        ) from None
    except (RuntimeError, OSError) as error:
        raise UserError(
            f"this process cannot join the others ({str(error).splitlines()[0]}); is the "
            "coordinator's address right and its port free? --num_processes=1 runs alone."
        ) from None
    if not is_alone():
        _say_when_lost()
    sys.stdout = spoken(sys.stdout)


def _number(name: str, given: int | None) -> int | None:
    """What was given, or the environment's."""
    text = os.environ.get(name, "")
    if given is None and text and not text.isdigit():
        raise UserError(f'{name}="{text}" is not a number; set it on every process, or unset it.')
    return int(text) if given is None and text else given


def _launched() -> bool:
    """Whether a launcher may have started several processes: then JAX looks closer."""
    env = os.environ
    hosts = env.get("TPU_WORKER_HOSTNAMES")
    return (
        int(env.get("SLURM_NTASKS", "1")) > 1
        or int(env.get("OMPI_COMM_WORLD_SIZE", "1")) > 1
        or "JOB_COMPLETION_INDEX" in env
        # JAX forbids the query of a TPU machine's metadata wherever there is no TPU.
        or ("," in hosts if hosts is not None else "TPU_SKIP_MDS_QUERY" not in env)
    )


def _say_when_lost() -> None:
    """Has a sentence printed after this process's death, unless it ends as it should.

    When one process dies, JAX's runtime aborts the others, from within and with many lines of its
    own; or a transfer fails and raises. A shell that waits for the end of a pipe outlives both, and
    has the last word.
    """

    def at_exit() -> None:
        if hasattr(sys, "last_value"):  # an exception that nobody caught, its traceback printed
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)  # JAX's own way out would wait for the others
        child.communicate(b"\n")

    script = 'read word || echo "$0" >&2'
    child = subprocess.Popen(
        ["/bin/sh", "-c", script, _LOST],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is not for it
    )
    atexit.register(at_exit)


def is_alone() -> bool:
    """Whether the run has no other process."""
    return jax.process_count() == 1


def is_first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return jax.process_index() == 0


def spoken(file: TextIO) -> TextIO:
    """Where this process may tell how it goes: the first one to the file, the others nowhere."""
    return file if is_first() else open(os.devnull, "w")


def on_first(action: Callable[[], None]) -> None:
    """Process 0 acts, the others wait for it.

    Raises:
        UserError: from the action; then in every process.
    """
    failure = None
    if is_first():
        try:
            action()
        except UserError as error:
            failure = error
    if not is_alone():
        failed = multihost_utils.broadcast_one_to_all(np.int32(failure is not None))
        if failed and failure is None:
            raise UserError("process 0 cannot go on; it says why.")
    if failure is not None:
        raise failure


def check_shared(step: int, where: str) -> None:
    """Raises UserError in every process where they do not see the same step in a run directory."""
    if is_alone():
        return
    steps = multihost_utils.process_allgather(np.int32(step)).ravel().tolist()
    if len(set(steps)) > 1:
        raise UserError(
            f"the processes do not see the same in {where} (steps {steps}, -1 where there is no "
            "run); a run directory must be on a disk that all of them share."
        )


def wait_for_all(name: str) -> None:
    """Returns once every process is here; without a limit of time while all of them live."""
    if not is_alone():
        multihost_utils.sync_global_devices(name)


def stops_here(asked: bool) -> bool:
    """Whether the run stops now: all processes at the same step; to be asked once a dispatch.

    Alone it is what was `asked`. Among several it is JAX's agreement: SIGTERM at one of them stops
    all before the same dispatch, the next that none of them has begun.
    """
    if is_alone():
        return asked
    return multihost_utils.reached_preemption_sync_point(next(_CALLS))


# ---- meshes -------------------------------------------------------------------------------------


def make_mesh(num_devices: int | None = None) -> Mesh:
    """A one-axis mesh over the first `num_devices` devices (all by default)."""
    return _mesh(jax.devices()[:num_devices], AXIS)


def runs_mesh(count: int) -> Mesh:
    """A mesh whose devices train `count` runs: as many devices as can have equally many each.

    Raises:
        UserError: there are several processes.
    """
    if not is_alone():
        raise UserError(
            "--config.parallel=runs spreads seeds over the devices of one process; start each "
            "machine alone with seeds of its own (--num_processes=1), or use batch."
        )
    there = len(jax.devices())
    size = max(n for n in range(1, there + 1) if count % n == 0)
    return _mesh(jax.devices()[:size], RUNS)


def _mesh(devices: list[jax.Device], axis: str) -> Mesh:
    # In the order of processes, so that each of them has neighbouring rows of a batch.
    devices = sorted(devices, key=lambda device: device.process_index)
    return Mesh(np.array(devices), (axis,), axis_types=(AxisType.Auto,))


def local_mesh(mesh: Mesh) -> Mesh:
    """The part of a mesh that is this process's own."""
    if is_alone():
        return mesh
    return _mesh([d for d in mesh.devices.flat if d.process_index == jax.process_index()], AXIS)


def first_mesh() -> Mesh:
    """A mesh of this process's first device."""
    return _mesh(jax.local_devices()[:1], AXIS)


def same_mesh() -> Callable[[], contextlib.AbstractContextManager]:
    """For another thread: a function that gives the context of the caller's own mesh, if any."""
    mesh = jax.sharding.get_mesh()
    return contextlib.nullcontext if mesh.empty else lambda: jax.set_mesh(mesh)


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
    """Raises UserError where the batch cannot be split evenly."""
    if batch_size % mesh.size:
        lower = batch_size - batch_size % mesh.size
        nearest = " or ".join(str(b) for b in (lower, lower + mesh.size) if b)
        raise UserError(
            f"batch_size={batch_size} cannot be split over {mesh.size} devices; "
            f"use a multiple of {mesh.size}, such as --config.batch_size={nearest}."
        )


# ---- placement ----------------------------------------------------------------------------------


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of a state: a full copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def over_runs(mesh: Mesh) -> NamedSharding:
    """The sharding of what has a leading run axis: split on a mesh of runs, otherwise whole."""
    return NamedSharding(mesh, PartitionSpec(RUNS) if is_of_runs(mesh) else PartitionSpec())


def is_of_runs(mesh: Mesh) -> bool:
    """Whether the devices of the mesh train runs of their own."""
    return mesh.axis_names == (RUNS,)


def place_state(state, mesh: Mesh):
    """A copy of every array of the tree, typed keys included, on every device of the mesh."""
    return _place(state, replicated(mesh))


def place_runs(trees, mesh: Mesh):
    """Trees of one structure stacked: [R, ...] on the devices that train the R runs."""
    stacked = jax.tree.map(lambda *leaves: _stacked(leaves), *trees)
    return _place(stacked, over_runs(mesh))


def _stacked(leaves):
    if _is_key(leaves[0]):
        data = np.stack([np.asarray(jax.random.key_data(leaf)) for leaf in leaves])
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaves[0]))
    return np.stack([np.asarray(leaf) for leaf in leaves])


def _place(tree, sharding: NamedSharding):
    def place(x):
        if _is_key(x):
            return jax.random.wrap_key_data(
                place(jax.random.key_data(x)), impl=jax.random.key_impl(x)
            )
        return jax.device_put(np.asarray(x) if is_local(x) else x, sharding)

    return jax.tree.map(place, tree)


def _is_key(x) -> bool:
    return isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)


def is_local(x) -> bool:
    """Whether this process holds all of x, so that every process can place its own copy."""
    return not isinstance(x, jax.Array) or x.is_fully_addressable


def own_copy(state, mesh: Mesh):
    """A replicated state on the devices of this process alone, which then works without others."""
    if is_alone():
        return state

    def fetch(x):
        if _is_key(x):
            return jax.random.wrap_key_data(
                fetch(jax.random.key_data(x)), impl=jax.random.key_impl(x)
            )
        return np.asarray(x)

    return place_state(jax.tree.map(fetch, state), local_mesh(mesh))


def run_of(states, number: int, mesh: Mesh):
    """Run `number` of states [R, ...] on a mesh of runs, copied to the devices of `mesh`."""

    def take(x):
        if _is_key(x):
            return jax.random.wrap_key_data(
                take(jax.random.key_data(x)), impl=jax.random.key_impl(x)
            )
        for shard in x.addressable_shards:
            first, last, _ = shard.index[0].indices(len(x))
            if first <= number < last:
                return np.asarray(shard.data)[number - first]
        raise IndexError(f"run {number} of {len(x)}")

    return place_state(jax.tree.map(take, states), mesh)


def place_batches(batches: np.ndarray, mesh: Mesh) -> jax.Array:
    """Host array [k, n, B_local, ...] -> device array [k, n, B, ...] split along its batch axis."""
    sharding = NamedSharding(mesh, PartitionSpec(None, None, AXIS))
    return jax.make_array_from_process_local_data(sharding, np.asarray(batches))


def local_rows(batch_size: int, mesh: Mesh) -> slice:
    """The rows of a global batch that this process loads: those of its devices."""
    here = [d.process_index == jax.process_index() for d in mesh.devices.flat]
    rows = batch_size // len(here)
    first = here.index(True) * rows
    return slice(first, first + sum(here) * rows)


def constrain(tree):
    """Splits latents drawn inside a step along the batch.

    A step without real images (InfoVAEGAN's inference) has no input whose sharding could
    propagate: without this, every device would compute the whole batch. Outside a mesh, and where
    the devices train whole runs, it is the identity.
    """
    if AXIS not in jax.sharding.get_abstract_mesh().axis_names:
        return tree
    return jax.lax.with_sharding_constraint(tree, PartitionSpec(AXIS))


def on_accelerator() -> bool:
    """Whether steps run on something other than a CPU."""
    return jax.default_backend() != "cpu"
