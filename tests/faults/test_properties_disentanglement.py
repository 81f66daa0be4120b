"""Laws of the disentanglement scores, on random codes and on damaged ones."""

import damage_arrays
import numpy as np
import properties
import pytest
import scipy.stats
from damage_arrays import Victim
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from ivg.errors import UserError
from ivg.metrics import disentanglement
from ivg.metrics.disentanglement import information

ROWS, VALUES = 64, 4
GRID = np.tile(np.indices((VALUES, VALUES)).reshape(2, -1).T, (4, 1))  # of two factors
ORDER = st.permutations(range(ROWS)).map(np.array)
# Powers of two: scaled codes fall into the same bins, to the last digit.
SCALE = st.sampled_from([2.0**-60, 0.5, 1.0, 4.0, 2.0**60])
SMALL_SCALE = st.sampled_from([2.0**-8, 1.0, 2.0**8])
DTYPE = st.sampled_from([np.float32, np.float64, np.longdouble, np.float16])
SEEDS = st.integers(0, 2**32 - 1)
RANDOM = SEEDS.map(np.random.default_rng)
# Hypothesis fills most of a large array with one value, random numbers do not.
NOISE = st.one_of(
    arrays_of.arrays(np.float64, (ROWS, 3), elements=st.integers(-8, 8).map(float)),
    RANDOM.map(lambda rng: np.round(rng.normal(0, 2, (ROWS, 3)))),
)
FACTORS = st.one_of(
    arrays_of.arrays(np.int64, (ROWS, 2), elements=st.integers(0, 3)),
    RANDOM.map(lambda rng: rng.integers(0, 4, (ROWS, 2))),
)
FEW = {"num_train": 40, "num_eval": 20}
OF_ARRAYS = {
    "mig": disentanglement.mig,
    "modularity": disentanglement.modularity,
    "irs": disentanglement.irs,
    "sap_continuous": disentanglement.sap_continuous,
}
OF_PARTS = {
    "dci": disentanglement.dci,
    "sap_discrete": disentanglement.sap_discrete,
    "explicitness": disentanglement.explicitness,
}


@pytest.fixture(scope="module")
def attempt(amount):
    return properties.Attempts(amount)


def grid_with_noise(noise):
    """Factors that vary, and codes of any quality."""
    return noise + np.pad(GRID, ((0, 0), (0, 1))), GRID


# --- what is refused ------------------------------------------------------------------------------


def sampled(codes, factors):
    """From a caller's arrays to a score that samples from them."""
    source = disentanglement.from_arrays(codes, factors)
    return disentanglement.factor_vae(source, **FEW)


CODES = GRID * 1.0
VICTIMS = {name: Victim(metric, (CODES, GRID)) for name, metric in OF_ARRAYS.items()}
VICTIMS |= {name: Victim(metric, (CODES, GRID) * 2) for name, metric in OF_PARTS.items()}
VICTIMS |= {
    "factor_vae": Victim(sampled, (CODES, GRID)),
    "evaluate": Victim(
        lambda *a: disentanglement.evaluate(disentanglement.from_arrays(*a), metrics=("mig",)),
        (CODES, GRID),
    ),
    "gaussian_total_correlation": Victim(
        disentanglement.gaussian_total_correlation, (CODES,), ((0, "one row less"),)
    ),
    "mutual_info_score": Victim(
        disentanglement.mutual_info_score, (CODES,), ((0, "one row less"),)
    ),
    "equal_width_bins": Victim(
        lambda x: information.equal_width_bins(x, 4), (CODES,), ((0, "one row less"),)
    ),
    "mutual_information": Victim(information.mutual_information, (GRID, GRID)),
    "entropy": Victim(information.entropy, (GRID,), ((0, "one row less"),)),
}


def test_damaged_arrays_are_answered_in_one_sentence(attempt):
    def refused(wanted, place):
        damage_arrays.refuses(VICTIMS, wanted, place)

    attempt(250, 3000, refused, **damage_arrays.victims(VICTIMS))


@pytest.mark.parametrize("value", [0, -1, 1.5, np.nan, np.inf, "a", None, True])
def test_counts_that_are_none(value):
    source = disentanglement.from_arrays(CODES, GRID)
    calls = [
        lambda: disentanglement.mig(CODES, GRID, num_bins=value),
        lambda: disentanglement.modularity(CODES, GRID, num_bins=value),
        lambda: disentanglement.irs(CODES, GRID, num_bins=value),
        lambda: disentanglement.mutual_info_score(CODES, num_bins=value),
        lambda: disentanglement.evaluate(source, num_train=value),
        lambda: disentanglement.remembered(disentanglement.Representation((4, value), None)),
        *(
            lambda name=name, metric=metric: metric(source, **(FEW | {name: value}))
            for metric in (disentanglement.factor_vae, disentanglement.beta_vae)
            for name in (*FEW, "batch_size")
        ),
        lambda: disentanglement.factor_vae_ibgan(source, num_votes=value),
        lambda: disentanglement.factor_vae_ibgan(source, num_variance=value),
    ]
    for call in calls:
        with pytest.raises(UserError, match="whole number of at least"):
            call()


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, np.nan, "a", None])
def test_seeds_that_are_none(seed):
    source = disentanglement.from_arrays(CODES, GRID)
    for call in (
        lambda: disentanglement.dci(CODES, GRID, CODES, GRID, seed=seed),
        lambda: disentanglement.sap_discrete(CODES, GRID, CODES, GRID, seed=seed),
        lambda: disentanglement.factor_vae(source, **FEW, seed=seed),
        lambda: disentanglement.evaluate(source, seeds=(seed,)),
    ):
        with pytest.raises(UserError, match="seed must be"):
            call()


