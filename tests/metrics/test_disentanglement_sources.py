"""Scores that draw groups of examples, their sources, and several metrics over several seeds."""

import functools
import json

import numpy as np
import pytest

from ivg.errors import UserError
from ivg.metrics import disentanglement
from ivg.metrics.disentanglement import sampling

SIZES = (3, 4, 5)


def data(rows=400, seed=0, dims=4, noise=0.5):
    """Factors, and codes that mix them."""
    rng = np.random.RandomState(seed)
    factors = np.stack([rng.randint(n, size=rows) for n in SIZES], axis=1)
    mixed = factors @ rng.normal(size=(3, dims)) + noise * rng.normal(size=(rows, dims))
    return mixed.astype(np.float32), factors


def mixing(dims=4):
    """A representation whose codes depend on the factors alone."""
    weights = np.random.RandomState(7).normal(size=(3, dims)) * [[1.0], [0.6], [0.3]]
    return disentanglement.Representation(SIZES, lambda factors, rng: factors @ weights)


@functools.cache
def identity():
    """The perfect representation: every factor is a code."""
    return disentanglement.Representation(SIZES, lambda factors, rng: factors.astype(np.float32))


def naive_votes(source, count, size, variances, active, rng):
    votes = np.zeros((3, len(variances)), int)
    for _ in range(count):
        k = rng.randint(3)
        factors = np.stack([rng.randint(n, size=size) for n in SIZES], axis=1)
        factors[:, k] = factors[0, k]
        codes = source.represent(factors, None)
        relative = codes.var(axis=0, ddof=1)[active] / variances[active]
        votes[k, active[np.argmin(relative)]] += 1
    return votes


def test_factor_vae_equals_a_naive_loop_vote_by_vote():
    source = mixing()
    rng = np.random.RandomState(5)
    factors = np.stack([rng.randint(n, size=50) for n in SIZES], axis=1)
    variances = source.represent(factors, None).var(axis=0, ddof=1)
    threshold = np.sqrt(np.sort(variances)[1]) * 0.999  # leaves one dimension out
    active = np.flatnonzero(np.sqrt(variances) >= threshold)
    assert len(active) == 3
    train = naive_votes(source, 60, 7, variances, active, rng)
    held_out = naive_votes(source, 30, 7, variances, active, rng)
    options = {"num_train": 60, "num_eval": 30, "batch_size": 7, "num_variance": 50}
    score = disentanglement.factor_vae(source, **options, threshold=threshold, seed=5)
    np.testing.assert_array_equal(score.details["votes"], train)
    np.testing.assert_array_equal(score.details["active_dims"], active)
    best = train.argmax(axis=0)
    assert score.value == sum(held_out[best[d], d] for d in range(4)) / 30
    assert score.details["train"] == train.max(axis=0).sum() / 60


def test_the_ibgan_preset_scores_its_own_800_votes():
    score = disentanglement.factor_vae_ibgan(mixing())
    votes = score.details["votes"]
    assert votes.sum(axis=1).tolist() == [267, 267, 266]
    assert score.value == votes.max(axis=0).sum() / 800
    recipe = {"votes": 800, "held_out_votes": 0, "examples_per_vote": 200}
    assert recipe.items() <= score.recipe.items()


def test_collapsed_dimensions_are_judged_by_variance_in_the_preset_and_by_deviation_else():
    def represent(factors, rng):  # deviations 0.82, 0.11 and 0
        return np.stack([factors[:, 0], 0.1 * factors[:, 1], 0 * factors[:, 2]], axis=1)

    source = disentanglement.Representation(SIZES, represent)
    few = {"num_train": 50, "num_eval": 50}
    assert disentanglement.factor_vae(source, **few).details["active_dims"].tolist() == [0, 1]
    preset = disentanglement.factor_vae_ibgan(source)
    assert preset.details["active_dims"].tolist() == [0]
    # With no threshold at all a dead dimension still takes no part.
    score = disentanglement.factor_vae(source, **few, threshold=0)
    assert score.details["num_active"] == 2
    dead = disentanglement.Representation(SIZES, lambda factors, rng: np.zeros((len(factors), 2)))
    assert disentanglement.factor_vae(dead, **few).value == 0
    assert disentanglement.factor_vae_ibgan(dead).value == 0
    assert 0 < disentanglement.beta_vae(dead, **few).value < 0.7  # chance


