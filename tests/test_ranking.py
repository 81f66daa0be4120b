"""Ranking run directories: what the comparisons are made of, the rows, and the command."""

import contextlib
import io
import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from ivg import build, checkpoint, rundir
from ivg.configs import digits
from ivg.errors import UserError
from ivg.metrics import selection
from ivg.players import Code, Method
from ivg.ranking import __main__ as program
from ivg.ranking import compare

STEPS = 3
# Of the 8 * 64 + 1000 images, 500 at a time, so that nothing is compiled for another size.
CHUNKS = [np.minimum(np.arange(start, start + 500), 1511) for start in (0, 500, 1000, 1500)]
RUNS = (("vae", 0), ("vae", 1), ("vae", 2), ("infogan", 0))


def config(method: str, seed: int) -> dict:
    section = digits.get_config(method)
    section.seed, section.num_steps, section.batch_size = seed, STEPS, 16
    section[method].network.width = 8
    if method == "vae":
        section.vae.dim_z = 4
    return json.loads(section.to_json())


def trained(root: pathlib.Path) -> list[pathlib.Path]:
    """Run directories with true scores as results.json would have them.

    The VAEs took three steps, with shared functions; the GAN has arbitrary numbers for weights:
    compiling is what costs.
    """
    folders = [root / f"{method}_{seed}" for method, seed in RUNS]
    init, step = None, None
    for folder, (method, seed) in zip(folders, RUNS, strict=True):
        own = config(method, seed)
        run = build.build(own)
        init, step = init or jax.jit(run.method.init), step or jax.jit(run.method.step)
        with jax.set_mesh(run.mesh):
            if method == "vae":
                state = init(run.init_key)
                x = run.dataset.train.images[:16].astype(np.float32)[None] / 127.5 - 1
                for _ in range(STEPS):
                    state, _ = step(state, x, run.train_key)
            else:
                state = arbitrary(jax.eval_shape(run.method.init, run.init_key))
        rundir.claim(folder, own)
        checkpoint.save(build.checkpoints(folder), STEPS, state, keep=1)
        truth = {"factor_vae": {"mean": 0.5 + 0.1 * seed}, "mig": {"mean": None}}
        rundir.write_json(folder / "results.json", {"step": STEPS, "disentanglement": truth})
    return folders


