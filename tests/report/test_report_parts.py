"""What a page is made of: text that cannot break out, a budget, curves, methods without encoder."""

import base64
import errno
import html.parser
import io
import json
import pathlib
import re

import numpy as np
import pytest
import reported
from PIL import Image
from tiny_models import quick_settings

from ivg.errors import UserError
from ivg.log import read_metrics
from ivg.methods import METHODS
from ivg.report import charts, document, page, sheets, tables, traversals, words
from tests.browser import browser, opened

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>\"&'`"


class Tags(html.parser.HTMLParser):
    """The tags of a page and their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def hostile_run(folder: pathlib.Path) -> tuple[pathlib.Path, dict]:
    """A directory whose every text is an attack."""
    workdir = folder / "<b>run<script>"
    workdir.mkdir()
    (workdir / '<img src=x onerror="alert(3)">.txt').write_text("x")
    own = {HOSTILE: HOSTILE, "beta": 1.0}
    config = {"method": HOSTILE, "data": {"name": HOSTILE}, "seed": 0, "num_steps": 5, HOSTILE: own}
    results = {"method": HOSTILE, "step": 5, HOSTILE: 1.0, "reason": HOSTILE}
    results["clustering"] = {HOSTILE: 0.5}
    results["disentanglement"] = {HOSTILE: {"mean": None, "std": None, "reason": HOSTILE}}
    results["versions"] = {"device": HOSTILE, "commit": HOSTILE}
    (workdir / "results.json").write_text(json.dumps(results))
    (workdir / "metrics.jsonl").write_text(json.dumps({"step": 1, f"G/{HOSTILE}": 1.0}) + "\n")
    (workdir / "config.json").write_text(json.dumps(config))
    return workdir, config


def test_texts_cannot_break_out_of_the_page(tmp_path):
    workdir, config = hostile_run(tmp_path)
    path = page.write_page(workdir, config, None)
    text = path.read_text()
    found = Tags(text).found
    assert not [tag for tag, _ in found if tag == "img"]
    assert sum(tag == "script" for tag, _ in found) == 1  # the page's own
    assert not [a for _, attributes in found for a in attributes if a.startswith("on")]
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    with browser() as running, opened(running, path) as seen:
        seen.page.on("dialog", lambda dialog: seen.complaints.append(dialog.message))
        seen.page.wait_for_timeout(50)
        assert not seen.complaints and not seen.left


def test_hostile_names_in_the_script_s_data(tmp_path):
    config, run = reported.faces_run()
    dataset = run.dataset._replace(attribute_names=("</script><script>alert(1)</script>",))
    with quick_settings():
        text = page.page(tmp_path, config, run._replace(dataset=dataset), running=True)
    scripts = [a for tag, a in Tags(text).found if tag == "script"]
    assert len(scripts) == 2 and scripts[0]["type"] == "application/json"
    inside = re.search(r'id="traversal-data">(.*?)</script>', text, re.DOTALL)[1]
    names = [start["name"] for start in json.loads(inside)["starts"]]
    assert any("</script>" in name for name in names)


def test_the_policy_forbids_the_network(tmp_path):
    workdir, config = hostile_run(tmp_path)
    text = page.page(workdir, config, None)
    (policy,) = [a["content"] for t, a in Tags(text).found if "http-equiv" in a]
    assert "default-src 'none'" in policy and "img-src data:" in policy
    assert "connect-src" not in policy and "http" not in policy


# ---- size ---------------------------------------------------------------------------------------


def noise(run: page.Seen, size: int = 64) -> page.Seen:
    """A method whose images of colour noise can hardly be made smaller, with twelve codes."""
    rng = np.random.default_rng(0)
    table = rng.integers(0, 256, (97, size, size, 3)).astype(np.float32) / 127.5 - 1

    def generate(state, codes):
        number = np.abs(np.asarray(codes["c"]) @ np.arange(1, 13) * 1e3).astype(int) % 97
        return table[number]

    def draw(state, key, n):
        values = np.random.default_rng(1).normal(size=(n, 12)).astype(np.float32)
        return {"c": values}

    code = run.method.codes["r"]._replace(size=12)
    method = run.method._replace(
        codes={"c": code}, prior=draw, generate=generate, encode=None, bounds=None, rates=None
    )
    return run._replace(method=method, dataset=run.dataset._replace(image_shape=(size, size, 3)))


@pytest.fixture
def not_jitted(monkeypatch):
    """These methods are no JAX."""
    monkeypatch.setattr(traversals.jax, "jit", lambda f, **_: f)


@pytest.mark.parametrize("size, starts", [(64, 4), (112, 1)])
def test_a_page_stays_below_its_limit(tmp_path, size, starts, not_jitted):
    config, run = reported.sprites_run()
    path = page.write_page(tmp_path, config, noise(run, size))
    assert 1e6 < path.stat().st_size < document.LIMIT == 8_000_000
    assert len(re.findall('class="start"', path.read_text())) >= starts


def test_fewer_starts_before_fewer_steps_before_fewer_codes(not_jitted):
    _, run = reported.sprites_run()
    arguments = noise(run, 32)[:4]
    sizes = []
    for budget in (8_000_000, 1_500_000, 300_000):
        found = traversals.explore(*arguments, budget=budget)
        spent = sum(len(s.uri) for s in found.sheets) + len(found.thumbs.uri)
        assert spent <= 1.05 * budget
        sizes.append((len(found.starts), found.steps, len(found.sliders)))
    assert sizes[0] == (11, 11, 12)
    assert sizes[0] > sizes[1] > sizes[2] and sizes[2][2] < 12
    assert found.left_out == f"{sizes[2][2]} of 12 dimensions"
    assert traversals.explore(*arguments, budget=1_000) is None


def test_small_images_are_exact():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (7, 8, 8, 3), np.uint8)
    found = sheets.sheet(images, 3)
    assert (found.columns, found.rows) == (3, 3)
    data = base64.b64decode(found.uri.split(",")[1])
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    for i, image in enumerate(images):
        row, column = divmod(i, 3)
        own = pixels[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        np.testing.assert_array_equal(own, image)


# ---- other runs ---------------------------------------------------------------------------------


def test_a_method_without_encoder_starts_from_samples(tmp_path):
    config, run = reported.sprites_run()
    bare = run._replace(method=reported.without_encoder(run.method))
    with quick_settings():
        text = page.page(tmp_path, config, bare, running=True)
    assert "start from sample 1 from the prior" in text and "test image" not in text
    assert 'id="reconstructions"' not in text and 'id="samples"' in text


def test_a_running_page_says_so_and_reads_only(tmp_path):
    config, run = reported.sprites_run()
    line = json.dumps({"step": 3, "G/loss": 1.0}) + "\n"
    (tmp_path / "metrics.jsonl").write_text(line)
    with quick_settings():
        page.write_page(tmp_path, config | {"num_steps": 9}, run, running=True)
    text = (tmp_path / page.NAME).read_text()
    assert ">training</span>" in text and "3 of 9" in text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.jsonl", page.NAME]
    assert (tmp_path / "metrics.jsonl").read_text() == line


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    workdir, config = hostile_run(tmp_path)
    monkeypatch.setattr("ivg.files.os.fsync", full)
    with pytest.raises(UserError, match="make room"):
        page.write_page(workdir, config, None)


def test_every_method_has_its_words():
    for title, about, paper in map(words.method, METHODS):
        assert title and about.endswith(".") and re.search(r"(19|20)\d\d", paper)


def test_every_score_is_on_the_page_with_its_recipe():
    results = {
        "step": 1, "fid": {"distance": 12.5, "features": "Inception", "counts": {"real": 100}},
        "disentanglement": {
            "mig": {"mean": 0.25, "std": 0.125, "values": [0.125, 0.375],
                    "recipe": {"bins": 20, "seeds": [0, 1]}, "details": {"per_factor": [0.5]}},
            "dci": {"mean": None, "std": None, "reason": "needs two codes"}},
        "bounds": {"info_lower": 1.5, "kl": [0.75, 0.0625]}, "something_new": {"deep": 0.875},
    }  # fmt: skip
    text = tables.scores(results)
    wanted = ("12.5", "real 100", "0.2500", "0.1250", "bins 20; seeds 0, 1", "0.5000")
    wanted += ("needs two codes", "1.5000", "0.7500", "something new: deep", "0.8750")
    assert [word for word in wanted if word not in text] == []


# ---- curves -------------------------------------------------------------------------------------


def test_numbered_curves_share_a_panel_and_nothing_infinite_is_drawn(tmp_path):
    lines = [
        {"step": i, "E/kl_01": i / 7, "E/kl_02": 2.0, "D/loss": "nan" if i % 2 else 1e30}
        for i in range(1, 9)
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    found = charts.panels(read_metrics(tmp_path))
    assert {name: len(lines) for name, lines in found.items()} == {"E/kl_i": 2, "D/loss": 1}
    text = charts.curves(read_metrics(tmp_path))
    assert "nan" not in text.lower() and "inf" not in text
    assert text.count('data-x="1 2 3 4 5 6 7 8"') == 2


@pytest.mark.parametrize("value", [0.0, 1e-12, -3e8])
def test_a_constant_or_a_single_point_has_axes(value):
    for count in (1, 5):
        line = charts.Line("", (np.arange(count), np.full(count, value)))
        assert "<text" in charts.figure("G/x", [line])


def test_a_long_series_is_shortened_to_its_means():
    x, y = np.arange(1, 10_001), np.tile([0.0, 2.0], 5_000)
    steps, means, lows, highs = charts.shortened(x, y)
    assert len(steps) == charts.MOST_POINTS and steps[-1] == 10_000
    np.testing.assert_allclose(means, 1.0)
    assert lows.max() == 0.0 and highs.min() == 2.0


def test_ticks_are_round_and_told_apart():
    assert charts.ticks(0.0, 1.0, 4) == pytest.approx([0.0, 0.5, 1.0])
    assert charts.tick_words([0.0, 500.0, 1000.0]) == ["0", "0.5k", "1.0k"]
    assert charts.tick_words([0.998, 0.999, 1.0]) == ["0.998", "0.999", "1.000"]
