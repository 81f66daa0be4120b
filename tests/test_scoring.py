"""Scores of a trained state, on a method whose networks are a line of arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ivg import data, scoring
from ivg.errors import UserError
from ivg.metrics import disentanglement
from ivg.players import Code, Method

SIZES = (3, 4, 5)
NAMES = ("shape", "x", "y")
FACTORS, NOISE = jnp.int32(0), jnp.int32(1)  # states: which row of an image is the code
OPTIONS = {"metrics": "factor_vae,mig", "train_votes": 300, "eval_votes": 200}


def toy(**changes) -> Method:
    """Its code is row `state` of the image, undone of its scaling to [-1, 1]."""
    method = Method(
        init=lambda key: FACTORS,
        phases=(),
        encode=lambda s, x: {"c": jnp.round((x[:, s, :, 0] + 1) * 127.5)},
        generate=lambda s, codes: codes["c"][:, None, :, None] / 127.5 - 1,
        prior=lambda s, key, n: {"c": jax.random.normal(key, (n, 3))},
        codes={"c": Code("continuous", 3)},
    )
    return method._replace(**changes)


def truth(drawn: list | None = None, **changes) -> data.GroundTruth:
    """Images [N, 2, 3, 1]: the factors above, noise of the seed below. `drawn` gets the factors."""

    def images(factors, seed):
        if drawn is not None:
            drawn.append(np.array(factors))
        noise = np.random.default_rng(seed).integers(0, 256, factors.shape)
        return np.stack([factors, noise], axis=1)[..., None].astype(np.uint8)

    return data.GroundTruth(NAMES, SIZES, images, determined=False)._replace(**changes)


def dataset(ground_truth: data.GroundTruth | None) -> data.Dataset:
    split = data.Split(np.zeros((4, 2, 3, 1), np.uint8), None, None)
    return data.Dataset("toy", split, split, (2, 3, 1), ground_truth=ground_truth)


def all_factors() -> np.ndarray:
    return np.stack(np.unravel_index(np.arange(60), SIZES), axis=1)


def represent(source, factors=None, seed=0) -> np.ndarray:
    factors = all_factors() if factors is None else factors
    return source.represent(factors, np.random.RandomState(seed))


def test_continuous_codes_in_the_order_of_the_method():
    kinds = {"r": "continuous", "d": "categorical", "c": "continuous", "z": "noise"}
    method = toy(codes={name: Code(kind, 1) for name, kind in kinds.items()})
    assert scoring.continuous(method) == ["r", "c"]


@pytest.mark.parametrize(
    "known, changes, expected",
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"encode": None}, False),
        (True, {"codes": {"d": Code("categorical", 3), "z": Code("noise", 2)}}, False),
    ],
)
def test_has_factors(known, changes, expected):
    assert scoring.has_factors(toy(**changes), dataset(truth() if known else None)) is expected


def test_representation_is_the_continuous_codes_side_by_side():
    """Of images scaled to [-1, 1]; in the method's order, whatever order `encode` has."""

    def encode(s, x):
        return {"c": x[:, 0, :1, 0], "d": x[:, 0, :, 0], "r": s + x[:, 0, 1:, 0]}

    codes = {"r": Code("continuous", 2), "d": Code("categorical", 3), "c": Code("continuous", 1)}
    source = scoring.representation(toy(encode=encode, codes=codes), FACTORS, truth())
    factors = all_factors()
    expected = factors[:, [1, 2, 0]] / 127.5 - 1
    np.testing.assert_allclose(represent(source), expected, atol=1e-6)
    assert (source.names, source.sizes, source.nuisance) == (NAMES, SIZES, ())
    shifted = scoring.representation(toy(encode=encode, codes=codes), jnp.int32(5), truth())
    np.testing.assert_allclose(represent(shifted)[:, :2], expected[:, :2] + 5, atol=1e-5)


def test_nuisance_is_drawn_but_not_scored():
    source = scoring.representation(toy(), FACTORS, truth(nuisance=("y",)))
    assert source.nuisance == ("y",)
    score = disentanglement.factor_vae(source, num_train=60, num_eval=30, num_variance=100)
    assert score.details["votes"].shape == (2, 3)


