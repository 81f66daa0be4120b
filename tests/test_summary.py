"""What a finished run prints: few lines, and three commands that a shell takes as they are."""

import ast
import shlex

import pytest

from ivg import runs, summary

CLUSTERS = {"accuracy_one_to_one": 0.9389, "accuracy_many_to_one": 0.9389, "nmi": 0.9, "ari": 0.88}
BOUND = {"bound": -68.9, "kl_c": 1.13, "kl_d": 2.28, "kl_z": 0.95, "log_likelihood": -64.6}
FEATURES = {"distance": 12.5, "kid_mean": 0.01, "kid_std": 0.002, "precision": 0.7, "recall": 0.6}
RESULTS = {
    "step": 6000,
    "method": "infovaegan",
    "data": "digits",
    "clustering": CLUSTERS,
    "kmeans": CLUSTERS,
    "reconstruction_mse": 0.0945,
    **{f"log_likelihood/{name}": value for name, value in BOUND.items()},
    "fid": {"features": "Inception-v3", **FEATURES},
    "figures": [f"figures/{i}.png" for i in range(9)],
}


def words_of(line: str) -> list[str]:
    """The command of a line of `next_lines`, as a shell takes it apart."""
    return shlex.split(line[line.index("python") :])


def test_a_finished_run_fits_on_a_screen(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    workdir = tmp_path.relative_to(tmp_path) / "runs" / "digits"
    runs.report(RESULTS, workdir)
    runs.suggest(workdir)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 80
    assert lines[1] == "step 6000: infovaegan on digits"
    assert [line.split() for line in lines if "nmi" in line] == [["nmi", "0.9000", "0.9000"]]
    together = " ".join(" ".join(lines).split())
    for name, value in (BOUND | FEATURES).items():
        assert f" {name} {value:.4f}" in together
    assert "  pictures  runs/digits/figures (9 files)" in lines
    assert not any("report.html" in line for line in lines)


@pytest.mark.parametrize("name", ["digits", "my 'own' $runs", 'ä "b" \\c'])
def test_what_to_do_next_can_be_pasted(name, tmp_path):
    workdir = tmp_path / name
    workdir.mkdir()
    _, *commands = summary.next_lines(workdir)
    look, explore, load = map(words_of, commands)
    assert look == ["python", "-m", "ivg.report", str(workdir)]
    assert explore == ["python", "-m", "ivg.explore", f"--workdir={workdir}"]
    call = ast.parse(load[-1]).body[1].value
    assert load[:2] == ["python", "-ic"] and ast.unparse(call.func) == "ivg.load"
    assert ast.literal_eval(call.args[0]) == str(workdir)
    (workdir / "report.html").write_text("")
    look = words_of(summary.next_lines(workdir)[1])
    assert look == ["python", "-m", "webbrowser", (workdir / "report.html").as_uri()]


def test_several_runs_are_compared_and_one_is_explored(tmp_path):
    _, *commands = summary.next_lines(tmp_path, tmp_path / "seed_4")
    look, explore, load = map(words_of, commands)
    assert look == ["python", "-m", "ivg.report", str(tmp_path)]
    assert explore[-1] == f"--workdir={tmp_path / 'seed_4'}" and "seed_4" in load[-1]


def test_scores_of_several_seeds():
    def table(values: list[float]) -> list[list[str]]:
        rows = [{"seed": i, "nmi": v, "long/name": -v} for i, v in enumerate(values)]
        lines = summary.seed_lines(runs.summarise(rows))
        assert len({len(line) for line in lines}) == 1  # columns
        return [line.split() for line in lines]

    assert table([0.5, 0.7])[0] == ["nmi", "0.6000", "+-", "0.1414", "0.5000", "0.7000"]
    many = table([i / 10 for i in range(1, 9)])[1]
    assert many == ["long/name", "-0.4500", "+-", "0.2449", "-0.8000", "to", "-0.1000"]


def test_few_of_many_factors_are_shown():
    """Those of which c tells most beyond chance; the others are counted."""
    rows = [
        {"name": f"f{i}", "measure": "R2", "chance": 0.0, "c": {"boosted": i / 10},
         "z": {"boosted": 0.0}} for i in range(9)
    ]  # fmt: skip
    bits = {
        "entropy_y": 1.0,
        **{pair: {"mean": 0.5, "std": None} for pair in ("c;y", "z;y", "z;c")},
    }
    lines = summary.attribute_lines({"information": bits, "swap": {}, "leak": rows})
    assert [line.split()[0] for line in lines[-7:-1]] == ["f8", "f7", "f6", "f5", "f4", "f3"]
    assert lines[-1] == "    and 3 factors of which c tells less"
    assert "I(z;c)" in lines[3] and lines[3].endswith("0.5000                 -")
