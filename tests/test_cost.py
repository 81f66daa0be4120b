"""What a run says of its cost, by a clock of our own and as a run writes it."""

import contextlib
import functools
import gzip
import json
import pathlib
import types
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from ivg import build, calls, cost, data, devices, dispatch, evaluate, log, together, train
from ivg.players import Method, Phase, Player, descend, player

BATCH, SHAPE, PER_STEP = 8, (4, 4, 1), 3
IMAGES = np.random.default_rng(0).integers(0, 256, (30, *SHAPE), np.uint8)
CONFIG = {
    "method": "toy",
    "seed": 0,
    "num_steps": 12,
    "batch_size": BATCH,
    "log_every": 4,
    "eval_every": 0,
    "checkpoint_every": 100,
    "keep_checkpoints": 1,
    "steps_per_dispatch": 2,
    "profile_steps": 0,
    "eval_images": 10,
    "disentanglement": {},
    "attribute_scores": {},
}
STEP_FLOPS = 100.0


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


class Loop:
    """A loop on a pretended device, whose steps take a given time."""

    def __init__(self, step_time: float, *, waits: bool = False) -> None:
        self.clock = Clock()
        self.meter = cost.Meter(self.clock)
        self.step_time, self.waits, self.busy_until = step_time, waits, 0.0

    def call(self, *, feed: float, steps: int = 1, flops: float = STEP_FLOPS) -> None:
        self.meter.asking()
        self.clock.now += feed
        self.meter.feeding(np.zeros(3, np.float64))
        self.meter.launching(cost.Program(print, flops, None), steps, 10 * steps)
        self.busy_until = max(self.clock.now, self.busy_until) + steps * self.step_time
        if self.waits:
            self.wait()

    def wait(self) -> None:
        self.clock.now = max(self.clock.now, self.busy_until)

    def finish(self) -> None:
        self.wait()
        self.meter.finished()


@pytest.mark.parametrize(
    "feed, step_time, waits, idle",
    [
        (5.0, 2.0, False, 5 + 3 * 3),  # the first batch all alone, of each other one what is left
        (1.0, 4.0, False, 1),  # the others are made while the device computes
        (2.0, 2.0, False, 2),
        (5.0, 2.0, True, 4 * 5),  # the call returns only when the device is done
        (0.0, 3.0, False, 0),
    ],
)
def test_waiting_for_data(feed, step_time, waits, idle):
    loop = Loop(step_time, waits=waits)
    for _ in range(4):
        loop.call(feed=feed)
    loop.finish()
    assert loop.meter.account.data == pytest.approx(idle)
    # The next stretch starts with an idle device, whatever the one before was like.
    loop.call(feed=feed)
    loop.finish()
    assert loop.meter.account.data == pytest.approx(idle + feed)


def test_waiting_where_calls_differ_in_steps():
    loop = Loop(1.0)
    for steps, feed in ((4, 1.0), (1, 6.0), (2, 0.5)):  # 4 of the 6 seconds are hidden
        loop.call(feed=feed, steps=steps)
    loop.finish()
    assert loop.meter.account.data == pytest.approx(1 + 2 + 0)


