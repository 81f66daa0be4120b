"""Generated images against a data set's, by features of networks that are a line of arithmetic."""

import hashlib
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ivg import data, devices, frechet_scores, plots, runs
from ivg.data.records import Factor, GroundTruth
from ivg.errors import UserError
from ivg.frechet_scores import Extractor
from ivg.metrics import feature_scores
from ivg.players import Code, Method

SHAPE = (16, 16, 1)
OPTIONS = {"num_images": 50, "reference_images": 1000, "weights": "", "classifier_steps": 3}
TOY = Extractor(
    "fid",
    lambda variables, x: x.reshape(len(x), -1).astype(jnp.float32)[:, :3] * variables["w"],
    {"w": np.float32(2)},
    {"features": "three pixels", "weights_sha256": "0", "resize": "none"},
)
METHOD = Method(
    init=lambda key: jnp.float32(0),
    phases=(),
    encode=None,
    generate=lambda s, codes: jnp.tanh(codes["z"]).reshape(-1, *SHAPE) + s,
    prior=lambda s, key, n: {"z": jax.random.normal(key, (n, 256))},
    codes={"z": Code("noise", 256)},
)


def split(n, seed, **known):
    images = np.random.default_rng(seed).integers(0, 256, (n, *SHAPE)).astype(np.uint8)
    known = {"labels": (np.arange(n) % 3).astype(np.int32), "attributes": None} | known
    return data.Split(images, **known)


def dataset(n=70, **changes):
    return data.Dataset("toy", split(n, 0), split(30, 1), SHAPE)._replace(**changes)


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr(frechet_scores, "extractor_of", lambda *_: TOY)


def images_made(count, key):
    parts = list(frechet_scores.generated(METHOD, jnp.float32(0), key, count))
    return np.concatenate(parts)


def test_scores_are_those_of_the_two_sets(toy, capsys):
    key, known = jax.random.key(0), dataset()
    found = frechet_scores.scores(METHOD, jnp.float32(0), known, key, OPTIONS)
    assert list(found) == ["fid"]
    real = known.train.images.reshape(70, -1)[:, :3] * np.float32(2)
    made = images_made(50, key).reshape(50, -1)[:, :3] * np.float32(2)
    assert found["fid"] == found["fid"] | feature_scores.compare(real, made)
    assert found["fid"]["counts"]["real"] == 70 and found["fid"]["counts"]["generated"] == 50
    assert found["fid"] == found["fid"] | TOY.about
    header = f"{[70, *SHAPE]}".encode()
    sha256 = hashlib.sha256(header + known.train.images.tobytes()).hexdigest()
    assert found["fid"]["reference_sha256"] == sha256
    assert "70 training images by three pixels" in capsys.readouterr().out
    json.dumps(found, allow_nan=False)


def test_nothing_is_scored_unless_wanted(monkeypatch):
    monkeypatch.setattr(frechet_scores, "extractor_of", None)
    off = frechet_scores.OFF
    assert frechet_scores.scores(METHOD, None, dataset(), jax.random.key(0), off) == {}
    frechet_scores.check(dataset(), off)


def test_images_are_rounded_as_pictures_are():
    key = jax.random.key(3)
    size = frechet_scores.DRAWN
    made = images_made(size + 10, key)
    assert made.shape == (size + 10, *SHAPE) and made.dtype == np.uint8
    z = METHOD.prior(0.0, jax.random.fold_in(key, 1), size)["z"]
    x = np.asarray(METHOD.generate(0.0, {"z": z}))
    np.testing.assert_array_equal(made[size:], plots.to_uint8(x)[:10])
    beyond = list(frechet_scores.generated(METHOD, jnp.float32(5), key, 3))
    assert (np.concatenate(beyond) == 255).all()


def test_images_that_are_not_finite_have_no_score(toy):
    with pytest.raises(UserError, match="generated images are not finite"):
        frechet_scores.scores(METHOD, jnp.float32(np.nan), dataset(), jax.random.key(0), OPTIONS)


def test_of_many_training_images_some_are_drawn(toy):
    options = OPTIONS | {"reference_images": 20}
    found = frechet_scores.scores(METHOD, jnp.float32(0), dataset(), jax.random.key(0), options)
    assert found["fid"]["counts"]["real"] == 20 and "20 of 70" in found["fid"]["reference"]
    rows = frechet_scores.reference_rows(70, 20)
    assert len(set(rows)) == 20 and rows.max() > 40
    np.testing.assert_array_equal(frechet_scores.reference_rows(5, 20), np.arange(5))


@pytest.mark.parametrize("size", [1, 4, 5, 100])
def test_batches_are_cut_anew(size):
    parts = [np.arange(3), np.arange(3, 12), np.arange(12, 13)]
    found = list(frechet_scores.rebatched(iter(parts), size))
    np.testing.assert_array_equal(np.concatenate(found), np.arange(13))
    assert [len(part) for part in found[:-1]] == [size] * (len(found) - 1)
    assert list(frechet_scores.rebatched(iter([]), size)) == []