def test_thresholds_and_dimensions_that_are_none():
    source = disentanglement.from_arrays(CODES, GRID)
    for metric in (disentanglement.factor_vae, disentanglement.factor_vae_ibgan):
        with pytest.raises(UserError, match="threshold must be a number"):
            metric(source, threshold=np.nan)
        for dim in (-1, 2, 0.5, np.nan):
            with pytest.raises(UserError, match="no dimension"):
                metric(source, categorical=(dim,))
    with pytest.raises(UserError, match="at least 2, not 1"):
        disentanglement.factor_vae(source, batch_size=1)
    with pytest.raises(UserError, match="quantile"):
        disentanglement.irs(CODES, GRID, quantile=np.nan)
    with pytest.raises(UserError, match="source, such as"):
        disentanglement.evaluate(CODES)


def test_an_encoder_gives_a_row_for_each_image():
    """Rows too many would shift the codes of all images after them."""
    source = disentanglement.from_encoder(
        lambda x: np.zeros((len(x) + 1, 1)),
        lambda factors, seed: np.zeros((len(factors), 1, 1, 1), np.uint8),
        (4, 4),
        batch_size=10,
    )
    with pytest.raises(UserError, match="one row each"):
        disentanglement.factor_vae(source, **FEW, num_variance=50)


# --- laws -----------------------------------------------------------------------------------------


def test_scores_of_arrays(attempt):
    def laws(noise, order, dims, scale, names, dtype):
        codes, factors = grid_with_noise(noise)
        renamed = np.array(names)[factors]
        for name, metric in OF_ARRAYS.items():
            value = metric(codes, factors).value
            assert -1 <= value <= 1 + 1e-9 and (name == "irs" or value >= 0)
            for other in (
                metric(codes[order], factors[order]),
                metric(codes[:, dims], factors[:, ::-1]),
                metric(np.asfortranarray(codes), factors.astype(np.uint8)),
                metric(codes.astype(dtype), factors.astype(dtype)),
            ):
                assert other.value == pytest.approx(value, abs=1e-5)
            if name != "sap_continuous" or scale >= 0.5:  # it has a smallest variance
                assert metric(codes * scale, factors).value == pytest.approx(value, abs=1e-9)
            if name in ("mig", "modularity"):
                assert metric(codes, renamed).value == pytest.approx(value, abs=1e-9)
            assert metric(0 * codes + scale, factors).value == 0
            perfect = factors[:, ::-1] * max(scale, 0.5)
            assert metric(perfect, factors).value == pytest.approx(1)

    names = st.lists(st.integers(-(10**6), 10**6), min_size=VALUES, max_size=VALUES, unique=True)
    dims = st.permutations(range(3)).map(list)
    drawn = {"noise": NOISE, "order": ORDER, "dims": dims, "scale": SCALE}
    attempt(12, 400, laws, names=names, dtype=DTYPE, **drawn)


def test_scores_of_two_parts(attempt):
    def laws(noise, order, scale):
        codes, factors = grid_with_noise(noise)
        train, test = (codes[order], factors[order]), (codes, factors)
        for name, metric in OF_PARTS.items():
            score = metric(*train, *test)
            assert 0 <= score.value <= 1
            dead = metric(0 * codes, factors, *test).value
            assert dead == (0.5 if name == "explicitness" else 0)
            if name != "sap_discrete":  # its classifier has a scale of its own
                scaled = metric(train[0] * scale, train[1], codes * scale, factors)
                assert scaled.value == pytest.approx(score.value, abs=1e-3)
        perfect = GRID[:, ::-1] * scale
        assert disentanglement.dci(perfect, GRID, perfect, GRID).value == pytest.approx(1)
        assert disentanglement.explicitness(perfect, GRID, perfect, GRID).value > 0.8

    attempt(1, 8, laws, noise=NOISE, order=ORDER, scale=SMALL_SCALE)


