"""Several seeds trained as one: each equals the run alone, and leaves what it leaves alone."""

import contextlib
import functools
import json
import pathlib
import shutil
import signal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ivg import (
    build,
    calls,
    checkpoint,
    data,
    devices,
    dispatch,
    evaluate,
    rundir,
    runs,
    together,
    train,
)
from ivg.configs import digits
from ivg.errors import UserError
from ivg.log import Log, read_metrics
from ivg.methods import METHODS
from ivg.players import Labelled

STEPS, SEEDS = 8, (3, 4)
# A batched product adds up in another order. Adam's eps of 1e-3 keeps it from blowing up the
# rounding of gradients that are nearly 0, as it does with its usual 1e-8.
CLOSE = {"rtol": 1e-3, "atol": 1e-5}


def tiny() -> dict:
    config = digits.get_config("infovaegan").to_dict()
    config |= {"seed": SEEDS[0], "num_runs": len(SEEDS), "runs_at_once": len(SEEDS)}
    config |= {"num_steps": STEPS, "batch_size": 8, "steps_per_dispatch": 1, "eval_images": 20}
    config |= {"log_every": 1, "eval_every": 0, "checkpoint_every": 4}
    own = config["infovaegan"]
    own |= {"num_critic": 1, "dim_z": 2, "network": {"name": "mlp", "width": 8}}
    for spec in own["optimizer"].values():
        spec["eps"] = 1e-3
    return json.loads(json.dumps(config))


def of_seed(seed: int) -> dict:
    return tiny() | {"seed": seed, "num_runs": 1, "runs_at_once": 1}


@functools.cache
def run_of(text: str) -> build.Run:
    return BUILD(json.loads(text))


@functools.cache
def dispatch_of(step) -> object:
    images = run_of(json.dumps(of_seed(SEEDS[0]))).dataset.train.images
    return dispatch.make_dispatch(step, dispatch.reader(images))


BUILD = build.build


@pytest.fixture(scope="module", autouse=True)
def compile_once():
    """One device, quick compilation, one program for all runs that are alike, one picture."""
    patch = pytest.MonkeyPatch()
    patch.setattr(devices, "make_mesh", functools.partial(devices.make_mesh, 1))
    patch.setattr(evaluate, "pictures", lambda *_: {"samples": np.zeros((8, 8, 1), np.uint8)})
    first = json.dumps(of_seed(SEEDS[0]))

    def built(config):
        keys = jax.random.split(jax.random.key(config["seed"]), 3)
        return build.Run(*run_of(first)[:3], *keys)

    patch.setattr(build, "build", built)
    patch.setattr(calls, "make_dispatch", lambda step, read: dispatch_of(step))
    patch.setattr(together, "over_runs", functools.cache(together.over_runs))
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    patch.undo()


@pytest.fixture(scope="module")
def group(tmp_path_factory) -> pathlib.Path:
    """The directory of runs that were trained together, without interruption; not to be changed."""
    workdir = tmp_path_factory.mktemp("group") / "runs"
    runs.train_runs(tiny(), workdir)
    return workdir


@pytest.fixture
def unscored(monkeypatch):
    """Training without the evaluation at its end, which takes longer."""
    monkeypatch.setattr(train, "finish", lambda run, config, workdir, state, step: {"step": step})


def seeds_of(workdir: pathlib.Path) -> list[pathlib.Path]:
    return [workdir / f"seed_{seed}" for seed in SEEDS]


def train_both(workdir: pathlib.Path, **changes) -> None:
    configs = [of_seed(seed) | changes for seed in SEEDS]
    train.train_together(configs, seeds_of(workdir))


def last(workdir: pathlib.Path):
    """(step, state) of a run directory's last checkpoint."""
    abstract = jax.eval_shape(run_of(json.dumps(of_seed(SEEDS[0]))).method.init, jax.random.key(0))
    return checkpoint.restore(build.checkpoints(workdir), abstract)


def largest_difference(a, b) -> float:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(np.max(np.abs(np.asarray(x) - np.asarray(y)))) for x, y in pairs)


def assert_close(a: pathlib.Path, b: pathlib.Path) -> None:
    """Same steps, close states and metrics."""
    (step, ours), (other_step, theirs) = last(a), last(b)
    assert step == other_step
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **CLOSE), ours, theirs)
    ours, theirs = read_metrics(a), read_metrics(b)
    assert ours.keys() == theirs.keys() and len(ours) > 5
    for name, (steps, values) in ours.items():
        assert steps.tolist() == theirs[name][0].tolist() == list(range(1, STEPS + 1))
        np.testing.assert_allclose(values, theirs[name][1], **CLOSE, err_msg=name)


