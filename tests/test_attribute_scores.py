"""Scores of attributes, on a method whose images show its codes: every score is known beforehand.

The toy has two attributes with two dimensions of c each, about 3 where the attribute is present and
0 where it is not. Those of "first" also move apart or together with the sign of z's first dimension
(one bit that c and z share); the last one holds the sub-attribute "part" where "second" is present.
"""

import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ivg import attribute_scores, data, examples
from ivg.data import Factor
from ivg.errors import UserError
from ivg.players import Code, Labelled, Method
from ivg.probes import mine

NAMES = ("first", "second")
DIM_C, DIM_Z = 4, 4
SHAPE = (2, DIM_C + DIM_Z, 1)  # codes / 8 in the first row; "part" and noise in the second
TRAIN, TEST = 1000, 700
NOISE, SHIFT = 0.05, 0.7
# Drawing by this generator compiles much faster than by the usual one.
KEY, OTHER_KEY = (jax.random.key(seed, impl="unsafe_rbg") for seed in (0, 1))
STATE = jnp.float32(1.0)
HUES = 3
FACTORS = (
    Factor("first", "attribute"),
    Factor("second", "attribute"),
    Factor("part", "sub-attribute", owner="second"),
    Factor("tone", "nuisance"),
    Factor("hue", "nuisance", values=HUES),
)
OPTIONS = dict(estimates=2, mine_width=64, mine_depth=2, mine_learning_rate=3e-3)
OPTIONS |= dict(mine_batch_size=256, mine_steps=300, quick_steps=200, classifier_steps=7)
OPTIONS |= dict(max_images=10_000, leak="all")


def means(s, batch: Labelled):
    z = 8 / s * batch.x[:, 0, DIM_C:, 0]
    shift = SHIFT * jnp.sign(z[:, 0])
    part = batch.y[:, 1] * batch.x[:, 1, 0, 0]
    c = 3 * jnp.repeat(batch.y, 2, axis=-1)
    return {"c": c + jnp.stack([shift, -shift, 0 * shift, part], axis=-1), "z": z}


def draw(key, mean):
    """Uniform, of the deviation NOISE."""
    half = math.sqrt(3) * NOISE
    return mean + jax.random.uniform(key, mean.shape, minval=-half, maxval=half)


def posterior(s, batch, key):
    codes = means(s, batch)
    c_key, z_key = jax.random.split(key)
    return {"c": draw(c_key, codes["c"]), "z": draw(z_key, codes["z"])}


def generate(s, codes):
    row = s * jnp.concatenate([codes["c"], codes["z"]], axis=-1) / 8
    return jnp.stack([row, 0 * row], axis=1)[..., None]


TOY = Method(
    init=lambda key: STATE,
    phases=(),
    encode=means,
    generate=generate,
    prior=lambda s, key, n: {"c": jnp.zeros((n, DIM_C)), "z": jnp.zeros((n, DIM_Z))},
    codes={"c": Code("continuous", DIM_C, -0.5, 3.5), "z": Code("noise", DIM_Z)},
    num_attributes=2,
    posterior=posterior,
    attribute_prior=lambda key, y: draw(key, 3 * jnp.repeat(y, 2, axis=-1)),
)


def split(n: int, seed: int) -> data.Split:
    """Images that the toy could have generated, so that they show their attributes and z."""
    rng = np.random.default_rng(seed)
    y = np.stack([rng.random(n) < 1 / 2, rng.random(n) < 1 / 3], axis=1)
    z = rng.uniform(-2, 2, (n, DIM_Z))
    pixels = np.stack([np.hstack([3 * np.repeat(y, 2, axis=1), z]) / 8] * 2, axis=1)
    pixels[:, 1] = rng.uniform(-1, 1, (n, DIM_C + DIM_Z))
    images = np.round((pixels + 1) * 127.5).astype(np.uint8)[..., None]
    hue = rng.integers(0, HUES, n)
    factors = np.stack([*y.T, (pixels[:, 1, 0] + 1) / 2, (z[:, 0] + 2) / 4, hue], axis=1)
    return data.Split(images, None, y, factors=factors.astype(np.float32))


