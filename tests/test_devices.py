import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ivg import devices
from ivg.errors import UserError


def test_mesh():
    assert devices.make_mesh().size == 4
    mesh = devices.make_mesh(2)
    assert mesh.size == 2 and mesh.axis_names == (devices.AXIS,)


@pytest.mark.parametrize(
    "batch_size, use", [(10, "8 or 12"), (3, "4"), (63, "60 or 64"), (5, "4 or 8")]
)
def test_batch_that_cannot_be_split(batch_size, use):
    with pytest.raises(UserError, match=rf"4 devices.*--config.batch_size={use}\.$"):
        devices.check_batch_size(batch_size, devices.make_mesh())


@pytest.mark.parametrize("batch_size", [4, 64])
def test_batch_that_can_be_split(batch_size):
    devices.check_batch_size(batch_size, devices.make_mesh())
    devices.check_batch_size(7, devices.make_mesh(1))


def test_placement():
    mesh = devices.make_mesh()
    state = devices.place_state({"w": np.ones((3, 2))}, mesh)
    assert state["w"].sharding.is_fully_replicated and len(state["w"].addressable_shards) == 4
    batches = np.arange(2 * 3 * 8).reshape(2, 3, 8)
    placed = devices.place_batches(batches, mesh)
    np.testing.assert_array_equal(placed, batches)
    assert {s.data.shape for s in placed.addressable_shards} == {(2, 3, 2)}
    assert devices.local_rows(8) == slice(0, 8)


def test_constrain_splits_within_a_mesh_only():
    x = jnp.zeros((8, 3))
    assert devices.constrain(x) is x
    mesh = devices.make_mesh()
    with jax.set_mesh(mesh):
        split = jax.jit(lambda: devices.constrain({"z": jnp.ones((8, 3))}))()["z"]
    assert split.sharding.is_equivalent_to(jax.NamedSharding(mesh, jax.P(devices.AXIS)), split.ndim)


def test_processes_are_joined_where_there_are_several(monkeypatch):
    called = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args: called.append(args))
    for name in ("JAX_COORDINATOR_ADDRESS", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "localhost")
    devices.start_processes()
    assert not called
    monkeypatch.setenv("SLURM_NTASKS", "2")
    devices.start_processes()
    assert called == [()]
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "host:1234")
    with pytest.raises(UserError, match="JAX_NUM_PROCESSES"):
        devices.start_processes()
    monkeypatch.setenv("JAX_NUM_PROCESSES", "4")
    monkeypatch.setenv("JAX_PROCESS_ID", "3")
    devices.start_processes()
    assert called == [(), ("host:1234", 4, 3)]