def test_information(attempt):
    import sklearn.metrics

    def laws(a, b, order, bins):
        matrix = information.mutual_information(a, b)
        entropies = information.entropy(a), information.entropy(b)
        most = np.minimum(entropies[0][:, None], entropies[1][None])
        assert (matrix >= 0).all() and (matrix <= most + 1e-9).all()
        np.testing.assert_allclose(matrix, information.mutual_information(b, a).T, atol=1e-12)
        np.testing.assert_allclose(
            matrix, information.mutual_information(a[order], b[order]), atol=1e-12
        )
        np.testing.assert_allclose(
            np.diag(information.mutual_information(a, a)), entropies[0], atol=1e-12
        )
        counts = np.bincount(a[:, 0])
        assert entropies[0][0] == pytest.approx(scipy.stats.entropy(counts), abs=1e-12)
        wanted = sklearn.metrics.mutual_info_score(a[:, 0], b[:, 1])
        assert matrix[0, 1] == pytest.approx(wanted, abs=1e-9)
        values = a * 1.7 - b
        cut = information.equal_width_bins(values, bins)
        assert cut.min() >= 0 and cut.max() < bins
        for column in range(2):
            found = np.bincount(cut[:, column], minlength=bins)
            edges = values[:, column].min(), values[:, column].max()
            if edges[0] < edges[1]:
                np.testing.assert_array_equal(found, np.histogram(values[:, column], bins)[0])
            assert (np.diff(cut[np.argsort(values[:, column]), column]) >= 0).all()

    attempt(25, 600, laws, a=FACTORS, b=FACTORS, order=ORDER, bins=st.integers(1, 30))


def test_dependence_of_codes(attempt):
    def laws(seed, rho, scale, order):
        a, b = np.random.default_rng(seed).normal(size=(2, 500))
        codes = np.stack([a, rho * a + np.sqrt(1 - rho**2) * b], axis=1)
        score = disentanglement.gaussian_total_correlation(codes).value
        assert score >= 0 and score == pytest.approx(-0.5 * np.log(1 - rho**2), abs=0.3)
        scaled = disentanglement.gaussian_total_correlation(codes[:, ::-1] * scale)
        assert scaled.value == pytest.approx(score, abs=1e-6)
        assert disentanglement.gaussian_total_correlation(GRID * scale).value >= 0
        shared = disentanglement.mutual_info_score(codes).value
        assert 0 <= shared <= np.log(20)
        assert disentanglement.mutual_info_score(codes[::-1, ::-1]).value == pytest.approx(shared)
        assert disentanglement.mutual_info_score(codes[:, :1]).value == 0
        with pytest.raises(UserError, match="linear function"):
            disentanglement.gaussian_total_correlation(codes[:, [0, 0]])

    scale = st.sampled_from([1e-200, 1e-30, 1.0, 3.7, 1e20])
    rho = st.floats(-0.9, 0.9)
    attempt(15, 300, laws, seed=st.integers(0, 1000), rho=rho, scale=scale, order=ORDER)


def test_scores_of_groups(attempt):
    metrics = {
        disentanglement.factor_vae: FEW,
        disentanglement.factor_vae_ibgan: {"num_votes": 40, "batch_size": 20},
        disentanglement.beta_vae: FEW,
    }

    def laws(noise, seed, scale):
        codes, factors = grid_with_noise(noise)
        for metric, few in metrics.items():
            score = metric(disentanglement.from_arrays(codes, factors), **few, seed=seed).value
            again = metric(disentanglement.from_arrays(codes, factors), **few, seed=seed).value
            assert 0 <= score <= 1 and score == again
            # Another name and order of dimensions; votes are for the nearest to constant.
            perfect = disentanglement.from_arrays(factors[:, ::-1] * scale, factors)
            assert metric(perfect, **few, seed=seed).value > 0.9
            dead = metric(disentanglement.from_arrays(0 * codes, factors), **few, seed=seed)
            assert dead.value <= (0 if metric is not disentanglement.beta_vae else 0.9)

    attempt(3, 60, laws, noise=NOISE, seed=SEEDS, scale=st.sampled_from([1.0, 64.0]))


def test_evaluate(attempt):
    cheap = ("mig", "modularity", "irs", "sap_continuous", "explicitness")

    def laws(noise, metrics, seeds):
        codes, factors = grid_with_noise(noise)
        source = disentanglement.from_arrays(codes, factors)
        found = disentanglement.evaluate(source, metrics=metrics, seeds=seeds)
        assert set(found) == set(metrics)
        for name, score in found.items():
            assert len(score["values"]) == len(seeds)
            assert score["mean"] == pytest.approx(np.mean(score["values"]))
            assert (score["std"] is None) == (len(seeds) == 1)
            if name in OF_ARRAYS:
                assert score["values"][0] == OF_ARRAYS[name](codes, factors).value

    metrics = st.lists(st.sampled_from(cheap), min_size=1, unique=True)
    seeds = st.lists(SEEDS, min_size=1, max_size=3)
    attempt(4, 60, laws, noise=NOISE, metrics=metrics, seeds=seeds)


def test_examples_tried(attempt, figure):
    assert attempt.tried >= 200
    figure("losses and metrics", "random inputs to disentanglement scores", attempt.tried)
