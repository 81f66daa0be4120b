"""Frechet distance, KID, precision and recall: naive loops, closed cases, streams, the command."""

import json
import subprocess
import sys

import numpy as np
import pytest

from ivg.errors import UserError
from ivg.metrics import feature_scores, frechet
from ivg.metrics.kid import discrepancy, kernel_distance
from ivg.metrics.precision_recall import precision_recall

SIZES = ([1] * 7, [7], [2, 5], [5, 1, 1])


def rows(n, dim, seed, *, offset=0.0):
    drawn = np.random.default_rng(seed).normal(size=(n, dim)) + offset
    return drawn.astype(np.float32)


# ---- streams


@pytest.mark.parametrize("sizes", SIZES)
def test_any_chunks_give_the_moments_of_all_rows(sizes):
    x = rows(7, 4, 0)
    found = frechet.stream(np.split(x, np.cumsum(sizes)[:-1]))
    exact = x.astype(np.float64)
    assert found.count == 7
    np.testing.assert_allclose(found.mean, exact.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(found.covariance, np.cov(exact, rowvar=False), rtol=1e-13)


def test_a_mean_far_from_0_costs_no_digits():
    x = rows(3000, 3, 0, offset=1e4)
    found = frechet.stream(np.array_split(x, 40))
    expected = np.cov(x.astype(np.float64), rowvar=False)
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-11, atol=1e-13)
    # What float32 sums of squares would have given is wrong in its first digit.
    naive = np.mean(x * x, axis=0) - np.mean(x, axis=0) ** 2
    assert np.abs(naive / np.diag(expected) - 1).max() > 0.1


def test_merging_knows_no_order():
    a, b = frechet.moments(rows(5, 3, 0)), frechet.moments(rows(9, 3, 1, offset=2.0))
    one, other = frechet.merge(a, b), frechet.merge(b, a)
    assert one.count == other.count == 14
    np.testing.assert_allclose(one.mean, other.mean, rtol=1e-14)
    np.testing.assert_allclose(one.scatter, other.scatter, rtol=1e-13)


def test_more_rows_than_one_chunk():
    x = rows(frechet.CHUNK + 10, 2, 3)
    expected = np.cov(x.astype(np.float64), rowvar=False)
    np.testing.assert_allclose(frechet.moments(x).covariance, expected, rtol=1e-12, atol=1e-15)


def test_bytes_and_doubles_are_features_too():
    x = np.random.default_rng(0).integers(0, 256, (20, 3)).astype(np.uint8)
    for kind in (np.float64, np.float32):
        assert frechet.distance(x, x[::-1].astype(kind)) == pytest.approx(0, abs=1e-8)


# ---- distances


def test_the_distance_is_that_of_the_definition():
    import scipy.linalg

    x, y = rows(200, 6, 0).astype(np.float64), 2 * rows(150, 6, 1).astype(np.float64) + 1
    covariances = [np.cov(s, rowvar=False) for s in (x, y)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    apart = x.mean(axis=0) - y.mean(axis=0)
    expected = apart @ apart + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet.distance(x, y) == pytest.approx(expected, rel=1e-12)


def test_fewer_rows_than_features_and_more_agree_where_both_apply():
    x, y = rows(9, 10, 0), rows(60, 10, 1)
    direct = frechet.distance(x, y)
    by_covariance = frechet.moments_distance(frechet.moments(x), frechet.moments(y))
    assert direct == pytest.approx(by_covariance, abs=1e-6)


def naive_kernel(a, b):
    return (sum(float(p) * float(q) for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3


def naive_discrepancy(x, y):
    n, m = len(x), len(y)
    within = sum(naive_kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j)
    other = sum(naive_kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j)
    across = sum(naive_kernel(a, b) for a in x for b in y)
    return within / (n * (n - 1)) + other / (m * (m - 1)) - 2 * across / (n * m)


def test_kernel_distance_of_whole_sets():
    x, y = rows(8, 5, 0), rows(11, 5, 1, offset=0.5)
    assert discrepancy(x, y) == pytest.approx(naive_discrepancy(x, y), rel=1e-12)
    found = kernel_distance(x, y[:8], subsets=3)
    assert found.mean == pytest.approx(naive_discrepancy(x, y[:8]), rel=1e-12)
    assert found.std == pytest.approx(0, abs=1e-12)
    assert found[2:] == (3, 8)


def test_kernel_distance_is_unbiased():
    """Sets of one distribution: the mean over many pairs is within its error of 0."""
    values = [discrepancy(rows(10, 3, 2 * i), rows(10, 3, 2 * i + 1)) for i in range(2000)]
    assert min(values) < 0
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))


def test_kernel_distance_follows_its_seed():
    x, y = rows(50, 4, 0), rows(60, 4, 1)
    one, same, other = (kernel_distance(x, y, subsets=5, subset_size=20, seed=s) for s in (0, 0, 1))
    assert one == same != other and one.std > 0


def naive_share(inner, centres, k):
    radii = [sorted(np.linalg.norm(c - o) for o in centres)[k] for c in centres]  # [0] is itself
    reached = [
        any(np.linalg.norm(x - c) <= r for c, r in zip(centres, radii, strict=True)) for x in inner
    ]
    return sum(reached) / len(inner)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_precision_and_recall_are_those_of_the_loops(chunk):
    real, generated = rows(40, 3, 0), rows(30, 3, 1, offset=0.7)
    found = precision_recall(real, generated, neighbours=2, chunk=chunk)
    assert found.precision == naive_share(generated, real, 2)
    assert found.recall == naive_share(real, generated, 2)
    assert 0.2 < found.recall < 1 and 0.2 < found.precision < 1


def test_precision_and_recall_of_what_is_known():
    x = rows(100, 4, 0)
    assert precision_recall(x, x)[:2] == (1.0, 1.0)
    assert precision_recall(x, x + 100)[:2] == (0.0, 0.0)
    few = precision_recall(x, np.repeat(x[:5], 20, axis=0))  # copies of five rows
    assert few.precision == 1.0 and few.recall == 0.05


# ---- mistakes


@pytest.mark.parametrize("score", [frechet.distance, kernel_distance, precision_recall])
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((5, 2)), np.zeros((5, 3)), "features of 2 and of 3 numbers"),
        (np.full((5, 2), np.nan), np.zeros((5, 2)), "NaN or infinite"),
        (np.zeros((5, 2)), np.full((5, 2), np.inf), "NaN or infinite"),
        (np.zeros((5, 2, 2)), np.zeros((5, 2)), "a row for each image"),
        (np.zeros((1, 2)), np.zeros((1, 2)), "images"),
        (np.zeros((0, 2)), np.zeros((5, 2)), "a row for each image"),
    ],
)
def test_what_cannot_be_scored(score, x, y, message):
    with pytest.raises(UserError, match=message):
        score(x, y)