def test_factors_as_codes_score_one_and_noise_scores_chance():
    scores = {
        name: scoring.disentanglement_scores(
            toy(), state, dataset(truth()), OPTIONS, seeds=range(2)
        )
        for name, state in (("factors", FACTORS), ("noise", NOISE))
    }
    factors, noise = scores["factors"], scores["noise"]
    assert list(factors) == list(noise) == ["factor_vae", "mig"]
    assert factors["factor_vae"]["values"] == [1.0, 1.0]
    assert factors["mig"]["mean"] > 0.97
    assert 0.2 < noise["factor_vae"]["mean"] < 0.5  # chance is 1 / 3
    assert noise["mig"]["mean"] < 0.02
    recipe = factors["factor_vae"]["recipe"]
    assert recipe["seeds"] == [0, 1]
    assert (recipe["train_votes"], recipe["eval_votes"]) == (300, 200)


def test_no_metric_wanted_draws_nothing():
    drawn = []
    options = OPTIONS | {"metrics": "none"}
    known = dataset(truth(drawn))
    assert scoring.disentanglement_scores(toy(), FACTORS, known, options, seeds=[0]) == {}
    assert not drawn


@pytest.mark.parametrize("votes", [120, 1])
def test_quick_score(votes):
    assert scoring.quick_score(toy(), FACTORS, dataset(truth()), votes) == 1.0
    if votes > 1:
        assert scoring.quick_score(toy(), NOISE, dataset(truth()), votes) < 0.6


@pytest.mark.parametrize("determined", [True, False])
def test_remembered_where_the_factors_determine_the_image(determined):
    drawn = []
    source = scoring.representation(toy(), NOISE, truth(drawn, determined=determined))
    first = represent(source, seed=0)
    before = len(drawn)
    again = represent(source, seed=1)
    assert np.array_equal(first, again) is determined
    assert (len(drawn) == before) is determined


def test_not_remembered_where_the_combinations_are_too_many():
    drawn = []
    sizes = (200, 200, 200)
    assert np.prod(sizes) > disentanglement.LARGEST_TABLE
    known = truth(drawn, sizes=sizes, determined=True)
    source = scoring.representation(toy(), FACTORS, known)
    factors = np.array([[199, 0, 7], [3, 2, 1]])
    for draws in (1, 2):
        np.testing.assert_array_equal(represent(source, factors), factors)
        assert len(drawn) == draws


@pytest.mark.parametrize(
    "wanted, names",
    [
        ("fast", disentanglement.FAST),
        ("all", disentanglement.ALL),
        ("none", ()),
        ("mig", ("mig",)),
        ("dci, factor_vae", ("dci", "factor_vae")),
    ],
)
def test_metric_names(wanted, names):
    assert scoring.metric_names(wanted) == names


@pytest.mark.parametrize("wanted", ["mgi", "mig,mgi", "mig,,dci", "", "mig,none"])
def test_unknown_metrics(wanted):
    bad = next(name for name in wanted.split(",") if name not in disentanglement.ALL)
    words = rf'disentanglement.metrics names "{bad}".*use fast, all, none or .*factor_vae, '
    with pytest.raises(UserError, match=words):
        scoring.metric_names(wanted)


@pytest.mark.parametrize("n, calls", [(2500, 2), (1000, 1), (1, 1)])
def test_bounds_are_means_over_chunks_of_their_own_keys(n, calls):
    def both(s, key, size):
        info = s + jax.random.uniform(key, (size,))
        return {"info_lower": info, "kl": jnp.stack([info, 0 * info + 3], axis=1)}

    state, root = jnp.float32(2.0), jax.random.key(3)
    keys = jax.random.split(root, calls)
    drawn = [2.0 + np.asarray(jax.random.uniform(key, (scoring.CHUNK,))) for key in keys]
    result = scoring.bounds(toy(bounds=both), state, root, n)
    assert list(result) == ["info_lower", "info_upper", "kl"]
    assert all(type(v) is float for v in (result["info_lower"], result["info_upper"]))
    mean = np.mean(drawn)
    np.testing.assert_allclose(result["info_lower"], mean, rtol=1e-5)
    np.testing.assert_allclose(result["kl"], [mean, 3.0], rtol=1e-5)
    np.testing.assert_allclose(result["info_upper"], mean + 3.0, rtol=1e-5)


def test_bounds_without_an_upper_one():
    lower = toy(bounds=lambda s, key, n: {"info_lower": jnp.arange(n) * 1.0})
    result = scoring.bounds(lower, FACTORS, jax.random.key(0), 1)
    assert result == {"info_lower": (scoring.CHUNK - 1) / 2}