def arbitrary(shapes):
    """A state of normal weights; batch statistics are all 1, as no variance is negative."""
    rng = np.random.default_rng(0)

    def leaf(path, shape):
        ones = ".stats" in jax.tree_util.keystr(path)
        values = np.ones(shape.shape) if ones else rng.normal(size=shape.shape, scale=0.3)
        return jax.device_put(values.astype(shape.dtype))

    return jax.tree_util.tree_map_with_path(leaf, shapes)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[pathlib.Path]:
    """Three seeds of a VAE and a GAN."""
    return trained(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def loaded(folders):
    return compare.load(compare.check(folders, "all", 2, 1), lambda line: None)


@pytest.fixture(scope="module")
def ranked(folders, loaded, tmp_path_factory) -> tuple[list[str], pathlib.Path]:
    """What the command prints of all four, and the folder that it makes.

    It gets the runs as they are loaded already, with their compiled functions.
    """
    out = tmp_path_factory.mktemp("out") / "new" / "ranking"
    flags = ["--images=60", "--votes=8", f"--out={out}", "--sort=centrality"]
    with contextlib.redirect_stdout(printed := io.StringIO()), pytest.MonkeyPatch.context() as m:
        m.setattr(compare, "load", lambda configs, report: loaded)
        assert program.main([*map(str, folders), *flags]) == 0
    return printed.getvalue().splitlines(), out


@pytest.fixture(scope="module")
def found(ranked) -> dict:
    return json.loads((ranked[1] / "ranking.json").read_text())


def means(candidate, x) -> np.ndarray:
    return np.asarray(candidate.functions.encode(candidate.state, x)["codes"])


def test_udr_is_that_of_the_codes_of_the_first_test_images(found, folders, loaded):
    candidates, dataset, _ = loaded
    x = dataset.test.images[:60].astype(np.float32) / 127.5 - 1
    codes = [means(c, x) for c in candidates]
    rates = [np.asarray(c.functions.encode(c.state, x)["rates"]).mean(axis=0)
             for c in candidates[:3]]  # fmt: skip
    assert [c.shape[1] for c in codes] == [4, 4, 4, 2]
    expected = selection.udr(codes, [*rates, None])
    for r in found["runs"]:
        i = folders.index(pathlib.Path(r["folder"]))
        assert r["udr"] == pytest.approx(expected.scores[i], rel=1e-4)
        assert r["informative"] == len(expected.informative[i])
    assert found["recipe"]["images"] == 60


def test_centrality_is_that_of_the_votes_of_every_pair(found, folders, loaded):
    candidates, _, _ = loaded
    table = np.full((4, 4), np.nan)
    for i, source in enumerate(candidates):
        codes, fixed = compare.factors(source, 8, jax.random.fold_in(jax.random.key(0), i))
        assert len(fixed) == 8
        chunks = [{k: v[rows] for k, v in codes.items()} for rows in CHUNKS]
        x = [source.functions.generate(source.state, c) for c in chunks]
        for j, other in enumerate(candidates):
            if i != j:
                seen = np.concatenate([means(other, part) for part in x])
                variances = seen[512:1512].var(axis=0, ddof=1)
                seen = seen[:512].reshape(8, 64, -1)
                table[i, j] = selection.factor_agreement(seen, fixed, variances)
    pairs = np.array(found["pairs"]["centrality"], float)
    np.testing.assert_allclose(pairs, table, atol=0.13)  # one vote of 8 may hang by rounding
    scores = selection.model_centrality(pairs).scores
    for r in found["runs"]:
        assert r["centrality"] == scores[folders.index(pathlib.Path(r["folder"]))]


def test_each_group_of_codes_shares_one_dimension_in_turn(loaded):
    candidates, _, _ = loaded
    codes, fixed = compare.factors(candidates[0], 3, jax.random.key(1))
    assert list(fixed) == [0, 1, 2, 3] * 2  # two votes for each dimension at least
    assert codes["z"].shape == (8 * 64 + compare.VARIANCE_IMAGES, 4)
    groups = codes["z"][: 8 * 64].reshape(8, 64, 4)
    for group, dim in zip(groups, fixed, strict=True):
        assert [len(np.unique(group[:, d])) for d in range(4)] == [
            1 if d == dim else 64 for d in range(4)
        ]
    assert len(np.unique(codes["z"][8 * 64 :, 0])) == compare.VARIANCE_IMAGES
    codes, fixed = compare.factors(candidates[3], 8, jax.random.key(1))
    assert set(codes) == {"d", "c", "z"} and set(fixed) == {0, 1}  # only c is a factor
    assert len(np.unique(codes["c"][:64, 0])) == 1 and len(np.unique(codes["z"][:64, 0])) == 64


def test_rows_places_and_the_truth(found, folders):
    rows = found["runs"]
    for name in ("udr", "centrality"):
        best_first = sorted(rows, key=lambda r: r[f"{name}_rank"])
        scores = [r[name] for r in best_first]
        assert scores == sorted(scores, reverse=True) and best_first[0][f"{name}_rank"] == 1
    places = [r["centrality_rank"] for r in rows]
    assert places == sorted(places)  # as asked for
    assert {(r["method"], r["seed"]) for r in rows} == set(RUNS)
    truths = [r["scores"]["factor_vae"] for r in rows]
    assert sorted(truths) == pytest.approx([0.5, 0.5, 0.6, 0.7])
    for name in ("udr", "centrality"):
        rho = scipy.stats.spearmanr([r[name] for r in rows], truths).statistic
        assert found["correlation"][name] == pytest.approx(rho)


def test_groups_compare_runs_of_their_own(folders, loaded):
    candidates, dataset, _ = loaded
    codes = compare.encoded(candidates, dataset, 60)
    configs = [c.config for c in candidates]
    assert list(compare.grouped(configs, "method").values()) == [[0, 1, 2], [3]]
    other = configs[1] | {"vae": configs[1]["vae"] | {"beta": 2.0}, "log_every": 7}
    changed = [configs[0], other, configs[2]]
    assert list(compare.grouped(changed, "settings").values()) == [[0, 2], [1]]
    alone = compare.compare(candidates[:3], codes[:3], "all", "spearman")
    both = compare.compare([*candidates[:3]] + [candidates[3]] * 3, [*codes[:3]] + [codes[3]] * 3,
                           "method", "spearman")  # fmt: skip
    np.testing.assert_allclose(both.scores[:3], alone.scores)
    assert np.isnan(both.pairs[:3, 3:]).all()
    assert candidates[0].functions is candidates[1].functions  # compiled once


def test_the_truth_counts_only_where_it_is_of_this_step(tmp_path):
    assert compare.known(tmp_path, 3) == {}
    rundir.write_json(
        tmp_path / "results.json", {"step": 3, "disentanglement": {"factor_vae": {"mean": 0.5}}}
    )
    assert compare.known(tmp_path, 3) == {"factor_vae": 0.5} and compare.known(tmp_path, 4) == {}
    rows = [{"udr": u, "scores": {"factor_vae": 0.5}} for u in (0.1, 0.2, 0.3)]
    assert compare.correlation(rows, "udr") is None  # one value only
    assert compare.correlation(rows[:2], "udr") is None


def test_methods_that_cannot_be_ranked():
    method = Method(None, (), lambda s, x: {}, None, None, {"c": Code("continuous", 2)})
    compare.check_method(pathlib.Path("a"), "toy", method)
    for changes, words in (
        ({"encode": None}, "a: toy infers no codes"),
        ({"num_attributes": 1}, "images and their attributes"),
        ({"codes": {"c": Code("continuous", 1), "d": Code("categorical", 9)}}, "1 continuous"),
    ):
        with pytest.raises(UserError, match=words):
            compare.check_method(pathlib.Path("a"), "toy", method._replace(**changes))


def test_a_diverged_run_is_named(loaded):
    candidates, dataset, _ = loaded
    bad = candidates[1]._replace(
        folder=pathlib.Path("bad"), state=jax.tree.map(lambda a: a * jnp.nan, candidates[1].state)
    )
    with pytest.raises(UserError, match="bad gives codes that are not finite"):
        compare.encoded([candidates[0], bad], dataset, 60)
    with pytest.raises(UserError, match="not finite for images of bad"):
        compare.score(bad, candidates[0], np.full((1064, 2), np.nan), np.array([0]))


# ---- the command --------------------------------------------------------------------------------


def test_the_command_prints_the_table_and_writes_files(ranked, folders, found):
    printed, out = ranked
    names = [str(f) for f in folders]
    assert any(f"images of {names[3]} (4 of 4)" in line for line in printed)
    head = next(i for i, line in enumerate(printed) if line.startswith("run "))
    cells = [line.split() for line in printed[head + 1 : head + 5]]
    for c, r in zip(cells, found["runs"], strict=True):
        assert c[:3] == [r["folder"], r["method"], str(r["seed"])]
        assert c[3:6] == [f"{r['udr']:.4f}", str(r["udr_rank"]), str(r["informative"])]
        assert c[6:8] == [f"{r['centrality']:.4f}", str(r["centrality_rank"])]
    page = (out / "ranking.md").read_text()
    assert all(f"| {name} |" in page for name in names) and "8 votes of 64 images" in page
    assert (out / "ranking.png").read_bytes().startswith(b"\x89PNG")


def refused(capsys, *arguments) -> str:
    assert program.main([str(a) for a in arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1
    return err


def test_runs_that_cannot_be_compared(folders, tmp_path, capsys):
    a, b, c, gan = folders
    assert "2 run(s) cannot be ranked" in refused(capsys, a, b)
    assert "named twice" in refused(capsys, a, b, c, f"{a}/../{a.name}")
    assert "not a run directory" in refused(capsys, a, b, tmp_path)
    assert "no other runs" in (text := refused(capsys, *folders, "--group=method"))
    assert gan.name in text and "--group=all" in text
    rundir.claim(tmp_path / "new", config("vae", 3))
    assert "holds no checkpoint" in refused(capsys, a, b, tmp_path / "new")
    other = config("vae", 3)
    other["data"]["test_fraction"] = 0.5
    rundir.claim(tmp_path / "other", other)
    text = refused(capsys, a, b, tmp_path / "other")
    assert "different data (data.test_fraction: 0.1 -> 0.5)" in text


@pytest.mark.parametrize(
    "flags, words",
    [(["--votes=0"], "votes=0"), (["--images=x"], "--images"), (["--group=none"], "--group")]
    + [([], "the following arguments are required: runs; see --help")],
)
def test_flags(flags, words, capsys):
    runs = ["a", "b", "c"] if flags else []
    assert words in refused(capsys, *runs, *flags)


def test_an_output_folder_that_cannot_be(folders, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert "use another --out" in refused(capsys, *folders, f"--out={tmp_path / 'file' / 'x'}")


def test_it_runs_as_a_module(tmp_path):
    command = [sys.executable, "-m", "ivg.ranking", *(str(tmp_path / n) for n in "abc")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ") and "not a run directory" in done.stderr