def test_a_class_number_votes_by_disagreement():
    names = np.array([17, -4, 3])  # class numbers in no order

    def represent(factors, rng):
        return np.stack([names[factors[:, 0]], factors[:, 1], factors[:, 2]], axis=1)

    source = disentanglement.Representation(SIZES, represent)
    score = disentanglement.factor_vae(source, num_train=200, num_eval=200, categorical=[0])
    assert score.value == 1
    with pytest.raises(UserError, match="no dimension 3"):
        disentanglement.factor_vae(source, num_train=2, num_eval=2, categorical=[3])


def test_nuisance_factors_are_drawn_but_only_the_preset_scores_them():
    source = identity()._replace(names=("shape", "scale", "colour"), nuisance=("colour",))
    score = disentanglement.factor_vae(source, num_train=60, num_eval=60)
    assert score.details["factors"] == ["shape", "scale"]
    preset = disentanglement.factor_vae_ibgan(source, num_votes=60)
    assert preset.details["factors"] == ["shape", "scale", "colour"]
    mig = disentanglement.evaluate(source, metrics=["mig"])["mig"]
    assert np.shape(mig["details"]["mutual_information"]) == (3, 2)
    with pytest.raises(UserError, match="nuisance factors .*'hue'"):
        disentanglement.factor_vae(source._replace(nuisance=("hue",)))


def test_perfect_codes_in_arrays_score_1_and_noise_does_not():
    _, factors = data(1000)
    perfect = disentanglement.from_arrays(factors + 0.0, factors)
    noise = disentanglement.from_arrays(np.random.RandomState(0).normal(size=(1000, 3)), factors)
    few = {"num_train": 300, "num_eval": 300, "batch_size": 16}
    for metric in (disentanglement.factor_vae, disentanglement.beta_vae):
        assert metric(perfect, **few).value == 1
        assert metric(noise, **few).value < 0.6
    assert disentanglement.factor_vae_ibgan(perfect).value == 1
    assert disentanglement.mig(factors, factors).value > 0.98


def test_fixed_rows_of_a_group_share_the_value():
    factors = np.repeat([0, 1, 2], [40, 7, 30])[:, np.newaxis]  # 7 rows are too few to be fixed
    factors = np.hstack([factors, np.arange(77)[:, np.newaxis] % 3])
    seen = []

    def measure(codes):
        seen.append(codes[..., 0])
        return codes[:, 0, 0]

    rows = disentanglement.from_arrays(factors, factors)
    sampling.shared_by_all(rows, [0] * 50, 6, sampling.stream(0), measure)
    assert (seen[0] == seen[0][:, :1]).all() and set(np.unique(seen[0])) == {0, 2}
    sampling.shared_by_pairs(rows, [1] * 50, 6, sampling.stream(0), lambda z: seen.append(z) or z)
    pairs = seen[1].reshape(50, 2, 6, 2)
    np.testing.assert_array_equal(pairs[:, 0, :, 1], pairs[:, 1, :, 1])
    assert (pairs[:, 0, :, 0] != pairs[:, 1, :, 0]).any()


def test_rare_values_cannot_be_held_fixed():
    codes, factors = data(40)
    factors[:, 2] = np.arange(40)
    source = disentanglement.from_arrays(codes, factors, names=("a", "b", "number"))
    with pytest.raises(UserError, match="no value of number is shared by 8 rows"):
        disentanglement.factor_vae(source, num_train=50, num_eval=5)


def test_an_encoder_sees_batches_of_one_shape():
    shapes, seeds = [], []

    def images(factors, seed):
        seeds.append(seed)
        return np.broadcast_to(factors[:, None, None, :], (len(factors), 2, 2, 3)).astype(np.uint8)

    def encode(x):
        assert x.dtype == np.uint8
        shapes.append(x.shape)
        return x.mean(axis=(1, 2))

    source = disentanglement.from_encoder(encode, images, SIZES, ("a", "b", "c"), batch_size=64)
    few = {"num_train": 30, "num_eval": 20, "num_variance": 100}
    scores = [disentanglement.factor_vae(source, **few) for _ in range(2)]
    assert set(shapes) == {(64, 2, 2, 3)}
    assert len(set(seeds)) == len(seeds) / 2  # each batch its own, the same in the second run
    reference = disentanglement.factor_vae(identity(), **few)
    for score in scores:
        np.testing.assert_array_equal(score.details["votes"], reference.details["votes"])


