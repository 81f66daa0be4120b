"""Several runs on one page, from their directories alone, and the command that writes pages."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from tiny_models import make_config

from ivg.report import __main__ as command_line
from ivg.report import compare, page
from tests.browser import PHONE, browser, opened

STEPS = 20


def make_run(
    folder, *, seed=0, beta=1.0, method="beta_vae", scores=None, last=STEPS, data="digits"
):
    """A run directory with the files that a comparison reads."""
    folder.mkdir(parents=True)
    config = make_config(method, seed=seed, num_steps=STEPS)
    config["data"]["name"] = data
    config[method]["beta"] = beta
    (folder / "config.json").write_text(json.dumps(config))
    lines = [{"step": s, "G/loss": seed + 1 / s, "E/kl_01": 1.0} for s in range(1, last + 1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    if scores is not None:
        results = {"method": method, "data": data, "step": last, "seed": seed} | scores
        (folder / "results.json").write_text(json.dumps(results))
    (folder / "figures").mkdir()
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "figures" / "samples.png")
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two seeds of one config, another beta, another method that is still training."""
    root = tmp_path_factory.mktemp("runs")
    several = root / "several"
    for seed, mse in ((0, 0.25), (1, 0.75)):
        make_run(several / f"seed_{seed}", seed=seed, scores={"reconstruction_mse": mse})
    other = {"reconstruction_mse": 0.125, "clustering": {"nmi": 0.5}}
    make_run(root / "strong", beta=4.0, scores=other)
    make_run(root / "young", method="vae", last=7)
    return [several, root / "strong", root / "young"]


@pytest.fixture(scope="module")
def compared(folders):
    out = folders[0].parent / "out" / "compare.html"
    return compare.write_page(compare.directories(folders), out)


def rows_of(text: str, caption: str) -> list[list[str]]:
    """The cells of a table as text."""
    after = text.split(f"<caption>{caption}</caption>", 1)[1].split("</table>")[0]
    rows = after.split("<tr>")[1:]
    cells = [row.replace("</th>", "</td>").split("</td>")[:-1] for row in rows]
    return [[re.sub(r"<[^>]+>", " ", cell).strip() for cell in row] for row in cells]


def test_groups_are_seeds_of_one_config(folders):
    runs = [compare.read(folder) for folder in compare.directories(folders)]
    assert [run.config["seed"] for run in runs] == [0, 1, 0, 0]
    groups = compare.grouped(runs)
    assert [len(group.runs) for group in groups] == [2, 1, 1]
    labels = ["β-VAE on digits, beta=1.0", "β-VAE on digits, beta=4.0", "VAE on digits"]
    assert [group.label for group in groups] == labels
    assert len({group.color for group in groups}) == 3


def test_means_deviations_and_what_is_missing(compared):
    table = rows_of(compared.read_text(), "Mean ± sample standard deviation over seeds")
    head, *rows = table
    assert [cell[-7:] for cell in head[1:]] == ["(n = 2)", "(n = 1)", "(n = 1)"]
    found = {row[0].split("  ")[0].split(" squared")[0].strip(): row[1:] for row in rows}
    assert found["reconstruction mse"] == ["0.5000 ± 0.3536", "0.1250", "missing"]
    nmi = next(cells for name, cells in found.items() if name.startswith("clustering: nmi"))
    assert nmi == ["missing", "0.5000", "missing"]


def test_a_score_that_some_seeds_lack_says_so():
    runs = [{"a": 1.0}, {"a": 2.0}, {}]
    text = compare.cell("a", runs)
    assert text.startswith("1.5000 ± 0.7071") and "2 of 3 runs" in text
    assert compare.cell("a", runs[:1]) == "1.0000"


def test_differences_and_states(compared):
    text = compared.read_text()
    differing = rows_of(text, "Fields that differ")
    assert [
        "method",
        "&quot;beta_vae&quot;",
        "&quot;beta_vae&quot;",
        "&quot;vae&quot;",
    ] in differing
    own = rows_of(text, "Fields that only some have")
    assert ["beta_vae.beta", "1.0", "4.0", "–"] in own
    states = {row[1].split("/")[-1]: row[3:] for row in rows_of(text, "Runs")[1:]}
    assert states["young"] == ["7 of 20", "training or stopped"]
    assert states["seed_1"] == ["20 of 20", "finished"]


def test_curves_lie_over_each_other(compared):
    text = compared.read_text()
    (figure,) = [f for f in text.split("<figure")[1:] if "<b>loss</b>" in f or "> loss</b>" in f]
    figure = figure.split("</figure>")[0]
    thin = [p for p in figure.split("<path")[1:] if "curve" in p and "thin" in p]
    thick = [p for p in figure.split("<path")[1:] if 'class="curve' in p and "thin" not in p]
    assert len(thin) == 2 and len(thick) == 3
    assert "kl i" not in text  # dimension 1 of one seed is not that of another


