"""Disentanglement scores of fixed arrays, seven toy codes, against the reference library.

A block of DCI costs three to five seconds, so each code has one of its five here, another one from
code to code; everything else is checked in full.
"""

import json

import numpy as np
import oracles
import pytest

from ivg.errors import UserError
from ivg.metrics import disentanglement

CODES = "abcdefg"
ORACLE = "01_disentanglement"
TRAIN, TEST = slice(0, 5000), slice(5000, 10000)


@pytest.fixture(params=CODES)
def case(request, shared):
    return request.param, oracles.load(shared, ORACLE)[request.param]


@pytest.fixture(scope="module")
def tolerance(shared):
    text = (shared / "oracles" / f"{ORACLE}.json").read_text()
    return json.loads(text)["meta"]["tolerance_fixed_arrays"]


def arrays(name, case):
    return case.arrays[f"codes_{name}"], case.arrays["factors"]


def test_no_code_is_forgotten(shared):
    assert set(oracles.load(shared, ORACLE)) == set(CODES)


def test_information_scores(case, tolerance):
    name, case = case
    expected = case.facts["fixed_arrays"]
    mig = disentanglement.mig(*arrays(name, case))
    assert mig.value == pytest.approx(expected["mig"], abs=tolerance["mig"])
    np.testing.assert_allclose(
        mig.details["per_factor"], expected["mig_per_factor"], rtol=0, atol=tolerance["mig"]
    )
    modularity = disentanglement.modularity(*arrays(name, case))
    assert modularity.value == pytest.approx(expected["modularity"], abs=tolerance["modularity"])
    for score in (mig, modularity):
        np.testing.assert_allclose(
            score.details["mutual_information"],
            case.arrays[f"mi_matrix_{name}"],
            rtol=0,
            atol=tolerance["mi_matrix"],
        )


@pytest.mark.parametrize(("quantile", "label", "key"), [(0.99, "0.99", "0.99"), (1.0, "1.0", "1")])
def test_irs(case, tolerance, quantile, label, key):
    name, case = case
    score = disentanglement.irs(*arrays(name, case), quantile=quantile)
    expected = case.facts["fixed_arrays"][f"irs_quantile_{label}"]
    assert score.value == pytest.approx(expected, abs=tolerance["irs"])
    # The reference averages 10,000 float32 codes in float32: 2.6e-5 in a single entry.
    active = score.details["matrix"][score.details["active_dims"]]
    reference = case.arrays[f"irs_matrix_q{key}_{name}"]
    np.testing.assert_allclose(active, reference, rtol=0, atol=5e-5)


def test_sap_and_explicitness(case, tolerance):
    name, case = case
    codes, factors = arrays(name, case)
    parts = codes[TRAIN], factors[TRAIN], codes[TEST], factors[TEST]
    expected = case.facts["fixed_arrays"]
    continuous = disentanglement.sap_continuous(codes, factors)
    discrete = disentanglement.sap_discrete(*parts)
    for label, score in (("continuous", continuous), ("discrete", discrete)):
        limit = tolerance[f"sap_{label}"]
        assert score.value == pytest.approx(expected[f"sap_{label}"], abs=limit)
        reference = case.arrays[f"sap_{label}_matrix_{name}"]
        np.testing.assert_allclose(score.details["matrix"], reference, rtol=0, atol=limit)
    explicitness = disentanglement.explicitness(*parts)
    dropped = "_constant_dims_dropped" if name == "e" else ""
    for label, value in (("test", explicitness.value), ("train", explicitness.details["train"])):
        reference = expected[f"explicitness_{label}{dropped}"]
        assert value == pytest.approx(reference, abs=tolerance["explicitness"])


def test_dependence_among_codes(case, tolerance):
    name, case = case
    codes, _ = arrays(name, case)
    expected = case.facts["fixed_arrays"]
    shared_information = disentanglement.mutual_info_score(codes).value
    assert shared_information == pytest.approx(
        expected["mutual_info_score"], abs=tolerance["mutual_info_score"]
    )
    if name == "f":  # each code twice: infinite
        with pytest.raises(UserError, match="total correlation is infinite"):
            disentanglement.gaussian_total_correlation(codes)
        return
    score = disentanglement.gaussian_total_correlation(codes)
    if name == "e":  # NaN in the reference; without the dead dimensions it is that of the others
        others = disentanglement.gaussian_total_correlation(codes[:, [0, 1, 2, 3, 4, 8]])
        assert score.value == pytest.approx(others.value, abs=1e-12)
    else:
        limit = tolerance["gaussian_total_correlation"]
        assert score.value == pytest.approx(expected["gaussian_total_correlation"], abs=limit)


def test_dci(case):
    name, case = case
    codes, factors = arrays(name, case)
    block = CODES.index(name) % 5
    factors = factors // np.array([1, 1, 5, 4, 4])
    train = slice(1000 * block, 1000 * block + 500)
    test = slice(1000 * block + 500, 1000 * block + 1000)
    score = disentanglement.dci(
        codes[train], factors[train], codes[test], factors[test], seed=block
    )
    expected = case.facts["fixed_arrays"]["dci_coarse"]
    for key, value in ({"disentanglement": score.value} | score.details).items():
        if key in expected:
            reference = expected[key]["values"][block]
            assert value == pytest.approx(reference, abs=expected["tolerance_per_block"]), key
    np.testing.assert_allclose(
        score.details["importance"], case.arrays[f"dci_importance_block{block}_{name}"], atol=0.02
    )