def test_remembered_codes_are_computed_once():
    counts = np.zeros(SIZES, int)

    def represent(factors, rng):
        np.add.at(counts, tuple(factors.T), 1)
        return factors + 0.5

    source = disentanglement.Representation(SIZES, represent)
    kept = disentanglement.remembered(source)
    factors = data(500)[1]
    for _ in range(2):
        np.testing.assert_array_equal(kept.represent(factors, None), factors + 0.5)
    assert counts.max() == 1
    with pytest.raises(UserError, match="too many to remember"):
        disentanglement.remembered(source._replace(sizes=(10_000, 10_000, 10_000)))


FEW = {"num_train": 300, "num_test": 150, "num_variance": 200, "num_votes_ibgan": 60}


def test_evaluate_gives_what_the_functions_give_over_seeds():
    source = mixing()
    result = disentanglement.evaluate(source, metrics=disentanglement.ALL, seeds=(3, 4), **FEW)
    json.dumps(result, allow_nan=False)
    assert set(disentanglement.ALL) < set(result)
    options = {"num_train": 300, "num_eval": 150, "num_variance": 200}
    scores = [disentanglement.factor_vae(source, **options, seed=s).value for s in (3, 4)]
    entry = result["factor_vae"]
    assert entry["values"] == scores
    assert entry["mean"] == pytest.approx(np.mean(scores))
    assert entry["std"] == pytest.approx(np.std(scores, ddof=1))
    assert entry["recipe"]["seeds"] == [3, 4]
    assert result["mig"]["recipe"]["rows"] == 300 and result["dci"]["recipe"]["test"] == 150
    assert len(set(result["mig"]["values"])) == 2
    assert np.shape(result["mig"]["details"]["mutual_information"]) == (4, 3)
    assert result["dci_completeness"]["values"] != result["dci"]["values"]
    assert disentanglement.evaluate(source, metrics=["mig"], seeds=[3], **FEW)["mig"]["std"] is None


def test_evaluate_takes_every_fixed_row_and_splits_them_for_a_test_part():
    codes, factors = data(90)
    source = disentanglement.from_arrays(codes, factors)
    metrics = ["mig", "irs", "explicitness"]
    result = disentanglement.evaluate(source, metrics=metrics, seeds=range(3))
    assert result["mig"]["values"] == [disentanglement.mig(codes, factors).value] * 3
    assert result["irs"]["std"] == 0
    assert result["explicitness"]["std"] > 0
    assert result["explicitness"]["recipe"]["train"] == 60


def test_evaluate_says_why_a_metric_is_not_defined():
    codes, factors = data(90)
    source = disentanglement.from_arrays(codes, factors[:, 0])
    result = disentanglement.evaluate(source, metrics=["modularity", "mig", "dci"])
    assert result["modularity"]["mean"] is None and result["modularity"]["values"] == []
    assert "2 factors that vary" in result["dci_completeness"]["reason"]
    assert result["mig"]["mean"] > 0
    with pytest.raises(UserError, match="modularity needs 2 factors"):
        disentanglement.evaluate(source, metrics=["modularity"])
    for options in ({"metrics": ["fid"]}, {"metrics": []}, {"seeds": ()}, {"seeds": (-1,)}):
        with pytest.raises(UserError, match="unknown metric|seed"):
            disentanglement.evaluate(source, **options)


@pytest.mark.parametrize(
    "options",
    [{"num_train": 0}, {"num_eval": 0}, {"batch_size": 0}, {"num_train": 1.5}, {"seed": -1}],
)
def test_counts_of_the_protocols_are_checked(options):
    for metric in (disentanglement.factor_vae, disentanglement.beta_vae):
        with pytest.raises(UserError, match="must be a whole number"):
            metric(identity(), **{"num_train": 2, "num_eval": 2} | options)


def test_a_source_is_checked():
    one = disentanglement.Representation((5, 1), lambda factors, rng: factors[:, :1])
    for metric in (
        disentanglement.factor_vae,
        disentanglement.factor_vae_ibgan,
        disentanglement.beta_vae,
    ):
        with pytest.raises(UserError, match="needs 2 factors that vary; these data have 1"):
            metric(one)
    few = {"num_train": 5, "num_eval": 5, "num_variance": 5}
    for codes, message in ((np.nan, "NaN"), ("x", "real numbers")):
        wrong = identity()._replace(represent=lambda f, rng, c=codes: np.full(f.shape, c))
        with pytest.raises(UserError, match=message):
            disentanglement.factor_vae(wrong, **few)
    short = identity()._replace(represent=lambda f, rng: f[1:])
    with pytest.raises(UserError, match="gave 4 codes for 5 examples"):
        disentanglement.factor_vae(short, **few)
    with pytest.raises(UserError, match="2 names and 3 factors"):
        disentanglement.from_arrays(*data(20), names=("a", "b"))
