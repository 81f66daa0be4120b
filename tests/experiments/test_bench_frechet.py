"""The bench of the Frechet distance: a tiny one, its file and its page."""

import json
import sys

import numpy as np
import pytest
from fabricated import cells

from experiments import bench_frechet
from ivg.errors import UserError
from ivg.metrics import frechet

SIZES = ["--images=1200", "--dims=8", "--threads=1"]


def test_features_are_drawn_in_chunks_and_correlated():
    parts = list(bench_frechet.chunks(1200, 8, 1))
    assert [len(part) for part in parts] == [500, 500, 200]
    x = np.concatenate(parts)
    assert x.dtype == np.float32 and x.min() >= 0
    assert np.abs(np.corrcoef(x, rowvar=False) - np.eye(8)).max() > 0.1


def test_streaming_finds_the_distance_of_the_whole():
    sets = [np.concatenate(list(bench_frechet.chunks(1200, 8, seed))) for seed in (1, 2)]
    row = bench_frechet.measure("frechet", 1200, 8)
    assert row["value"] == pytest.approx(frechet.distance(*sets), rel=1e-9)
    assert row["wall_seconds"] > 0 and row["peak_gib"] > 0


def test_rows_are_added_and_replaced(tmp_path, monkeypatch, capsys):
    for parts in ("frechet,precision_recall", "frechet"):
        command = ["bench_frechet", *SIZES, f"--parts={parts}", f"--out={tmp_path}"]
        monkeypatch.setattr(sys, "argv", command)
        bench_frechet.main()
    rows = json.loads((tmp_path / "bench_frechet.json").read_text())
    assert [row["part"] for row in rows] == ["frechet", "precision_recall"]
    assert {row["threads"] for row in rows} == {1}
    page = (tmp_path / "bench_frechet.md").read_text()
    assert cells(page, "`frechet`")[1:4] == ["2 x 1,200", "8", "1"]
    assert page in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["bench_frechet", "--parts=fid"])
    with pytest.raises(UserError, match='--parts knows no "fid"'):
        bench_frechet.main()
