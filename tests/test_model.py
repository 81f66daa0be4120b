"""`ivg.load`: codes and images as in training, bit for bit, from whatever a caller gives."""

import functools
import json
import shutil
import subprocess
import sys

import command
import jax
import numpy as np
import pytest
from tiny_models import (
    METHOD,
    NAMES,
    STEPS,
    Trained,
    attributed,
    autoencoder,
    images,
    main_run,
    quick_settings,
    without_encoder,
)

import ivg
from ivg import build, examples, plots, rundir
from ivg.errors import UserError
from ivg.model import Model, dataset, make_model
from ivg.players import Labelled


@pytest.fixture(autouse=True, scope="module")
def settings():
    with quick_settings():
        yield


def own_codes(made: Trained, x) -> dict[str, np.ndarray]:
    """As the training process encodes for its scores."""
    with jax.set_mesh(made.run.mesh):
        return jax.device_get(made.encode(made.state, x))


def own_images(made: Trained, codes) -> np.ndarray:
    with jax.set_mesh(made.run.mesh):
        return plots.to_uint8(np.asarray(made.generate(made.state, codes)))


def assert_same(a: dict, b: dict) -> None:
    assert a.keys() == b.keys() and a
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], strict=True)


def assert_images(x: np.ndarray, model: Model, n: int) -> None:
    assert x.shape == (n, *model.image_shape) and x.dtype == np.uint8


# ---- the same as training -----------------------------------------------------------------------


@pytest.mark.parametrize("made", [main_run, autoencoder, attributed])
def test_codes_and_images_are_those_of_the_training_process(made):
    made = made()
    model, n = made.model, 20
    x, y = images(made.run, n), None
    wanted = examples.unit(x)
    if model.attributes:
        y = made.run.dataset.test.attributes[:n]
        wanted = Labelled(wanted, y.astype(np.float32))
    codes = model.encode(x, y)
    assert_same(codes, own_codes(made, wanted))
    assert {k: v.shape for k, v in codes.items()} == {
        k: (n, code.size) for k, code in model.codes.items()
    }
    own = own_images(made, codes)
    np.testing.assert_array_equal(model.generate(**codes), own, strict=True)
    np.testing.assert_array_equal(model.reconstruct(x, y), own, strict=True)
    assert len(np.unique(own)) > 10


def test_a_method_without_an_encoder_generates_as_in_training():
    made = without_encoder()
    codes = made.model.prior(20, seed=1)
    np.testing.assert_array_equal(made.model.generate(**codes), own_images(made, codes))
    assert not made.model.can_encode
    with pytest.raises(UserError, match="wgan_gp has no encoder"):
        made.model.encode(images(made.run, 1))


def test_chunks_are_those_of_evaluation(monkeypatch):
    """More images than pass the device at once: the last ones travel with fillers."""
    made = main_run()
    monkeypatch.setattr(examples, "CHUNK", 8)
    x = images(made.run, 20)
    found = examples.in_chunks(
        lambda rows: own_codes(made, rows), 20, lambda i: examples.unit(x[i])
    )
    assert_same(made.model.encode(x), found)
    parts = [made.model.encode(x[i : i + 8]) for i in (0, 8)]
    joined = {name: np.concatenate([p[name] for p in parts]) for name in found}
    assert_same(joined, {name: v[:16] for name, v in found.items()})


