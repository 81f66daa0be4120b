"""--config.parallel=runs: every device trains seeds of its own, as it would alone."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ivg import build, checkpoint, devices, rundir, runs, together, train
from ivg.configs import digits
from ivg.errors import UserError
from ivg.log import read_metrics

STEPS = 6
SEEDS = range(3, 7)  # as many as devices
METHOD = "beta_tcvae"


def config_of(**changes) -> dict:
    config = digits.get_config(METHOD).to_dict() | {"seed": SEEDS[0], "num_runs": len(SEEDS)}
    config |= {"num_steps": STEPS, "batch_size": 8, "steps_per_dispatch": 1, "eval_every": 0}
    config |= {"log_every": 1, "checkpoint_every": 3, "parallel": "runs"} | changes
    config[METHOD] |= {"dim_z": 2, "network": {"name": "mlp", "width": 8}}
    return json.loads(json.dumps(config))


def alone(seed: int, **changes) -> dict:
    return config_of(seed=seed, num_runs=1, **changes)


def finish(run, config, workdir, state, step) -> dict:
    """Stands for the evaluation at the end, which takes longer than the training."""
    return {"seed": config["seed"], "step": step, "method": METHOD, "figures": []}


@pytest.fixture(scope="module", autouse=True)
def unscored():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "finish", finish)
        jax.config.update("jax_disable_most_optimizations", True)  # what compiles faster
        yield
        jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def spread(tmp_path_factory) -> pathlib.Path:
    """The directory of four seeds on four devices; not to be changed."""
    workdir = tmp_path_factory.mktemp("spread") / "runs"
    runs.train_runs(config_of(), workdir)
    return workdir


def last(workdir: pathlib.Path):
    """(step, leaves) of the last checkpoint."""
    abstract = jax.eval_shape(build.build(alone(0)).method.init, jax.random.key(0))
    step, state = checkpoint.restore(build.checkpoints(workdir), abstract)
    return step, [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


# Compiled as users have it: with the flags of these tests the last digits differ.
CHILD = """
import pathlib, sys
import jax
jax.config.update("jax_num_cpu_devices", 4)
import test_parallel_runs as test
from ivg import runs, train