def test_accounts_keep_apart_what_is_no_training():
    loop = Loop(2.0)
    meter, clock = loop.meter, loop.clock
    for part, seconds in (("compile", 7.0), ("evaluation", 11.0), ("checkpoints", 3.0)):
        loop.call(feed=0.5)
        loop.call(feed=0.5)
        loop.wait()  # as `apart` does: it waits for the state
        with meter.apart(part, ()):
            clock.now += seconds
    loop.finish()
    account = meter.account
    assert (account.compile, account.evaluation, account.checkpoints) == (7.0, 11.0, 3.0)
    assert account.total == clock.now - 50.0 == pytest.approx(21 + 3 * 4.5)
    assert account.data == pytest.approx(3 * 0.5)
    found = meter.since_told()
    assert found["steps_per_second"] == pytest.approx(6 / 13.5)
    assert found["images_per_second"] == pytest.approx(60 / 13.5)
    assert found["flops_per_second"] == pytest.approx(6 * STEP_FLOPS / 13.5)
    assert found["data_wait"] == pytest.approx(1.5 / 13.5)
    share = cost.shares(account)
    assert sum(share.values()) == pytest.approx(1) and "profile" not in share
    assert share["evaluation"] == pytest.approx(11 / 34.5)
    loop.call(feed=0.0, steps=5)
    loop.finish()
    assert meter.since_told() == pytest.approx(
        {"steps_per_second": 0.5, "images_per_second": 5, "flops_per_second": 50, "data_wait": 0}
    )
    text = cost.lines(cost.report(meter, steps=(20, 31), devices=4, runs=2))
    assert "cost of steps 21 to 31 (4 x cpu, 2 runs as one)" in text
    assert "evaluation 24.7 %" in text and "24 bytes" not in text and "7.0 s to compile" in text


def test_compiling_is_counted_once_and_apart(monkeypatch):
    """A call of other steps is compiled while the ones before it still run."""
    loop = Loop(4.0)
    meter, clock = loop.meter, loop.clock

    def compiled(*_):
        clock.now += 30.0
        return cost.Program(print, STEP_FLOPS, None), True

    monkeypatch.setattr(cost, "compiled", compiled)
    for steps in (2, 2, 1, 2):
        meter.asking()
        clock.now += 1.0
        meter.feeding(np.zeros(1))
        program = meter.program(steps, print, [()])
        meter.launching(program, steps, 0)
    clock.now += 20.0
    meter.finished()
    assert meter.account.compile == 60.0 and len(meter.programs) == 2
    assert meter.account.data == 1.0  # the first batches alone found the devices idle
    assert meter.account.training == meter.account.total - 60.0 == 24.0


def test_unknown_numbers_are_left_out(monkeypatch):
    loop = Loop(2.0)
    loop.call(feed=1.0, flops=float("nan"))
    loop.finish()
    monkeypatch.setattr(cost, "resource", None)
    found = cost.report(loop.meter, steps=(0, 1), devices=1, runs=1)
    assert not {"flops_per_second", "flops_per_step", "peak_memory_bytes"} & found.keys()
    assert "program_memory_bytes" not in found and found["steps_per_second"] == 1 / 3
    text = cost.lines(found)
    assert "FLOP" not in text and "nan" not in text and "peak" not in text
    lowered = types.SimpleNamespace(cost_analysis=lambda: None)
    assert np.isnan(cost.flops_of(lowered))


def test_peak_memory_is_the_devices_where_they_tell(monkeypatch):
    assert cost.peak_memory()["peak_memory_of"] == "host process"
    assert cost.peak_memory()["peak_memory_bytes"] > 2**26
    told = [types.SimpleNamespace(memory_stats={"peak_bytes_in_use": n}.copy) for n in (5, 9)]
    monkeypatch.setattr(jax, "local_devices", lambda: told)
    assert cost.peak_memory() == {"peak_memory_bytes": 9, "peak_memory_of": "device"}


class Toy(NamedTuple):
    G: Player


TX = optax.sgd(1e-2)
WIDTH = 64


def toy_step(state, xs, key):
    """A layer of 16 to 64 units on every image."""
    x = xs.reshape(-1, 16)

    def loss(w):
        return jnp.mean((x @ w) ** 2)

    value, grads = jax.value_and_grad(loss)(state.G.params)
    return Toy(descend(state.G, grads, TX)), {"G/loss": value}


TOY = Method(
    init=lambda key: Toy(player(jax.random.normal(key, (16, WIDTH)), {}, TX)),
    phases=(Phase(toy_step, PER_STEP),),
    encode=None,
    generate=lambda state, codes: jnp.zeros((len(codes["z"]), *SHAPE)),
    prior=lambda state, key, n: {"z": jnp.zeros((n, 2))},
    codes={},
)
# Forward and the gradient of the weights; the images need none.
LAYER_FLOPS = 2 * (2 * PER_STEP * BATCH * 16 * WIDTH)