def test_a_fresh_process_gives_the_same(tmp_path):
    """Another number of devices, and no trace of training."""
    made = main_run()
    x = images(made.run, 20)
    np.save(tmp_path / "x.npy", x)
    program = (
        "import sys, numpy as np, ivg; assert 'jax' not in sys.modules; "
        "model = ivg.load(sys.argv[1]); x = np.load(sys.argv[2] + '/x.npy'); "
        "import jax; assert jax.device_count() == 1; "
        "np.savez(sys.argv[2] + '/out.npz', x=model.sample(20, seed=3), **model.encode(x))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, made.workdir, tmp_path],
        env=command.environment() | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "true"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and done.stderr == ""
    found = dict(np.load(tmp_path / "out.npz"))
    np.testing.assert_array_equal(found.pop("x"), made.model.sample(20, seed=3), strict=True)
    assert_same(found, made.model.encode(x))


def test_each_function_is_traced_once_per_shape_and_in_the_runs_precision():
    made, seen = main_run(), []
    method = made.run.method

    def counted(name, f):
        def call(state, x):
            seen.append((name, jax.config.jax_default_matmul_precision))
            return f(state, x)

        return call

    model = make_model(
        made.workdir,
        made.config | {"precision": "float32"},
        rundir.read_facts(made.workdir),
        method._replace(
            encode=counted("encode", method.encode), generate=counted("generate", method.generate)
        ),
        made.state,
        STEPS,
    )
    for seed in range(3):
        model.generate(n=4, seed=seed)
        model.generate(d=seed, c=[0.0, 0.1 * seed], n=4)
        model.reconstruct(model.sample(4, seed=seed))
        model.traverse("c1", steps=4)
    assert sorted(seen) == [("encode", "float32"), ("generate", "float32")]
    model.generate(n=5)
    assert len(seen) == 3


def test_what_the_caller_has_set_changes_nothing():
    """A mesh over other devices, 64 bits: nothing is compiled anew either."""
    made = main_run()
    drawn, codes = made.model.sample(20, seed=1), made.model.encode(images(made.run, 20))
    with jax.set_mesh(made.run.mesh), jax.enable_x64(True):
        model = ivg.load(made.workdir)
        with jax.no_tracing():
            np.testing.assert_array_equal(made.model.sample(20, seed=1), drawn, strict=True)
            assert_same(made.model.encode(images(made.run, 20)), codes)
    jax.tree.map(np.testing.assert_array_equal, model.state, made.model.state)


# ---- what it says of itself ---------------------------------------------------------------------


def test_what_a_model_says_of_itself():
    model = main_run().model
    assert (model.method, model.data, model.step) == (METHOD, "digits", STEPS)
    assert model.config == json.loads((model.path / "config.json").read_text())
    assert model.image_shape == (8, 8, 1) and model.attributes == () and model.can_encode
    assert list(model.codes) == ["d", "c", "z"]
    assert model.codes["d"].kind == "categorical" and model.codes["d"].size == 10
    assert len(model.classes) == 10
    text = repr(model)
    assert f"{METHOD} on digits, step 2" in text and "10 classes" in text and len(text) < 200
    with pytest.raises(AttributeError):
        model.step = 3
    assert attributed().model.attributes == NAMES
    assert isinstance(model, ivg.Model) and {"load", "Model"} <= set(dir(ivg))
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        ivg.lode  # noqa: B018


def test_loading_changes_nothing_and_needs_no_data(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(build, "load_data", None)
    workdir = main_run().workdir
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
    model = ivg.load(str(workdir))
    model.generate(n=4)
    assert {path: path.stat().st_mtime_ns for path in workdir.rglob("*")} == before
    assert capfd.readouterr() == ("", "")


def test_a_run_without_facts_reads_its_data(tmp_path):
    workdir = shutil.copytree(main_run().workdir, tmp_path / "old")
    (workdir / "data.json").unlink()
    assert ivg.load(workdir).image_shape == (8, 8, 1)
    assert not (workdir / "data.json").exists()
    (workdir / "data.json").write_text("{}")
    with pytest.raises(UserError, match=r"data\.json is damaged"):
        ivg.load(workdir)


def test_one_step_of_several(tmp_path):
    workdir = shutil.copytree(main_run().workdir, tmp_path / "run")
    first, last = ivg.load(workdir, step=1), ivg.load(workdir)
    assert (first.step, last.step) == (1, 2)
    leaves = (jax.tree.leaves(model.state) for model in (first, last))
    assert any(np.any(a != b) for a, b in zip(*leaves, strict=True))
    with pytest.raises(UserError, match="no checkpoint of step 7; there are 1, 2"):
        ivg.load(workdir, step=7)
    (workdir / "checkpoints" / "2" / "ivg.json").write_text("{")
    with pytest.raises(UserError, match="checkpoint of step 2 .* is damaged .* of steps 1, 2"):
        ivg.load(workdir, step=2)
    with pytest.warns(UserWarning, match="step 2 .* is damaged .* taking the one before"):
        model = ivg.load(workdir)
    assert model.step == 1
    jax.tree.map(np.testing.assert_array_equal, model.state, first.state)


def test_the_data_set_of_a_model():
    made = main_run()
    own = dataset(made.model)
    np.testing.assert_array_equal(own.test.images, made.run.dataset.test.images)


# ---- what it makes ------------------------------------------------------------------------------


def test_codes_are_taken_in_every_form():
    model = main_run().model
    three = np.eye(10, dtype=np.float32)[[3]]
    for d in (3, np.int64(3), [3], three, three[0], three.tolist()):
        np.testing.assert_array_equal(
            model.generate(d=d, c=[1.0, 0.0]), model.generate(d=three, c=[[1, 0]], z=np.zeros(3))
        )
    x = model.generate(d=range(10), c=[0.3, -0.3])
    assert_images(x, model, 10)
    np.testing.assert_array_equal(x[3:4], model.generate(d=3, c=[0.3, -0.3], n=10)[3:4])
    np.testing.assert_array_equal(x[:1], model.generate(n=10, c=[0.3, -0.3])[:1])  # class 0
    soft = model.generate(d=np.full((2, 10), 0.1))
    assert_images(soft, model, 2)


def test_what_is_not_named_is_drawn_where_there_is_a_seed():
    model = main_run().model
    drawn = model.prior(8, seed=5)
    assert_same(drawn, model.prior(8, seed=5))
    assert np.any(drawn["z"] != model.prior(8, seed=6)["z"])
    np.testing.assert_array_equal(model.sample(8, seed=5), model.generate(**drawn))
    x = model.generate(d=3, n=8, seed=5)
    rest = {name: drawn[name] for name in ("c", "z")}
    np.testing.assert_array_equal(x, model.generate(d=3, **rest))
    assert len({image.tobytes() for image in x}) == 8
    assert len({image.tobytes() for image in model.generate(d=3, n=8)}) == 1
    more = model.prior(examples.CHUNK + 3, seed=5)
    assert_same({name: v[:8] for name, v in more.items()}, drawn)
    assert len(np.unique(more["z"], axis=0)) == examples.CHUNK + 3


def test_traversals():
    model = main_run().model
    codes = {name: v[:1] for name, v in model.prior(1, seed=1).items()}
    x = model.traverse("c2", start=codes, steps=8)
    moved = np.repeat(codes["c"], 8, axis=0)
    moved[:, 1] = np.linspace(-1, 1, 8)
    np.testing.assert_array_equal(x, model.generate(**codes | {"c": moved}))
    classes = model.traverse("d", start=codes)
    np.testing.assert_array_equal(classes, model.generate(**codes | {"d": np.arange(10)}))
    assert_images(model.traverse("z3"), model, 10)


def test_no_images_are_no_trouble():
    made = main_run()
    model, none = made.model, images(made.run, 0)
    assert {name: v.shape for name, v in model.encode(none).items()} == {
        "d": (0, 10), "c": (0, 2), "z": (0, 3)
    }  # fmt: skip
    for x in (model.reconstruct(none), model.sample(0), model.generate(n=0), model.generate(d=[])):
        assert_images(x, model, 0)
    faces = attributed().model
    none, y = np.zeros((0, *faces.image_shape), np.uint8), np.zeros((0, 2))
    assert_images(faces.swap(none, attributes=y, to=y), faces, 0)


def test_swaps_draw_what_changes_and_keep_the_rest():
    made = attributed()
    model, x = made.model, images(made.run, 8)
    y = made.run.dataset.test.attributes[:8].astype(int)
    codes, to = model.encode(x, y), y.copy()
    to[:, 1] = 1 - y[:, 1]
    same = functools.partial(np.testing.assert_array_equal, strict=True)
    same(model.swap(x, attributes=y, to=y), model.reconstruct(x, y))
    swapped = model.swap(x, attributes=y, to=to, seed=2)
    drawn = model.prior(8, seed=2, attributes=to)["c"]
    size = drawn.shape[1] // 2
    c = np.concatenate([codes["c"][:, :size], drawn[:, size:]], axis=1)
    same(swapped, model.generate(c=c, z=codes["z"]))
    assert not np.array_equal(swapped, model.swap(x, attributes=y, to=to, seed=3))
    same(model.prior(3, seed=2, attributes=to[:3])["c"], drawn[:3])  # whatever comes after
    all_have = model.prior(600, seed=0, attributes=[1, 0])["c"].reshape(600, 2, size).mean((0, 2))
    assert abs(all_have[0] - all_have[1]) > 0.5  # p(c | y) has different means