def assert_same_state(a: pathlib.Path, b: pathlib.Path) -> None:
    (step, ours), (other_step, theirs) = last(a), last(b)
    assert step == other_step and largest_difference(ours, theirs) == 0


def test_each_run_equals_the_run_alone(group, tmp_path, unscored):
    for seed, folder in zip(SEEDS, seeds_of(group), strict=True):
        alone = tmp_path / f"{seed}"
        train.train(of_seed(seed), alone)
        assert_close(folder, alone)
        assert rundir.read_config(folder) == rundir.read_config(alone)
    first, second = (last(folder)[1] for folder in seeds_of(group))
    assert largest_difference(first, second) > 0.1


def test_folders_and_summary(group):
    results = [json.loads((folder / "results.json").read_text()) for folder in seeds_of(group)]
    assert [r["seed"] for r in results] == list(SEEDS)
    assert results[0]["reconstruction_mse"] != results[1]["reconstruction_mse"]
    for folder in seeds_of(group):
        assert checkpoint.steps(build.checkpoints(folder)) == [4, 8]
        assert (folder / "figures" / "samples.png").is_file()
        assert len(list((folder / "tensorboard").iterdir())) == 1
    summary = json.loads((group / "results.json").read_text())
    assert summary["seeds"] == list(SEEDS)
    values = summary["scores"]["reconstruction_mse"]["values"]
    assert values == [round(r["reconstruction_mse"], 4) for r in results]


def test_a_signal_saves_all_and_the_group_goes_on(group, tmp_path, unscored, monkeypatch):
    """Bit for bit as if it never was, at a step without a checkpoint of its own."""
    logged = Log.scalars

    def interrupted(log, step, values, **options):
        logged(log, step, values, **options)
        if step == 2:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(Log, "scalars", interrupted)
        train_both(tmp_path)
    assert stopped.value.code == 128 + signal.SIGTERM
    assert {checkpoint.latest_step(build.checkpoints(f)) for f in seeds_of(tmp_path)} == {3}
    train_both(tmp_path)
    for ours, whole in zip(seeds_of(tmp_path), seeds_of(group), strict=True):
        assert_same_state(ours, whole)
        assert_close(ours, whole)


def test_a_run_that_was_left_behind_goes_on_from_its_own_step(group, tmp_path, unscored, capsys):
    workdir = pathlib.Path(shutil.copytree(group, tmp_path / "runs"))
    ahead, behind = seeds_of(workdir)
    shutil.rmtree(build.checkpoints(behind) / str(STEPS))
    train_both(workdir)
    assert f"going on from step 4 of {STEPS}\n" in capsys.readouterr().out
    assert_same_state(ahead, seeds_of(group)[0])
    assert_close(behind, seeds_of(group)[1])


def test_trouble_names_its_seed(tmp_path, capsys):
    table = {"G/loss": np.array([[1.0, 2.0], [1.0, np.nan]]), "finite/G": np.ones((2, 2), bool)}
    run = run_of(json.dumps(of_seed(SEEDS[0])))
    method = run.method._replace(alarm=lambda m: "it runs away" if m["G/loss"] == 3.0 else None)
    run = run._replace(method=method)
    with contextlib.ExitStack() as logs:
        members = [
            train.Member(
                run, of_seed(seed), folder, logs.enter_context(Log(folder, resume_step=None))
            )
            for seed, folder in zip(SEEDS, seeds_of(tmp_path), strict=True)
        ]
        with pytest.raises(UserError, match="seed 4, step 7: a loss of player G .* of step 4"):
            train.note(members, 5, 7, table, 4)
        table["G/loss"][1, 1] = 5.0
        assert train.note(members, 5, 7, table, 4) == {"G/loss": (1.5 + 3.0) / 2}
    assert capsys.readouterr().out == "warning: step 7: seed 4: it runs away\n"
    for folder, mean in zip(seeds_of(tmp_path), (1.5, 3.0), strict=True):
        assert read_metrics(folder)["G/loss"][1].tolist()[-1] == mean