def test_streams_that_cannot_be():
    with pytest.raises(UserError, match="no features"):
        frechet.stream([])
    with pytest.raises(UserError, match="cannot be joined"):
        frechet.stream([np.zeros((2, 3)), np.zeros((2, 4))])
    with pytest.raises(UserError, match="2 images or more"):
        frechet.moments_distance(frechet.moments(np.zeros((1, 3))), frechet.moments(rows(4, 3, 0)))
    with pytest.raises(UserError, match="of one D"):
        frechet.gaussian_distance(np.zeros(2), np.eye(2), np.zeros(2), np.eye(3))


# ---- the command


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / "real.npz", tmp_path / "fake.npz"]
    for seed, path in enumerate(paths):
        np.savez(path, features=rows(60, 8, seed, offset=seed))
    return [str(path) for path in paths]


def test_the_command_prints_what_compare_finds(files, tmp_path, capsys):
    assert feature_scores.main([*files, f"--json={tmp_path / 'out.json'}"]) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    x, y = (np.load(path)["features"] for path in files)
    assert found == feature_scores.compare(x, y)
    assert found["distance"] == frechet.distance(x, y)
    assert found["counts"]["kid_subset_size"] == found["counts"]["precision_recall"] == 60
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["Frechet", "distance"] and "60 and 60 images" in lines[0]


def test_it_runs_as_a_module(files):
    command = [sys.executable, "-W", "error", "-m", "ivg.metrics.frechet", *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert "recall" in done.stdout


def test_precision_and_recall_take_as_many_of_both_sets():
    found = feature_scores.compare(rows(50, 3, 0), rows(30, 3, 1), manifold_images=20)
    assert found["counts"]["precision_recall"] == 20
    assert (
        feature_scores.compare(rows(50, 3, 0), rows(30, 3, 1))["counts"]["precision_recall"] == 30
    )


def test_files_that_are_not_features(files, tmp_path, capsys):
    np.savez(tmp_path / "images.npz", images=np.zeros((3, 8, 8, 3), np.uint8))
    np.savez(tmp_path / "codes.npz", codes=np.zeros((3, 8)))
    np.savez(tmp_path / "object.npz", features=np.array([object()]))
    (tmp_path / "text.npz").write_text("hello")
    for name, message in (
        ("none", "there is no file"),
        ("images", "python -m ivg.frechet_scores"),
        ("codes", "has no array 'features' or 'images', only codes"),
        ("object", "no .npz file of plain arrays"),
        ("text", "no .npz file of plain arrays"),
    ):
        assert feature_scores.main([files[0], str(tmp_path / f"{name}.npz")]) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ") and message in err and err.count("\n") == 1
    assert feature_scores.main(files[:1]) == 2
    assert "required: generated" in capsys.readouterr().err