@functools.cache
def dataset() -> data.Dataset:
    made = split(TRAIN, 0), split(TEST, 1)
    return data.Dataset("toy", *made, SHAPE, attribute_names=NAMES, factors=FACTORS)


@functools.cache
def both_latents():
    splits = dataset().train, dataset().test
    return [attribute_scores.latents(TOY, STATE, s, KEY, 10_000) for s in splits]


@functools.cache
def known_latents() -> list[attribute_scores.Latents]:
    """c tells all of y and, by a small shift, a sign of z; two columns each: compiled only once."""
    made = []
    for seed, n in enumerate((TRAIN, TEST)):
        rng = np.random.default_rng(seed)
        y = (rng.random((n, 2)) < np.array([[1 / 2, 1 / 3]])).astype(np.float32)
        sign = rng.choice([-1, 1], (n, 1))
        z = np.hstack([sign, rng.normal(size=(n, 1))]) + 0.1 * rng.normal(size=(n, 2))
        c = 3 * y + np.hstack([sign, 0 * sign]) + 0.1 * rng.normal(size=(n, 2))
        made.append(attribute_scores.Latents({"c": c, "z": z, "y": y}, {}))
    return made


@functools.cache
def measured():
    return attribute_scores.information(*known_latents(), OPTIONS)


def predict(classifier, images: np.ndarray) -> np.ndarray:
    """What shows in an image's first row, wrong about "second" for the first rows of a call."""
    present = (images[:, 0, (0, 2), 0] > 1.5 / 8).astype(np.float32)
    wrong = round(classifier["wrong"] * len(images))
    present[:wrong, 1] = 1 - present[:wrong, 1]
    return present


@pytest.fixture
def judge(monkeypatch):
    """A classifier that reads the toy's images; set "wrong" to make it err. It notes its data."""
    classifier = {"wrong": 0.0}

    def train_classifier(images, y, *, steps):
        return classifier | {"seen": seen.extend([images, y, steps])}

    seen = []
    monkeypatch.setattr(attribute_scores.classifier, "train_classifier", train_classifier)
    monkeypatch.setattr(attribute_scores.classifier, "predict", predict)
    return classifier, seen


# ---- latents -------------------------------------------------------------------------------------


def true_means(images: np.ndarray, y: np.ndarray):
    x = examples.unit(images)
    z = 8 * x[:, 0, DIM_C:, 0]
    c = 3.0 * np.repeat(y, 2, axis=1)
    c[:, :2] += SHIFT * np.sign(z[:, :1]) * np.array([[1, -1]])
    c[:, 3] += y[:, 1] * x[:, 1, 0, 0]
    return {"c": c, "z": z}


def test_latents_of_the_images_with_their_own_labels():
    """Across chunks, the last of which is not full."""
    for found, part in zip(both_latents(), (dataset().train, dataset().test), strict=True):
        expected = true_means(part.images, part.attributes)
        assert found.sampled.keys() == {"c", "z", "y"} and found.means.keys() == {"c", "z"}
        assert found.sampled["y"].dtype == np.float32
        np.testing.assert_array_equal(found.sampled["y"], part.attributes)
        for name, value in expected.items():
            np.testing.assert_allclose(found.means[name], value, atol=1e-5)


def test_latents_of_the_first_images_of_a_set_that_is_not_in_memory():
    test = dataset().test
    lazy = test._replace(images=data.LazyImages(lambda i: test.images[i], TEST, SHAPE))
    found = attribute_scores.latents(TOY, STATE, lazy, KEY, 40)
    for name in ("c", "z"):
        np.testing.assert_allclose(found.means[name], both_latents()[1].means[name][:40], atol=1e-5)
    np.testing.assert_array_equal(found.sampled["y"], test.attributes[:40])


