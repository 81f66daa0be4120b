"""Frechet distance against closed forms and exact nuclear norms, singular cases included."""

import numpy as np
import oracles
import pytest

from ivg.metrics import frechet

ORACLE = "02_frechet"
STATISTICS = (
    "spd_small",
    "spd_mid",
    "diagonal_closed_form",
    "one_dimensional",
    "identical",
    "same_cov_shifted_mean",
    "scaled_cov",
    "rank_one",
    "one_zero_cov",
    "orthogonal_supports",
)
FEATURES = (
    "features_full_rank",
    "features_mid",
    "features_singular",
    "features_one_singular",
    "features_identical",
    "features_identical_singular",
    "features_permuted_rows",
    "features_collapsed",
)


def close(value, facts):
    assert abs(value - facts["expected"]) <= facts["tolerance_abs"]


def test_all_cases_are_here(shared):
    assert set(oracles.load(shared, ORACLE)) == {*STATISTICS, *FEATURES}


@pytest.mark.parametrize("name", STATISTICS + FEATURES)
def test_gaussians(shared, name):
    arrays, facts = oracles.load(shared, ORACLE)[name]
    names = ("mu1", "sigma1", "mu2", "sigma2")
    there = [arrays[name] for name in names]
    close(frechet.gaussian_distance(*there), facts)
    close(frechet.gaussian_distance(*there[2:], *there[:2]), facts)


@pytest.mark.parametrize("name", FEATURES)
def test_features(shared, name):
    arrays, facts = oracles.load(shared, ORACLE)[name]
    x, y = arrays["x1"], arrays["x2"]
    close(frechet.distance(x, y), facts)
    close(frechet.distance(y, x), facts)
    # Exact where fewer rows than features: two orders below what roots of matrices leave.
    assert frechet.distance(x, y) == pytest.approx(facts["expected"], abs=1e-8)
    chunks = [np.array_split(rows, 3) for rows in (x, y)]
    close(frechet.moments_distance(*map(frechet.stream, chunks)), facts)


@pytest.mark.parametrize("name", FEATURES)
def test_moments(shared, name):
    arrays, _ = oracles.load(shared, ORACLE)[name]
    for number in ("1", "2"):
        found = frechet.stream(np.array_split(arrays[f"x{number}"], 5))
        np.testing.assert_allclose(found.mean, arrays[f"mu{number}"], rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(found.covariance, arrays[f"sigma{number}"], atol=1e-12)