@functools.cache
def dispatch_of(step):
    return dispatch.make_dispatch(step, dispatch.reader(IMAGES))


@pytest.fixture(autouse=True)
def compile_once(monkeypatch):
    monkeypatch.setattr(calls, "make_dispatch", lambda step, read: dispatch_of(step))


def make_run(num_devices: int | None = None) -> build.Run:
    split = data.Split(IMAGES, None, None)
    dataset = data.Dataset("toy", split, split, SHAPE)
    keys = jax.random.split(jax.random.key(0), 3)
    return build.Run(TOY, dataset, devices.make_mesh(num_devices), *keys)


def arguments(steps: int, num_devices: int) -> tuple:
    mesh = devices.make_mesh(num_devices)
    images, feed = dispatch.make_feed(IMAGES, seed=0, batch_size=BATCH, mesh=mesh)
    state, number, key = devices.place_state(
        (TOY.init(jax.random.key(0)), np.int32(0), jax.random.key(1)), mesh
    )
    return state, images, feed(0, steps, PER_STEP), number, key


@pytest.mark.parametrize("num_devices", [1, 4])
def test_operations_of_a_step_whatever_the_call(num_devices):
    """Of k steps in one call the count is that of one step, so k times as much is done."""
    with jax.set_mesh(devices.make_mesh(num_devices)):
        counts = [
            cost.flops_of(dispatch_of(toy_step).lower(*arguments(steps, num_devices)))
            for steps in (1, 5, 20)
        ]
    assert counts[0] == pytest.approx(LAYER_FLOPS, rel=0.2) and counts[0] > LAYER_FLOPS
    np.testing.assert_allclose(counts, counts[0], rtol=1e-3)


def test_a_state_that_changes_its_layout_is_compiled_for_each():
    mesh = devices.make_mesh()
    split = NamedSharding(mesh, PartitionSpec("batch"))
    meter = cost.Meter()
    function = jax.jit(lambda x: (x + 1.0, x.sum()), out_shardings=(split, None))
    state = devices.place_state(np.zeros(8, np.float32), mesh)
    for _ in range(4):
        state = meter.program("plus", function, (state,)).call(state)[0]
    assert np.asarray(state).tolist() == [4.0] * 8
    assert len(meter.programs) == 2
    steady = cost.Meter()
    for _ in range(3):
        state = steady.program("plus", function, (state,)).call(state)[0]
    assert list(steady.programs) == ["plus"]


def go(workdir: pathlib.Path, others: int = 0, **changes) -> tuple:
    """Trains from the last checkpoint; with others in folders beside. Returns (state, step)."""
    config = CONFIG | changes
    run = make_run(1 if build.spreads_runs(config) else None)
    folders = [workdir, *(workdir.with_name(f"{workdir.name}_{i}") for i in range(others))]
    with jax.set_mesh(run.mesh):
        state, step = train.restore(run, workdir)
    with contextlib.ExitStack() as logs:
        members = [
            train.Member(
                run, config | {"seed": i}, folder, log.Log(folder, resume_step=step or None)
            )
            for i, folder in enumerate(folders)
        ]
        for member in members:
            logs.enter_context(member.log)
        logs.enter_context(jax.set_mesh(train.mesh_of(members)))
        state = together.join([state] * len(members), train.mesh_of(members))
        return train.loop(*members[0], state, step, False, others=members[1:])


def cost_lines(workdir: pathlib.Path) -> tuple[list[dict], list[dict]]:
    """(the lines of rates, the reports)"""
    found = [json.loads(line) for line in (workdir / "cost.jsonl").read_text().splitlines()]
    return [x for x in found if "report" not in x], [x["report"] for x in found if "report" in x]


