"""Which scores of clusters a method gets, on one whose networks are a line of arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ivg import data, evaluate, runs
from ivg.players import Code, Method

SHAPE, CLASSES = (2, 2, 1), 3
OPTIONS = {"metrics": "none", "seeds": 1}
CODES = {"z": Code("continuous", 2), "n": Code("noise", 2)}


def toy(**changes) -> Method:
    """Its code is the first row of an image, scaled to [-1, 1]; the second row is noise to it."""
    method = Method(
        init=lambda key: jnp.int32(0),
        phases=(),
        encode=lambda s, x: {"z": x[:, 0, :, 0], "n": x[:, 1, :, 0]},
        generate=lambda s, codes: jnp.stack([codes["z"], codes["n"]], axis=1)[..., None],
        prior=lambda s, key, n: {"z": jnp.zeros((n, 2)), "n": jnp.zeros((n, 2))},
        codes=CODES,
    )
    return method._replace(**changes)


def with_classes() -> Method:
    """The same with a class: whether the first pixel is dark, grey or bright."""

    def encode(s, x):
        d = jax.nn.one_hot(jnp.round(x[:, 0, 0, 0] + 1).astype(jnp.int32), CLASSES)
        return toy().encode(s, x) | {"d": d}

    return toy(encode=encode, codes={"d": Code("categorical", CLASSES)} | CODES)


def split(n: int, seed: int, *, labelled: bool = True) -> data.Split:
    """Images whose first row tells the class to within a little, and whose second is loud."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, n)
    images = np.empty((n, *SHAPE), np.uint8)
    images[:, 0, 0, 0] = 10 + 110 * labels + rng.integers(0, 20, n)
    images[:, 0, 1, 0] = 100 + rng.integers(0, 20, n)
    images[:, 1] = 255 * rng.integers(0, 2, (n, 2, 1))
    return data.Split(images, labels.astype(np.int32) if labelled else None, None)


def dataset(*, labelled: bool = True) -> data.Dataset:
    train, test = split(90, 0, labelled=labelled), split(40, 1, labelled=labelled)
    return data.Dataset("toy", train, test, SHAPE)


def scores(method: Method, of: data.Dataset) -> dict:
    key = jax.random.key(0)
    return evaluate.all_scores(method, jnp.int32(0), of, key, limit=30, disentanglement=OPTIONS)


def test_rates_are_means_over_test_images():
    known = dataset()
    method = toy(rates=lambda s, x: s + jnp.abs(x[:, 0, :, 0]))
    expected = np.abs(known.test.images[:, 0, :, 0] / 127.5 - 1).mean(axis=0)
    np.testing.assert_allclose(scores(method, known)["rates"], expected, rtol=1e-5)
    assert "rates" not in scores(toy(), known)


def test_codes_without_a_class_are_clustered_by_kmeans():
    result = scores(toy(), dataset())
    assert result.keys() == {"kmeans_codes", "reconstruction_mse"}
    found = result["kmeans_codes"]
    perfect = dict.fromkeys(
        ("accuracy_one_to_one", "accuracy_many_to_one", "nmi", "ari"), pytest.approx(1.0)
    )
    assert found == perfect  # with the noise, which is louder than the classes, it would not be


def test_the_noise_alone_tells_nothing():
    codes = {"z": Code("noise", 2), "n": Code("continuous", 2)}
    assert scores(toy(codes=codes), dataset())["kmeans_codes"]["nmi"] < 0.3


def test_a_class_is_scored_itself_beside_the_pixels():
    result = scores(with_classes(), dataset())
    assert result.keys() == {"clustering", "kmeans", "reconstruction_mse"}
    assert result["clustering"]["accuracy_one_to_one"] == 1.0
    assert result["kmeans"]["accuracy_one_to_one"] < 0.9


@pytest.mark.parametrize(
    "method, labelled",
    [
        (toy(), False),
        (toy(encode=None), True),
        (toy(codes={name: Code("noise", 2) for name in CODES}), True),
    ],
)
def test_nothing_is_clustered_without_labels_or_codes(method, labelled):
    assert "kmeans_codes" not in scores(method, dataset(labelled=labelled))


def test_few_training_images_fit_and_as_many_test_images_as_wanted_are_scored(monkeypatch):
    asked = []
    features = evaluate.codes

    def codes(method, state, part, n):
        asked.append(n)
        return features(method, state, part, n)

    monkeypatch.setattr(evaluate, "KMEANS_IMAGES", 50)
    monkeypatch.setattr(evaluate, "codes", codes)
    scores(toy(), dataset())
    assert asked == [50, 30]


def test_codes_are_those_of_the_first_images():
    of = dataset()
    found = evaluate.codes(toy(), jnp.int32(0), of.test, 7)
    np.testing.assert_allclose(found, of.test.images[:7, 0, :, 0] / 127.5 - 1, atol=1e-6)


def test_the_report_says_what_was_clustered(capsys, tmp_path):
    result = {"step": 3, "method": "toy", "figures": []} | scores(toy(), dataset())
    runs.report(result, tmp_path)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["clustering", "of", "the", "test", "split", "k-means", "(codes)"] in lines
    assert ["accuracy_one_to_one", "1.0000"] in lines
    assert runs.scores(result)["kmeans_codes.nmi"] == pytest.approx(1.0)