def test_sampled_latents_have_noise_of_their_own():
    """In every chunk another, of the posterior's deviation; and the key decides it."""
    found = both_latents()[1]
    for name in ("c", "z"):
        noise = found.sampled[name] - found.means[name]
        assert abs(noise.std() / NOISE - 1) < 0.1 and abs(noise.mean()) < 0.2 * NOISE
        assert np.abs(noise[:100] - noise[examples.CHUNK :][:100]).mean() > 0.5 * NOISE
    other = attribute_scores.latents(TOY, STATE, dataset().test, OTHER_KEY, 10_000)
    assert (other.sampled["z"] != found.sampled["z"]).mean() > 0.9
    np.testing.assert_array_equal(other.means["z"], found.means["z"])


# ---- information ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "y, bits",
    [
        ([[0], [1]], 1.0),
        ([[0], [1], [0]], 0.9182958),
        ([[1], [1]], 0.0),
        ([[0, 0], [0, 1], [1, 0], [1, 1]], 2.0),
        ([[0, 0], [1, 1]], 1.0),  # of both attributes jointly: the second tells nothing new
        ([[0, 1], [0, 0], [1, 0], [1, 0]], 1.5),
    ],
)
def test_joint_entropy(y, bits):
    assert attribute_scores.joint_entropy(np.array(y, np.float32)) == pytest.approx(bits, abs=1e-6)


def test_information_is_that_of_each_pair():
    """I(c; y) = H(y), I(z; y) = 0, I(z; c) = the bit that they share."""
    found, _ = measured()
    assert found["unit"] == "bits"
    counts = np.unique(known_latents()[1].sampled["y"] @ [1, 2], return_counts=True)[1] / TEST
    assert found["entropy_y"] == pytest.approx(-(counts * np.log2(counts)).sum())
    assert 1.85 < found["entropy_y"] < 1.95
    for pair, low, high in (("c;y", 1.7, 1.95), ("z;y", -0.1, 0.03), ("z;c", 0.8, 1.2)):
        assert low < found[pair]["mean"] < high, (pair, found[pair])
        assert len(found[pair]["values"]) == OPTIONS["estimates"]
        assert np.ptp(found[pair]["values"]) > 0  # each by a network of its own
        assert found[pair]["mean"] == pytest.approx(np.mean(found[pair]["values"]))


def test_information_names_what_it_was_measured_with():
    recipe = measured()[0]["recipe"]
    expected = {"width": 64, "depth": 2, "learning_rate": 3e-3, "batch_size": 256, "steps": 300}
    assert recipe.items() >= (expected | {"train_rows": TRAIN, "test_rows": TEST}).items()
    assert measured()[0]["curves"] == attribute_scores.CURVES == "information_curves.json"


def test_information_curves_are_those_of_the_estimates_in_bits():
    found, curves = measured()
    assert list(curves) == ["c;y", "z;y", "z;c"]
    for runs in curves.values():
        assert len(runs) == OPTIONS["estimates"]
        for run in runs:
            assert run.keys() == {"step", "train", "validation"}
            assert run["step"] == [0, 100, 200, 300]  # never worse for long enough to stop
            assert {len(values) for values in run.values()} == {4}
    train, test = ([part.sampled[name] for name in "zc"] for part in known_latents())
    recipe = attribute_scores.recipe(OPTIONS, OPTIONS["mine_steps"])
    one = mine.estimate(train, test, recipe=recipe, seed=1)
    assert found["z;c"]["values"][1] == pytest.approx(one.nats / math.log(2), rel=1e-5)
    for name in ("train", "validation"):
        expected = getattr(one, name) / math.log(2)
        np.testing.assert_allclose(curves["z;c"][1][name], expected, rtol=1e-5)