def test_the_mean_is_over_common_steps():
    a = (np.array([1, 2, 3]), np.array([1.0, 2.0, 3.0]))
    b = (np.array([2, 3, 4]), np.array([4.0, 5.0, 6.0]))
    steps, values = compare.mean([a, b])
    assert steps.tolist() == [2, 3] and values.tolist() == [3.0, 4.0]
    assert compare.mean([a, (np.array([9]), np.array([1.0]))]) is a


def test_in_a_browser(compared):
    with browser() as running:
        with opened(running, compared, viewport=PHONE, color_scheme="dark") as seen:
            for details in seen.page.locator("details").all():
                details.evaluate("e => { e.open = true; }")
            assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert seen.page.locator(".sides img").count() == 3
            assert seen.page.evaluate(
                "[...document.images].every(i => i.complete && i.naturalWidth > 0)"
            )
            chart = seen.page.locator(".chart").first
            chart.locator("svg").hover()
            assert "seed" in chart.inner_text() or "VAE" in chart.inner_text()
            assert not seen.complaints and not seen.left


def test_pictures_keep_to_the_budget(folders):
    groups = compare.grouped([compare.read(f) for f in compare.directories(folders)])
    assert "too large for this page" in compare.pictures(groups, 300)
    (folders[2] / "figures" / "samples.png").rename(folders[2] / "figures" / "other.png")
    assert compare.MISSING in compare.pictures(groups, 10**6)
    (folders[2] / "figures" / "other.png").rename(folders[2] / "figures" / "samples.png")


def test_hostile_texts(tmp_path):
    text = "<img src=x onerror=alert(1)></script>"
    folder = make_run(tmp_path / text.replace("/", ""), data=text, scores={text: 1.0})
    out = compare.page([compare.read(folder)])
    assert "<img src=x" not in out and out.count("</script>") == 1


# ---- the command --------------------------------------------------------------------------------


def sentence(capsys, *arguments) -> str:
    """What the command says that must refuse its arguments."""
    assert command_line.main([str(a) for a in arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if line.startswith("error: ")]) == 1
    return lines[-1].removeprefix("error: ")


def test_one_run_without_checkpoint_gets_its_page(folders, capsys):
    assert command_line.main([str(folders[2])]) == 0
    said = capsys.readouterr()
    assert str(folders[2] / page.NAME) in said.out and "no checkpoint yet" in said.err
    text = (folders[2] / page.NAME).read_text()
    assert "not finished" in text and "7 of 20" in text and 'class="chart"' in text


def test_several_runs_and_what_is_none(folders, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("no run")
    assert command_line.main([*map(str, folders), "notes.txt", str(folders[1])]) == 0
    said = capsys.readouterr()
    assert "compare.html" in said.out and "notes.txt is no run directory" in said.err
    assert "4 runs in 3 groups" in (tmp_path / "compare.html").read_text()  # each run once
    assert command_line.main([str(folders[1]), "--out=a/b.html"]) == 0
    assert (tmp_path / "a" / "b.html").exists()


def test_mistakes_are_one_sentence(folders, tmp_path, capsys):
    assert "is not a run directory" in sentence(capsys, tmp_path)
    assert "none of the 2 arguments" in sentence(capsys, tmp_path, tmp_path / "absent")
    assert "--help" in sentence(capsys)
    assert "--help" in sentence(capsys, folders[1], "--ot=x")
    (tmp_path / "file").write_text("")
    assert "--out" in sentence(capsys, *folders, f"--out={tmp_path / 'file' / 'c.html'}")
    assert "--out" in sentence(capsys, *folders, f"--out={tmp_path}")
    broken = shutil.copytree(folders[1], tmp_path / "broken")
    (broken / "config.json").write_text("{")
    assert "damaged" in sentence(capsys, broken, folders[2])
    (broken / "config.json").write_text("[]")
    assert "damaged" in sentence(capsys, broken, folders[2])


def test_a_run_that_is_not_of_this_world_still_compares(tmp_path):
    """Results that are cut off, metrics without a whole line, figures that are no images."""
    folder = make_run(tmp_path / "odd", scores={})
    (folder / "results.json").write_text("{")
    (folder / "metrics.jsonl").write_text('{"step": 1')
    (folder / "figures" / "samples.png").write_text("no image")
    text = compare.page([compare.read(folder)])
    assert "No run has scores yet" in text and compare.MISSING in text
