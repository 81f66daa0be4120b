"""Leakage on codes of which it is known what they hold."""

from typing import NamedTuple

import numpy as np
import pytest

from ivg.errors import UserError
from ivg.metrics import leakage as module
from ivg.metrics.leakage import Leakage, leak_table, leakage


class Target(NamedTuple):
    name: str
    kind: str
    values: int = 0
    owner: str = ""


GLASSES = Target("glasses", "attribute", 2)
LENS = Target("lens", "sub-attribute", 0, "glasses")
SHAPE = Target("shape", "sub-attribute", 3, "glasses")
SKIN = Target("skin", "nuisance")
HAIR = Target("hair", "nuisance", 4)
TARGETS = (GLASSES, LENS, SHAPE, SKIN, HAIR)
TRAIN, TEST = 600, 300


def draw(rows: int, seed: int) -> np.ndarray:
    """Factors: glasses in 30 %, lens in [0, 1], shape in 0..2, skin in [0, 1], hair in 0..3."""
    rng = np.random.default_rng(seed)
    columns = (
        rng.random(rows) < 0.3,
        rng.random(rows),
        rng.integers(0, 3, rows),
        rng.random(rows),
        rng.integers(0, 4, rows),
    )
    return np.stack(columns, axis=1).astype(np.float32)


def score(train: np.ndarray, test: np.ndarray, targets: tuple[Target, ...] = TARGETS) -> Leakage:
    return leakage(train, test, FACTORS[0], FACTORS[1], targets=targets)


FACTORS = draw(TRAIN, 0), draw(TEST, 1)
NOISE = tuple(
    np.random.default_rng(seed).normal(size=(rows, 3)).astype(np.float32)
    for rows, seed in ((TRAIN, 2), (TEST, 3))
)


@pytest.fixture(scope="module")
def known() -> dict[str, dict]:
    """Rows of a code of any scale that holds glasses and, where they are present, the lens."""

    def encode(factors: np.ndarray, noise: np.ndarray) -> np.ndarray:
        glasses, lens = factors.T[:2]
        codes = np.stack([glasses + 0.2 * noise[:, 0], glasses * lens], axis=1)
        return np.concatenate([1e4 * codes, noise[:, 1:], np.full((len(codes), 1), 7.3)], axis=1)

    return {row["name"]: row for row in score(*map(encode, FACTORS, NOISE)).rows}


def test_what_a_code_holds_is_found(known: dict[str, dict]) -> None:
    assert known["glasses"]["linear"] > 0.97 and known["glasses"]["boosted"] > 0.97
    assert known["glasses"]["measure"] == "accuracy" and known["lens"]["measure"] == "R2"
    # Where there are no glasses the lens is not in the code: over all rows R^2 would be about 0.3.
    assert known["lens"]["linear"] > 0.99 and known["lens"]["boosted"] > 0.85


def test_a_curved_form_is_found_by_the_trees_only() -> None:
    skin = [f[:, 3:4] for f in FACTORS]
    row = leakage(*skin, *(2 * np.abs(s - 0.5) for s in skin), targets=(SKIN,)).rows[0]
    assert row["linear"] < 0.1 and row["boosted"] > 0.9


def test_what_a_code_does_not_hold_is_at_chance(known: dict[str, dict]) -> None:
    for row in (known["shape"], known["hair"]):
        assert all(abs(row[name] - row["chance"]) < 0.12 for name in ("linear", "boosted"))
    noise = {row["name"]: row for row in score(*NOISE).rows}
    for name in ("lens", "skin"):
        assert noise[name]["chance"] == 0
        assert all(-0.1 < noise[name][predictor] < 0.1 for predictor in ("linear", "boosted"))
    # The share of the most frequent value, not 1 / number of values.
    assert noise["glasses"]["chance"] == np.mean(FACTORS[1][:, 0] == 0)
    assert abs(noise["glasses"]["linear"] - noise["glasses"]["chance"]) < 0.03


def test_sub_attributes_use_the_rows_where_their_owner_is_present(known: dict[str, dict]) -> None:
    present = [int((factors[:, 0] == 1).sum()) for factors in FACTORS]
    for row in known.values():
        owned = row["kind"] == "sub-attribute"
        assert [row["train"], row["test"]] == (present if owned else [TRAIN, TEST])
        assert row["owner"] == ("glasses" if owned else "")