def test_quick_information_is_one_short_estimate_of_each_pair(monkeypatch):
    asked = []

    def estimate(train, test, *, recipe, seed, draws):
        assert draws == 2 and len(train[0]) == 160
        asked.append(([array[:80] for array in train], test))
        assert (recipe.steps, recipe.width, seed) == (200, 64, 0)
        return mine.Estimate(math.log(2) * len(asked), *np.zeros((3, 1)))

    monkeypatch.setattr(attribute_scores.mine, "estimate", estimate)
    monkeypatch.setattr(attribute_scores, "QUICK_IMAGES", 80)
    monkeypatch.setattr(attribute_scores, "ENOUGH_ROWS", 100)
    found = attribute_scores.quick_information(TOY, STATE, dataset(), KEY, OPTIONS)
    assert found == pytest.approx({"info_cy": 1.0, "info_zy": 2.0, "info_zc": 3.0})
    splits = dataset().train, dataset().test
    known = [true_means(split.images[:80], split.attributes[:80]) for split in splits]
    for pair, given in zip(attribute_scores.PAIRS, asked, strict=True):
        for split, codes, arrays in zip(splits, known, given, strict=True):
            codes |= {"y": split.attributes[:80]}
            for name, array in zip(pair, arrays, strict=True):
                np.testing.assert_allclose(array, codes[name], atol=2 * NOISE)
                assert (np.abs(array - codes[name]).mean() > 0.5 * NOISE) == (name != "y")


def test_several_draws_of_few_images_are_whole_sets_one_after_the_other():
    one = attribute_scores.latents(TOY, STATE, dataset().train, KEY, 50)
    many = attribute_scores.latents(TOY, STATE, dataset().train, KEY, 50, rows=120)
    assert (one.draws, many.draws) == (1, 3)
    for name, rows in many.sampled.items():
        sets = rows.reshape(3, 50, -1)
        np.testing.assert_allclose(sets, np.stack([one.sampled[name]] * 3), atol=4 * NOISE)
        assert (np.ptp(sets, axis=0).mean() > 0.5 * NOISE) == (name != "y")


# ---- swaps ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("attribute", [0, 1])
def test_swapped_changes_one_attribute_and_nothing_else(attribute):
    test, n = dataset().test, 610
    x_g, wanted = attribute_scores.swapped(TOY, STATE, dataset(), attribute, KEY, n)
    assert x_g.shape == (n, *SHAPE) and wanted.dtype == bool
    expected = test.attributes[:n].copy()
    expected[:, attribute] ^= True
    np.testing.assert_array_equal(wanted, expected)
    shown, before = 8 * x_g[:, 0, :, 0], true_means(test.images[:n], test.attributes[:n])
    own = np.arange(DIM_C) // 2 == attribute
    np.testing.assert_allclose(shown[:, DIM_C:], before["z"], atol=1e-5)
    np.testing.assert_allclose(shown[:, :DIM_C][:, ~own], before["c"][:, ~own], atol=1e-5)
    drawn = shown[:, :DIM_C][:, own] - 3 * wanted[:, [attribute]]
    assert abs(drawn.std() / NOISE - 1) < 0.1 and np.abs(drawn).max() < 2 * NOISE
    assert np.abs(drawn[:100] - drawn[examples.CHUNK :][:100]).mean() > 0.5 * NOISE


def test_swap_accuracy_and_why_there_is_none(judge):
    """By a generator that always shows "first" and a judge that errs about "second" too often."""
    classifier, _ = judge
    classifier["wrong"] = 0.1
    stubborn = TOY._replace(
        generate=lambda s, codes: generate(s, codes | {"c": codes["c"].at[:, :2].set(3.0)})
    )
    found = attribute_scores.swap_scores(stubborn, STATE, dataset(), KEY, OPTIONS)
    absent = 1 - dataset().test.attributes[:, 0].mean()
    assert 0.4 < absent < 0.6
    assert found["first"] == {
        "accuracy": pytest.approx(absent),
        "classifier_accuracy": 1.0,
        "reason": "",
    }
    assert found["second"]["accuracy"] is None
    assert found["second"]["classifier_accuracy"] == pytest.approx(0.9)
    assert "90.0 % of the real test images" in found["second"]["reason"]


def test_images_that_no_classifier_can_take():
    with pytest.raises(UserError, match="16"):
        attribute_scores.swap_scores(TOY, STATE, dataset(), KEY, OPTIONS)


# ---- known factors, and all together -------------------------------------------------------------


@functools.cache
def leaks() -> dict[str, dict]:
    return {row["name"]: row for row in attribute_scores.leak(*both_latents(), dataset())}