train.finish = test.finish
folder, seed = pathlib.Path(sys.argv[1]), int(sys.argv[2])
runs.train_runs(test.config_of(), folder / "spread")
train.train(test.alone(seed), folder / "alone")
"""


def test_each_seed_is_bit_for_bit_the_run_alone(tmp_path):
    seed = SEEDS[2]
    here = pathlib.Path(__file__).resolve().parent
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path), str(seed)],
        cwd=here,
        env=os.environ | {"XLA_FLAGS": "", "PYTHONPATH": str(here.parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (step, ours), (other, theirs) = (
        last(tmp_path / name) for name in (f"spread/seed_{seed}", "alone")
    )
    assert step == other == STEPS
    for a, b in zip(ours, theirs, strict=True):
        assert a.tobytes() == b.tobytes()
    ours, theirs = (read_metrics(tmp_path / name) for name in (f"spread/seed_{seed}", "alone"))
    assert ours.keys() == theirs.keys()
    for name, (_, values) in ours.items():
        np.testing.assert_allclose(values, theirs[name][1], rtol=1e-6, err_msg=name)


def test_every_seed_is_there_and_none_is_another(spread):
    first = [last(spread / f"seed_{seed}")[1] for seed in SEEDS]
    for i, ours in enumerate(first):
        for theirs in first[:i]:
            assert max(float(np.max(np.abs(a - b))) for a, b in zip(ours, theirs, strict=True)) > 0
    assert json.loads((spread / "results.json").read_text())["seeds"] == list(SEEDS)


def test_a_group_goes_on_bit_for_bit_and_may_share_batches_instead(spread, tmp_path):
    seeds = SEEDS[:2]
    folders = [tmp_path / f"{seed}" for seed in seeds]
    for steps in (3, STEPS):
        train.train_together([alone(seed, num_steps=steps) for seed in seeds], folders)
    for seed, folder in zip(seeds, folders, strict=True):
        for a, b in zip(last(folder)[1], last(spread / f"seed_{seed}")[1], strict=True):
            assert a.tobytes() == b.tobytes()
    assert rundir.difference(rundir.read_config(folders[0]), alone(3, parallel="batch")) == []


def convolve(state, images, batches, first_step, key):
    """Stands for a dispatch: a convolution, and a draw."""
    x = jax.lax.conv(images[batches], state["w"], (1, 1), "SAME")
    w = state["w"] + jnp.mean(x) + 1e-3 * jax.random.normal(key, state["w"].shape) * first_step
    return {"w": w}, {"G/loss": jnp.mean(x)[None]}


def arguments_for(count: int, mesh):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(6, 1, 4, 4)).astype(np.float32)
    states = [{"w": rng.normal(size=(2, 1, 3, 3)).astype(np.float32)} for _ in range(count)]
    batches = [rng.integers(0, 6, 4).astype(np.int32) for _ in range(count)]
    keys = list(jax.random.split(jax.random.key(0), count))
    placed = (
        together.join(states, mesh),
        *devices.place_state((images,), mesh),
        together.arrange(batches, mesh),
        devices.place_state(np.int32(3), mesh),
        together.place_keys(keys, mesh),
    )
    single = zip(states, batches, keys, strict=True)
    return placed, [(state, images, batch, np.int32(3), key) for state, batch, key in single]


@pytest.mark.parametrize("count", [4, 8, 3])
def test_devices_have_equally_many_runs(count):
    mesh = devices.runs_mesh(count)
    assert mesh.size == {4: 4, 8: 4, 3: 3}[count]
    placed, single = arguments_for(count, mesh)
    with jax.set_mesh(mesh), jax.transfer_guard("disallow"):
        states, metrics = together.as_one(convolve, count, mesh)(*placed)
    one = jax.jit(convolve)
    for i, (own, arguments) in enumerate(
        zip(together.each(states, count, mesh, devices.make_mesh(1)), single, strict=True)
    ):
        state, alone = one(*arguments)
        np.testing.assert_allclose(own["w"], state["w"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(metrics["G/loss"][i], alone["G/loss"], rtol=1e-5)


def test_one_run_a_device_is_the_program_of_one_run():
    """No grouped convolution, nothing that the devices tell each other."""
    programs = {}
    for count in (4, 8):
        mesh = devices.runs_mesh(count)
        placed, _ = arguments_for(count, mesh)
        with jax.set_mesh(mesh):
            lowered = together.as_one(convolve, count, mesh).lower(*placed)
        programs[count] = lowered.as_text()
    assert "feature_group_count = 1 " in programs[4]
    assert "feature_group_count = 2 " in programs[8]
    for text in programs.values():
        assert not any(word in text for word in ("all_reduce", "all_gather", "collective"))


@pytest.mark.parametrize(
    "count, at_once, spread, sizes",
    [
        (5, 1, 4, [4, 1]),
        (5, 1, 1, [1] * 5),
        (5, 2, 1, [2, 2, 1]),
        (11, 2, 4, [8, 3]),
        (15, 2, 4, [8, 4, 3]),
    ],
)
def test_groups(count, at_once, spread, sizes):
    groups = list(runs.groups(range(count), at_once=at_once, spread=spread))
    assert [len(group) for group in groups] == sizes
    assert [seed for group in groups for seed in group] == list(range(count))


def test_mistakes(monkeypatch, tmp_path):
    with pytest.raises(UserError, match='parallel="seeds" is not a choice; use batch or runs'):
        runs.train_runs(config_of(parallel="seeds"), tmp_path / "run")
    with pytest.raises(UserError, match="one of 4 devices; use --config.parallel=batch"):
        runs.train_runs(alone(0), tmp_path / "run")
    build.build(config_of(batch_size=7))  # no batch is divided
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match="--num_processes=1"):
        devices.runs_mesh(4)
    assert not (tmp_path / "run").exists()