def assert_plausible(rates: dict, prefix: str, runs: int = 1) -> None:
    steps = rates[f"{prefix}steps_per_second"]
    assert steps > 0 and 0 <= rates[f"{prefix}data_wait"] <= 1
    images = BATCH * PER_STEP * runs
    assert rates[f"{prefix}images_per_second"] == pytest.approx(images * steps)
    flops = rates[f"{prefix}flops_per_second"] / steps
    assert LAYER_FLOPS * runs < flops < 1.3 * LAYER_FLOPS * runs


def test_a_run_logs_its_cost_and_goes_on_with_it(tmp_path, capsys, monkeypatch):
    workdir = tmp_path / "run"
    go(workdir, num_steps=6, checkpoint_every=3, eval_every=0)
    rates, reports = cost_lines(workdir)
    assert [line["step"] for line in rates] == [3, 4, 6]
    for line in rates:
        assert_plausible(line, "cost/")
    (report,) = reports
    assert_plausible(report, "")
    assert report["steps"] == [0, 6] and report["devices"] == 4 and report["processes"] == 1
    assert report["programs"] == 2  # of two steps and, before a checkpoint, of one
    assert 0 < report["compile_seconds"] < report["seconds"]
    assert report["shares"]["checkpoints"] > 0 and report["shares"]["evaluation"] == 0
    assert report["shares"]["compile"] == report["compile_seconds"] / report["seconds"]
    assert sum(report["shares"].values()) == pytest.approx(1)
    # Numbers of images, 4 bytes each, and the step's own once a call, of which there were 4.
    assert report["host_to_device_bytes_per_step"] == 4 * BATCH * PER_STEP + 4 * 4 / 6
    assert report["program_memory_bytes"] > 4 * 16 * WIDTH
    out = capsys.readouterr().out
    assert "cost of steps 1 to 6 (4 x cpu)" in out and "FLOP/s" in out

    go(workdir, num_steps=12)
    rates, reports = cost_lines(workdir)
    assert [line["step"] for line in rates] == [3, 4, 6, 8, 12]
    assert [r["steps"] for r in reports] == [[0, 6], [6, 12]]
    assert log.read_cost(workdir) == reports[-1]

    metrics = (workdir / "metrics.jsonl").read_text()
    assert "cost" not in metrics and not any("cost" in name for name in log.read_metrics(workdir))
    go(workdir, num_steps=12)  # nothing is left to do, and nothing is said of it
    assert cost_lines(workdir) == (rates, reports)
    monkeypatch.setattr(evaluate, "evaluate", lambda *_, header, **__: header)
    monkeypatch.setattr(train.page, "write_run", lambda *_: None)
    assert train.finish(make_run(), CONFIG, workdir, None, 12)["cost"] == reports[-1]
    assert "cost" not in train.finish(make_run(), CONFIG, tmp_path / "none", None, 0)


def test_the_same_command_twice_writes_the_same_metrics(tmp_path):
    for name in ("a", "b"):
        go(tmp_path / name)
    a, b = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("a", "b"))
    assert a == b and len(a.splitlines()) == 3


@pytest.mark.parametrize("parallel, runs", [("batch", 2), ("runs", 4)])
def test_runs_trained_as_one_share_their_cost(tmp_path, parallel, runs):
    go(tmp_path / "run", others=runs - 1, parallel=parallel)
    rates, (report,) = cost_lines(tmp_path / "run")
    assert report["runs"] == runs and report["devices"] == 4
    assert_plausible(report, "", runs=runs)
    assert cost_lines(tmp_path / "run_0") == (rates, [report])


def test_a_profile_is_no_training(tmp_path, capsys):
    _, step = go(tmp_path, num_steps=14, profile_steps=4)
    assert step == 14
    (path,) = (tmp_path / "profile").rglob("perfetto_trace.json.gz")
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    marked = {int(e["args"]["step_num"]) for e in events if e.get("name") == "train"}
    assert marked == {10, 12}
    assert f"profile of steps 11 to 14: open {path} at " in capsys.readouterr().out
    assert cost_lines(tmp_path)[1][0]["shares"]["profile"] > 0