def test_leak_table_says_what_each_code_knows():
    rows = leaks()
    assert list(rows) == [factor.name for factor in FACTORS]
    for factor in FACTORS:
        row = rows[factor.name]
        assert (row["kind"], row["owner"]) == (factor.kind, factor.owner)
        categorical = factor.kind == "attribute" or factor.values > 0
        assert row["measure"] == ("accuracy" if categorical else "R2")
    for name in NAMES:
        assert rows[name]["c"]["linear"] == rows[name]["c"]["boosted"] == 1.0
        assert abs(rows[name]["z"]["boosted"] - rows[name]["chance"]) < 0.08
    assert rows["part"]["c"]["linear"] > 0.95 and rows["part"]["z"]["linear"] < 0.1
    assert rows["tone"]["z"]["linear"] > 0.95
    assert 0.5 < rows["tone"]["c"]["linear"] < 0.9  # its sign only
    for code in ("c", "z"):
        assert abs(rows["hue"][code]["linear"] - 1 / HUES) < 0.08


def test_leak_scores_a_sub_attribute_only_where_it_shows():
    has = dataset().train.attributes[:, 1], dataset().test.attributes[:, 1]
    assert (leaks()["part"]["train"], leaks()["part"]["test"]) == tuple(h.sum() for h in has)
    assert (leaks()["tone"]["train"], leaks()["tone"]["test"]) == (TRAIN, TEST)


def test_scores_are_what_results_json_holds(judge, monkeypatch):
    monkeypatch.setattr(attribute_scores, "information", lambda *_: measured())
    monkeypatch.setattr(attribute_scores, "latents", lambda *_, **__: None)
    monkeypatch.setattr(attribute_scores, "leak", lambda *_: list(leaks().values()))
    options = OPTIONS | {"max_images": 650}
    result, curves = attribute_scores.scores(TOY, STATE, dataset(), KEY, options)
    assert list(result) == ["names", "information", "swap", "leak"]
    assert result["names"] == list(NAMES) and curves is measured()[1]
    perfect = {"accuracy": 1.0, "classifier_accuracy": 1.0, "reason": ""}
    assert result["swap"] == dict.fromkeys(NAMES, perfect)
    images, y, steps = judge[1]  # that the judge learnt from: real ones
    np.testing.assert_array_equal(images, dataset().train.images[:650])
    np.testing.assert_array_equal(y, dataset().train.attributes[:650])
    assert images.dtype == np.uint8 and steps == OPTIONS["classifier_steps"]
    for written in (result, curves):
        assert json.loads(json.dumps(written, allow_nan=False)) == written
    monkeypatch.setattr(attribute_scores, "swap_scores", lambda *_: result["swap"])
    rest = {name: value for name, value in result.items() if name != "leak"}
    unknown = dataset()._replace(factors=())
    for toys, options in ((dataset(), OPTIONS | {"leak": "none"}), (unknown, OPTIONS)):
        assert attribute_scores.scores(TOY, STATE, toys, KEY, options)[0] == rest


def test_scores_take_the_first_images_of_each_split(monkeypatch):
    taken = []
    monkeypatch.setattr(attribute_scores, "swap_scores", lambda *_: {})
    monkeypatch.setattr(
        attribute_scores, "information", lambda train, test, _: (taken.extend([train, test]), {})
    )
    few = OPTIONS | {"max_images": 60, "leak": "none"}
    result, curves = attribute_scores.scores(TOY, STATE, dataset(), KEY, few)
    assert curves == {}
    for found, part in zip(taken, (dataset().train, dataset().test), strict=True):
        sets = [part.attributes[:60]] * found.draws
        np.testing.assert_array_equal(found.sampled["y"], np.concatenate(sets))
        expected = true_means(part.images[:60], part.attributes[:60])
        np.testing.assert_allclose(found.means["z"], expected["z"], atol=1e-5)
    noise = [found.sampled["z"][:60] - found.means["z"] for found in taken]
    assert np.abs(noise[0] - noise[1]).mean() > 0.5 * NOISE  # the splits' draws differ