@pytest.mark.parametrize("kind", ["resident", "streamed", "drawn"])
def test_every_kind_of_images(kind):
    """A run of several gets the images and keys of the run alone, to the bit."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 1), np.uint8)
    sources = {
        "resident": pixels,
        "streamed": data.LazyImages(lambda i: pixels[i], 20, (4, 4, 1)),
        "drawn": data.Rendered(
            20,
            (4, 4, 1),
            lambda i, key: jax.random.randint(key, (len(i), 4, 4, 1), 0, 256).astype(jnp.uint8),
        ),
    }
    read = dispatch.reader(sources[kind])

    def step(state, xs, key):
        return {"x": xs + jax.random.normal(key)}, {"G/first": xs[0, 0, 0, 0, 0]}

    def one(state, images, batches, number, key):
        x, key = read(images, batches[0], jax.random.fold_in(key, number))
        return step(state, x.astype(jnp.float32), key)

    held = jnp.asarray(pixels)
    index = np.arange(12, dtype=np.int32).reshape(2, 1, 2, 3)
    batches = list(jnp.asarray(pixels[index] if kind == "streamed" else index))
    keys = jax.random.split(jax.random.key(0), 2)
    states = {"x": jnp.zeros((2, 2, 3, 4, 4, 1))}
    number = jnp.int32(5)
    got, metrics = together.over_runs(one, 2)(states, held, batches, number, keys)
    for i in range(2):
        alone, first = jax.jit(one)(together.pick(states, i), held, batches[i], number, keys[i])
        np.testing.assert_array_equal(got["x"][i], alone["x"])
        assert metrics["G/first"][i] == first["G/first"]


@pytest.mark.parametrize("kind", ["resident", "streamed", "drawn"])
def test_labels_of_every_kind_of_images(kind):
    """Each run gets, in its own order, the labels of its own images."""
    count, shape, batch, per_step = 20, (4, 4, 1), 4, 2
    pixels = np.tile(np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1), (1, *shape))
    sources = {
        "resident": pixels,
        "streamed": data.LazyImages(lambda i: pixels[i], count, shape),
        "drawn": data.Rendered(
            count,
            shape,
            lambda i, key: jnp.broadcast_to(i[:, None, None, None], (len(i), *shape)).astype("u1"),
        ),
    }
    attributes = (np.arange(count)[:, None] >> np.arange(5)[None]) % 2 == 1

    def step(state, xs, key):
        assert isinstance(xs, Labelled)
        return state, {"E/number": (xs.x[..., 0, 0, 0] + 1) * 127.5, "E/y": xs.y}

    class Nobody(NamedTuple):
        t: jax.Array

    mesh = devices.make_mesh()
    made = [
        dispatch.make_feed(
            sources[kind], seed=seed, batch_size=batch, mesh=mesh, attributes=attributes
        )
        for seed in SEEDS
    ]
    batches = [feed(3, 2, per_step) for _, feed in made]
    call = together.over_runs(dispatch.make_dispatch(step, dispatch.reader(sources[kind])), 2)
    keys = jax.random.split(jax.random.key(0), 2)
    start = (Nobody(jnp.zeros(2)), np.int32(3), keys)
    states, number, keys = devices.place_state(start, mesh)
    _, metrics = call(states, made[0][0], batches, number, keys)
    seen = np.round(np.asarray(metrics["E/number"])).astype(int)
    assert seen.shape == (2, 2, per_step, batch)
    np.testing.assert_array_equal(np.asarray(metrics["E/y"]) @ 2.0 ** np.arange(5), seen)
    for own, seed in zip(seen, SEEDS, strict=True):
        order = data.batches.indices(
            count, seed=seed, batch_size=batch, first_batch=3, num_batches=2 * per_step
        )
        np.testing.assert_array_equal(own.reshape(order.shape), order)
    assert (seen[0] != seen[1]).any()


def test_a_sweep_over_hyper_parameters():
    """Each run equals the one whose factory got the plain number."""
    tx = dict.fromkeys("EGQD", optax.sgd(1e-2))
    shapes = {"image_shape": (8, 8, 1), "network": {"name": "mlp", "width": 8}}

    def method(beta):
        return METHODS["ibgan"](**shapes, batch_size=4, tx=tx, dim_z=3, dim_r=2, beta=beta)

    quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    init = quick(method(0.0).init)
    states = [init(jax.random.key(seed)) for seed in (0, 1)]
    keys = jax.random.split(jax.random.key(3), 2)
    xs = jax.random.uniform(jax.random.key(2), (2, 1, 4, 8, 8, 1), minval=-1.0)
    betas = (0.0, 2.0)
    step = together.sweep(lambda beta: method(beta).step, beta=jnp.array(betas))
    got, metrics = quick(step)(together.stack(states), xs, keys)
    for i, beta in enumerate(betas):
        alone, own = quick(method(beta).step)(states[i], xs[i], keys[i])
        ours = together.pick(got, i)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **CLOSE), ours, alone)
        for name, value in own.items():
            np.testing.assert_allclose(metrics[name][i], value, **CLOSE, err_msg=name)
    moved = [together.pick(got, i).E.params for i in (0, 1)]
    assert largest_difference(moved[0], states[0].E.params) > 1e-5
    assert largest_difference(*moved) > 0.1