def test_each_device_sees_its_part_of_the_images():
    """Features of 130 images are the same on 1 and 4 devices, and the work is divided."""
    w = np.random.default_rng(0).normal(size=(256, 64)).astype(np.float32)

    def apply(variables, x):
        return x.reshape(len(x), -1).astype(jnp.float32) @ variables

    extractor = Extractor("fid", apply, w, {})
    images, found, flops = split(130, 0).images, [], []
    for count in (1, 4):
        mesh = devices.make_mesh(count)
        with jax.set_mesh(mesh):
            found.append(frechet_scores.features(extractor, iter([images[:100], images[100:]])))
            program = frechet_scores.over_devices(extractor, mesh).lower(w, images[:128]).compile()
            flops.append(program.cost_analysis()["flops"])
    assert found[0].shape == (130, 64) and found[0].dtype == np.float32
    np.testing.assert_allclose(*found, rtol=1e-5)
    assert flops[1] == pytest.approx(flops[0] / 4, rel=0.1)


# ---- features of a classifier


def test_without_weights_it_is_never_called_fid():
    known = dataset()
    found = frechet_scores.scores(METHOD, jnp.float32(0), known, jax.random.key(0), OPTIONS)
    assert list(found) == ["frechet_classifier"]
    own = found["frechet_classifier"]
    again = frechet_scores.classifier_extractor(known, OPTIONS["classifier_steps"])
    assert own == own | again.about
    assert own["features"].startswith("a small classifier of 3 classes")
    assert own["counts"]["dims"] == 256 and own["distance"] > 0
    assert len(own["weights_sha256"]) == 64 and 0 <= own["classifier_accuracy"] <= 1


def test_what_a_classifier_learns():
    labels = frechet_scores.known(dataset(), split(9, 0), 6)
    assert labels.y.shape == (6, 3) and (labels.y.sum(axis=1) == 1).all()
    assert labels.words == "3 classes" and labels.images.shape == (6, *SHAPE)

    truth = GroundTruth(("shape", "x"), (3, 40), lambda f, seed: f[:, :1, None, None].astype("u1"))
    found = frechet_scores.known(dataset(ground_truth=truth), split(9, 0), 8)
    np.testing.assert_array_equal(found.y[:, :3].argmax(axis=1), found.images[:, 0, 0, 0])
    assert found.y.shape == (8, 4) and found.words == "2 true factors"

    factors = (Factor("a", "attribute", 2), Factor("b", "sub-attribute"), Factor("c", "nuisance"))
    values = np.array([[0, 0.3, 0.2], [1, 0.9, 0.7]], np.float32)
    known = split(2, 0, labels=None, factors=values)
    found = frechet_scores.known(dataset(factors=factors), known, 2)
    np.testing.assert_array_equal(found.y, [[True, False, False], [False, True, True]])

    attributes = split(2, 0, labels=None, attributes=np.array([[True], [False]]))
    assert frechet_scores.known(dataset(), attributes, 2).words == "1 attributes"
    with pytest.raises(UserError, match="nothing is known .*frechet.weights"):
        frechet_scores.known(dataset(), split(2, 0, labels=None), 2)


def test_small_images_are_enlarged_by_repeating_pixels():
    x = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1)
    large = np.asarray(frechet_scores._larger(x))
    assert large.shape == (1, 16, 16, 1)
    for i in (0, 1):
        np.testing.assert_array_equal(large[:, i::2, 1 - i :: 2], x)
    same = np.zeros((1, 28, 28, 1), np.uint8)
    assert frechet_scores._larger(same) is same


# ---- mistakes


@pytest.mark.parametrize(
    ("options", "of", "message"),
    [
        ({"num_images": 5}, {}, "frechet.num_images=5 is too few"),
        ({"reference_images": 0}, {}, "frechet.reference_images=0 is too few"),
        ({"weights": "none.npz"}, {}, "there is no file none.npz"),
        ({"weights": "w.pth"}, {}, "convert_inception"),
        ({}, {"train": split(20, 0, labels=None)}, "nothing is known"),
        ({}, {"image_shape": (45, 45, 1)}, "classifier networks take"),
    ],
)
def test_what_could_not_be_scored_is_said_before_training(options, of, message):
    with pytest.raises(UserError, match=message):
        frechet_scores.check(dataset(**of), OPTIONS | options)


# ---- what is made of the numbers


def test_a_run_s_table_has_the_scores_and_no_counts():
    found = {"fid": {"distance": 3.0, "features": "x", "counts": {"real": 5}}}
    assert runs.scores(found) == {"fid.distance": 3.0}


@pytest.fixture
def files(tmp_path):
    for name, n in (("real", 40), ("fake", 30)):
        np.savez(tmp_path / f"{name}.npz", images=split(n, n).images)
    return [str(tmp_path / f"{name}.npz") for name in ("real", "fake")]


def test_the_command_scores_files_of_images(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(frechet_scores, "inception_extractor", lambda weights: TOY)
    out = tmp_path / "out.json"
    assert frechet_scores.main([*files, "--weights=w.npz", f"--json={out}"]) == 0
    found = json.loads(out.read_text())["fid"]
    sets = [np.load(path)["images"].reshape(-1, 256)[:, :3] * 2.0 for path in files]
    assert found["distance"] == pytest.approx(feature_scores.compare(*sets)["distance"], rel=1e-6)
    assert found["weights_sha256"] == "0" and "precision" in capsys.readouterr().out
    np.savez(tmp_path / "floats.npz", images=np.zeros((3, 8, 8, 3)))
    assert frechet_scores.main([files[0], str(tmp_path / "floats.npz"), "--weights=w"]) == 2
    assert "must be bytes" in capsys.readouterr().err


def test_the_command_without_weights(files):
    command = [sys.executable, "-W", "error", "-m", "ivg.frechet_scores", *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "error: the following arguments are required: --weights; see --help\n"
