"""The only file that knows about devices: the mesh, placement of state and batches, processes.

Every step is written for the global batch and jitted over a one-axis mesh with the batch split
along it. This is the successor of `jax.pmap`, which JAX keeps in maintenance mode: batch norm,
mutual information and every other batch quantity keep their meaning on any number of devices.
"""

import os
import pathlib

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ivg.errors import UserError

AXIS = "batch"


def start_processes() -> None:
    """Joins the other processes of a multi-host run; a run of one process passes through.

    TPU pods, SLURM and Open MPI are found by JAX itself. Elsewhere set JAX_COORDINATOR_ADDRESS
    (host:port of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID on every process. To be called
    before anything else touches a device.
    """
    env = os.environ
    if "JAX_COORDINATOR_ADDRESS" in env:
        count, index = env.get("JAX_NUM_PROCESSES", ""), env.get("JAX_PROCESS_ID", "")
        if not (count.isdigit() and index.isdigit()):
            raise UserError(
                "JAX_COORDINATOR_ADDRESS is set, so JAX_NUM_PROCESSES and JAX_PROCESS_ID must be "
                "numbers too; set them on every process, or unset it to run alone."
            )
        jax.distributed.initialize(env["JAX_COORDINATOR_ADDRESS"], int(count), int(index))
    elif (
        env.get("TPU_WORKER_HOSTNAMES", "").count(",") > 0
        or int(env.get("SLURM_NTASKS", "1")) > 1
        or int(env.get("OMPI_COMM_WORLD_SIZE", "1")) > 1
    ):
        jax.distributed.initialize()


def make_mesh(num_devices: int | None = None) -> Mesh:
    """A one-axis mesh over the first `num_devices` devices (all by default)."""
    devices = jax.devices()[:num_devices]
    return jax.make_mesh((len(devices),), (AXIS,), (AxisType.Auto,), devices=devices)


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
    """Raises UserError where the batch cannot be split evenly."""
    if batch_size % mesh.size:
        lower = batch_size - batch_size % mesh.size
        nearest = " or ".join(str(b) for b in (lower, lower + mesh.size) if b)
        raise UserError(
            f"batch_size={batch_size} cannot be split over {mesh.size} devices; "
            f"use a multiple of {mesh.size}, such as --config.batch_size={nearest}."
        )


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of a state: a full copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def place_state(state, mesh: Mesh):
    """A copy of every array of the tree, typed keys included, on every device of the mesh."""

    def place(x):
        if isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(
                place(jax.random.key_data(x)), impl=jax.random.key_impl(x)
            )
        return jax.device_put(np.asarray(x) if is_local(x) else x, replicated(mesh))

    return jax.tree.map(place, state)


def is_local(x) -> bool:
    """Whether this process holds all of x, so that every process can place its own copy."""
    return not isinstance(x, jax.Array) or x.is_fully_addressable


def place_batches(batches: np.ndarray, mesh: Mesh) -> jax.Array:
    """Host array [k, n, B_local, ...] -> device array [k, n, B, ...] split along its batch axis."""
    sharding = NamedSharding(mesh, PartitionSpec(None, None, AXIS))
    return jax.make_array_from_process_local_data(sharding, np.asarray(batches))


def local_rows(batch_size: int) -> slice:
    """The rows of a global batch that this process loads."""
    rows = batch_size // jax.process_count()
    first = jax.process_index() * rows
    return slice(first, first + rows)


def own_folder(workdir: pathlib.Path) -> pathlib.Path:
    """Where this process writes its log, scores and pictures: process 0 in the run directory."""
    index = jax.process_index()
    return workdir if index == 0 else workdir.with_name(f"{workdir.name}.process_{index}")


def constrain(tree):
    """Splits latents drawn inside a step along the batch.

    A step without real images (InfoVAEGAN's inference) has no input whose sharding could
    propagate: without this, every device would compute the whole batch. Outside a mesh it is the
    identity.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return tree
    return jax.lax.with_sharding_constraint(tree, PartitionSpec(AXIS))


def on_accelerator() -> bool:
    """Whether steps run on something other than a CPU."""
    return jax.default_backend() != "cpu"
