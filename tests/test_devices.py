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
    assert devices.local_rows(8, mesh) == slice(0, 8)


def test_constrain_splits_within_a_mesh_only():
    x = jnp.zeros((8, 3))
    assert devices.constrain(x) is x
    mesh = devices.make_mesh()
    with jax.set_mesh(mesh):
        split = jax.jit(lambda: devices.constrain({"z": jnp.ones((8, 3))}))()["z"]
    assert split.sharding.is_equivalent_to(jax.NamedSharding(mesh, jax.P(devices.AXIS)), split.ndim)


LAUNCHERS = ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "JOB_COMPLETION_INDEX", "TPU_WORKER_HOSTNAMES")
NAMED = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


@pytest.fixture
def joined(monkeypatch) -> list:
    """What `jax.distributed.initialize` was called with, in an environment without a launcher."""
    calls = []

    def initialize(*where, heartbeat_timeout_seconds, shutdown_timeout_seconds):
        assert heartbeat_timeout_seconds == shutdown_timeout_seconds
        calls.append((*where, heartbeat_timeout_seconds))

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")  # as JAX has it where there is no TPU
    for name in (*LAUNCHERS, *NAMED):
        monkeypatch.delenv(name, raising=False)
    return calls


@pytest.mark.parametrize(
    "name, alone, several",
    [
        ("SLURM_NTASKS", "1", "2"),
        ("OMPI_COMM_WORLD_SIZE", "1", "8"),
        ("TPU_WORKER_HOSTNAMES", "localhost", "t1k-w0,t1k-w1"),
        ("JOB_COMPLETION_INDEX", None, "0"),
        ("TPU_SKIP_MDS_QUERY", "1", None),
    ],
)
def test_a_launcher_is_left_to_jax(joined, monkeypatch, name, alone, several):
    for value, calls in ((alone, []), (several, [(None, None, None, devices.HEARTBEAT)])):
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(
            name, value
        )
        devices.start_processes()
        assert joined == calls
    devices.start_processes(num_processes=1)
    assert len(joined) == 1


def test_processes_by_hand(joined, monkeypatch):
    devices.start_processes(coordinator="host:1", num_processes=2, process_id=1, heartbeat=9)
    assert joined.pop() == ("host:1", 2, 1, 9)
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "host:1234")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "4")
    monkeypatch.setenv("JAX_PROCESS_ID", "3")
    devices.start_processes()
    assert joined.pop() == ("host:1234", 4, 3, devices.HEARTBEAT)
    devices.start_processes(process_id=2)
    assert joined.pop() == ("host:1234", 4, 2, devices.HEARTBEAT)
    monkeypatch.setenv("JAX_PROCESS_ID", "three")
    with pytest.raises(UserError, match='JAX_PROCESS_ID="three" is not a number'):
        devices.start_processes()


@pytest.mark.parametrize("given", [{"coordinator": "host:1"}, {"process_id": 0}])
def test_processes_that_are_not_described(joined, monkeypatch, given):
    def initialize(*where, **options):
        raise ValueError("Number of processes must be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(UserError, match="give --coordinator=HOST:PORT, --num_processes=N"):
        devices.start_processes(**given)


def test_a_launcher_that_did_not_start_this_process(joined, monkeypatch, capsys):
    """A batch script of SLURM that calls Python without srun."""

    def initialize(*where, **options):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    monkeypatch.setenv("SLURM_NTASKS", "4")
    devices.start_processes()
    assert "not started by the launcher" in capsys.readouterr().out


def test_rows_and_mesh_of_each_process(monkeypatch):
    class Device:
        def __init__(self, number, process):
            self.id, self.process_index = number, process

    class Mesh:
        devices = np.array([Device(i, process) for i, process in enumerate((0, 1, 1, 1))])

    for process, rows in ((0, slice(0, 2)), (1, slice(2, 8))):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        assert devices.local_rows(8, Mesh) == rows


def test_what_the_first_process_cannot_do_fails(monkeypatch):
    def fail():
        raise UserError("no.")

    with pytest.raises(UserError, match="no."):
        devices.on_first(fail)
    done = []
    devices.on_first(lambda: done.append(1))
    assert done == [1]
    devices.check_shared(3, "there")
    assert devices.stops_here(True) and not devices.stops_here(False)