def test_r2_is_raw_and_its_variance_is_of_the_test_rows() -> None:
    # A code that shows the factor in training and its opposite in the test: far below chance.
    row = leakage(
        FACTORS[0][:, 3:4], 1 - FACTORS[1][:, 3:4], FACTORS[0][:, 3:4], FACTORS[1][:, 3:4],
        targets=(SKIN,),
    ).rows[0]  # fmt: skip
    truth = FACTORS[1][:, 3].astype(np.float64)
    expected = 1 - np.mean((truth - (1 - truth)) ** 2) / np.var(truth)
    assert abs(row["linear"] - expected) < 0.05


def test_constant_and_rare_factors_have_no_scores() -> None:
    targets = (SKIN, HAIR, GLASSES, LENS)
    train, test = (f[:, [3, 4, 0, 1]].copy() for f in FACTORS)
    for factors in (train, test):
        factors[:, 0], factors[:, 1], factors[:, 2] = 0.5, 2, 0
        factors[:5, 2] = 1  # five wearers: too few for the lens and to learn from
    rows = leakage(*NOISE, train, test, targets=targets).rows
    assert all(row["linear"] is None and row["boosted"] is None for row in rows)
    assert [row["chance"] for row in rows] == [None, 1.0, 1 - 5 / TEST, None]
    assert rows[3]["train"] == 5


def test_values_too_rare_to_learn_count_as_wrong() -> None:
    hair = [f[:, 4].copy() for f in FACTORS]
    hair[0][hair[0] == 3] = 0
    hair[0][:3] = 3  # three training rows of a quarter of the test rows
    codes = [np.eye(4)[h.astype(int)] for h in (hair[0], hair[1])]
    row = leakage(*codes, hair[0][:, None], hair[1][:, None], targets=(HAIR,)).rows[0]
    assert row["linear"] == row["boosted"] == np.mean(hair[1] != 3)


def test_only_the_most_telling_columns_reach_the_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(TRAIN, 90))
    values = rng.integers(0, 3, TRAIN)
    x[:, 70] = (values == 1) + 0.1 * x[:, 70]  # tells of one value only
    x[:, 80] = np.where(rng.random(TRAIN) < 0.5, -1, 1) * (values == 2)  # by its square only
    monkeypatch.setattr(module, "COLUMNS", 2)
    part = module._Part(x, values)
    np.testing.assert_array_equal(module._telling(part), [70, 80])


def test_rows_are_capped_and_the_recipe_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TRAIN", 100)
    monkeypatch.setattr(module, "MOST_TEST", 50)
    columns = tuple(f[:, 3:4] for f in FACTORS)
    found = leakage(*columns, *columns, targets=(SKIN,))
    assert (found.rows[0]["train"], found.rows[0]["test"]) == (100, 50)
    assert (found.recipe["train"], found.recipe["test"]) == (100, 50)
    assert found.rows[0]["linear"] > 0.99, "codes and factors of the same rows"
    assert found == leakage(*columns, *columns, targets=(SKIN,))


def test_table_of_two_codes() -> None:
    columns = tuple(f[:, 3:4] for f in FACTORS)
    found = {"c": leakage(*NOISE, *columns, targets=(SKIN,))}
    found["z"] = leakage(*columns, *columns, targets=(SKIN,))
    (row,) = leak_table(found)
    assert row["name"] == "skin" and row["measure"] == "R2" and "linear" not in row
    assert set(row["c"]) == set(row["z"]) == {"linear", "boosted"}
    assert row["c"]["linear"] < 0.1 and row["z"]["linear"] > 0.99


@pytest.mark.parametrize(
    ("arrays", "targets", "message"),
    [
        ((NOISE[0], NOISE[1][:, :2], *FACTORS), TARGETS, "3 dimensions but test codes 2"),
        ((NOISE[0][1:], NOISE[1], *FACTORS), TARGETS, r"599 training codes .* \(599, 5\)"),
        ((*NOISE, *FACTORS), TARGETS[:4], r"training codes and 4 factors .* \(600, 4\), not"),
        ((*NOISE, FACTORS[0], FACTORS[1] * np.nan), TARGETS, "test examples must be finite"),
        ((NOISE[0] * np.nan, NOISE[1], *FACTORS), TARGETS, "codes are NaN or infinite"),
        ((*NOISE, *FACTORS), (*TARGETS[:4], HAIR._replace(owner="hat")), 'belongs to "hat"'),
    ],
)
def test_mistakes_are_named(
    arrays: tuple[np.ndarray, ...], targets: tuple[Target, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        leakage(*arrays, targets=targets)
