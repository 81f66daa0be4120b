"""Reports, comparisons and model cards of runs whose every text is an attack."""

import html.parser
import json
import pathlib
import re
from typing import Any

import hostile
import pytest
from exported import tiny

from ivg import export, model_card, programs
from ivg.report import __main__ as command
from ivg.report import charts, document, page
from tests.browser import browser, opened

TEXTS = hostile.TEXTS
# Elements and attributes that a page of ours never has.
ALIEN = {"img", "iframe", "object", "embed", "base", "form", "link", "math", "a", "animate"}


class Tags(html.parser.HTMLParser):
    """The tags of a page, their attributes, and what stands in its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def texts_of(name: str, text: str) -> tuple[dict, dict, list[dict]]:
    """config.json, results.json and metrics.jsonl in which every free text is this one."""
    score = {"mean": 0.5, "std": 0.1, "values": [0.4, 0.6], "recipe": {text: text, "n": [text]}}
    config = {"method": name, "data": {"name": text, text: text}, "seed": 0, "num_steps": 2}
    config |= {name: {text: text, "network": {"name": text}}, "tracker": text}
    swap = {text: {"accuracy": 0.5, "classifier_accuracy": 0.9, "reason": text}}
    bits = {pair: {"mean": 1.0, "std": 0.1, "values": [1.0]} for pair in ("c;y", "z;y", "z;c")}
    both = {"linear": 0.5, "boosted": 0.5}
    results = {
        "method": text, "data": text, "step": 2, "seed": 0, text: text, "reconstruction_mse": 0.1,
        "clustering": {text: 0.5, "nmi": 0.4}, "kmeans": {text: 0.5, "nmi": 0.1},
        "bounds": {text: 0.1, "kl": [0.1, 0.2]},
        "rates": [0.1], "log_likelihood/x": {text: [text, {text: text}]},
        "disentanglement": {text: score, "mig": score | {"reason": text, "details": {text: text}}},
        "fid": {"distance": 1.0, "features": text, "weights_sha256": text, text: text},
        "attributes": {"information": bits | {"recipe": {text: text}, "entropy_y": 1.0},
                       "swap": swap, "leak": [{"name": text, "kind": text, "measure": text,
                       "chance": 0.1, "c": both, "z": both, "train": 5, "test": 5}]},
        "versions": {"device": text, "commit": text, text: text, "ivg": text},
        "cost": {text: text, "seconds": 3.0},
        "figures": [text],
    }  # fmt: skip
    lines = [{"step": i, f"G/{text}": float(i), f"{text}/loss": 1.0, text: 2.0} for i in (1, 2)]
    return config, results, lines


def run(folder: pathlib.Path, name: str, text: str) -> pathlib.Path:
    """A run directory of these; the text is in the names of files too."""
    own = re.sub(r"[/\x00]", "_", text)[:100]
    workdir = folder / f"run {own}"
    workdir.mkdir(parents=True)
    config, results, lines = texts_of(name, text)
    (workdir / "config.json").write_text(json.dumps(config))
    (workdir / "results.json").write_text(json.dumps(results))
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (workdir / own).write_text("x")
    return workdir


def places(tree: Any) -> int:
    """How many texts and names of a tree are free."""
    if isinstance(tree, dict):
        return sum((name in TEXTS) + places(value) for name, value in tree.items())
    if isinstance(tree, list):
        return sum(map(places, tree))
    return tree in TEXTS if isinstance(tree, str) else 0


def assert_ours(text: str, scripts: int = 1) -> None:
    """Nothing in the HTML is anybody else's."""
    found = Tags(text).found
    assert not [tag for tag, _ in found if tag in ALIEN - {"a"}]
    assert sum(tag == "script" for tag, _ in found) == scripts
    for tag, attributes in found:
        assert not [a for a in attributes if a.startswith("on") or "marked" in a], (tag, attributes)
        assert tag != "a" or attributes["href"].startswith("#"), attributes
        assert "style" not in attributes or "url" not in attributes["style"], attributes
    (policy,) = [a["content"] for t, a in found if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == document.POLICY
    heads = [t for t, a in found if "http-equiv" in a]
    assert len(heads) == 1


def test_every_text_of_a_run_stays_text(tmp_path, figure):
    """In its own page and in one that compares; then all at once in a real browser."""
    folders, escaped = [], 0
    for i, text in enumerate(TEXTS):
        folders.append(run(tmp_path / str(i), text if i % 2 else "vae", text))
        assert command.main([str(folders[-1])]) == 0
        assert_ours((folders[-1] / page.NAME).read_text(encoding="utf-8"))
        config, results, lines = texts_of("vae", text)
        escaped += places([config, results, lines])
    out = tmp_path / "compare.html"
    assert command.main([*map(str, folders), f"--out={out}"]) == 0
    assert_ours(out.read_text(encoding="utf-8"))
    with browser() as running:
        for path in (out, *(folder / page.NAME for folder in folders[:2])):
            with opened(running, path) as seen:
                seen.page.on("dialog", lambda dialog: seen.complaints.append(dialog.message))
                seen.page.evaluate("document.querySelectorAll('details').forEach(e => e.open = 1)")
                seen.page.wait_for_timeout(20)
                assert hostile.unharmed(seen.page), path
                assert not seen.complaints and not seen.left, (path, seen.complaints, seen.left)
        # The control: the same texts as HTML do all of that.
        raw = tmp_path / "raw.html"
        raw.write_text("<!doctype html><body>" + "".join(TEXTS[:8]))
        with opened(running, raw) as seen:
            seen.page.wait_for_timeout(50)
            assert not hostile.unharmed(seen.page)
    figure("security", "hostile texts in pages", escaped)


def test_names_in_the_script_s_data_stay_text():
    """Attributes and classes stand there too."""
    for text in TEXTS:
        found = document.script_data("traversal-data", {"starts": [{"name": text}], text: [text]})
        (tag,) = Tags(found).found
        inside = re.search(r">(.*?)</script>", found, re.DOTALL)[1]
        assert tag[0] == "script" and "<" not in inside
        assert json.loads(inside)["starts"][0]["name"] == text


def broken(value: object) -> list[tuple[str, str]]:
    """(file, content) with a value of another kind in each place that is a number or a list."""
    made = []

    def walk(tree: Any, put) -> None:
        if isinstance(tree, dict):
            for name in tree:
                walk(tree[name], lambda x, name=name, tree=tree: put({**tree, name: x}))
        elif isinstance(tree, list) and tree and isinstance(tree[0], dict):
            walk(tree[0], lambda x: put([x]))
        if not isinstance(tree, str):
            made.append(put(value))

    config, results, lines = texts_of("vae", "plain")
    walk(config, lambda x: ("config.json", json.dumps(x)))
    walk(results, lambda x: ("results.json", json.dumps(x)))
    walk(lines[0], lambda x: ("metrics.jsonl", json.dumps(x) + "\n"))
    return made


def test_values_of_another_kind_are_a_page_or_one_sentence(tmp_path, capsys, amount, figure):
    values = [TEXTS[0], None, [[]], {"a": {}}, -1, 1e400, True, [TEXTS[1]], {TEXTS[2]: TEXTS[3]}]
    workdir, tried = run(tmp_path, "vae", "plain"), 0
    whole = {path.name: path.read_text() for path in workdir.glob("*.json*")}
    for value in values[: amount(1, len(values))]:
        for name, content in broken(value):
            (workdir / name).write_text(content)
            out = tmp_path / "compare.html"
            for arguments in ([str(workdir)], [str(workdir), f"--out={out}"]):
                code = command.main(arguments)
                said = capsys.readouterr()
                if code == 2:
                    assert said.err.splitlines()[-1].startswith("error: "), said.err
                    assert said.err.count("error: ") == 1 and said.err.count("\n") <= 2, said.err
                else:
                    assert_ours((out if len(arguments) > 1 else workdir / page.NAME).read_text())
            (workdir / name).write_text(whole[name])
            tried += 1
    figure("security", "hostile values in a run's files", tried)


# ---- the model card -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def about() -> dict:
    """What a card is made of."""
    model = tiny("mmvae")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "compare", lambda *_: "not compared")
        made = programs.Programs(programs.functions_of(model), {}, {})
        sizes = dict.fromkeys([f"{n}.jax_export" for n in made.functions], {"bytes": 1})
        sizes["weights.safetensors"] = {"bytes": 1}
        return export.describe(model, made, {}, sizes, {"ivg": "0"})


@pytest.mark.parametrize("text", TEXTS)
def test_a_card_stays_markdown(about, text):
    """Names are in code spans; what is YAML or Python is quoted as such."""
    found = json.loads(json.dumps(about))
    found |= {"attributes": [text, "Hat"], "classes": [text], "data": text}
    found["run"]["mmvae"] |= {"hostile": text, text: [text]}
    _, results, _ = texts_of("mmvae", text)
    del results["log_likelihood/x"]
    kept = ("clustering", "kmeans", "disentanglement", "attributes", "step")
    found["results"] = {name: results[name] for name in kept} | {"method": text, "x": 0.5}
    found["trained_with"] = {"commit": text, text: text}
    card = model_card.card(found)
    for fence in re.findall(r"```.*?```", card, re.DOTALL):
        assert fence.count("```") == 2
    bare = re.sub(r"```.*?```", "", card, flags=re.DOTALL)
    bare = re.sub(r"`[^`\n]*`", "", bare)
    assert "<" not in bare and "marked" not in bare, bare[max(bare.find("<"), 0) - 80 :][:200]
    head = card.split("---")[1]
    assert set(re.findall(r"^\S+?(?=:)", head, re.MULTILINE)) == {"library_name", "tags"}
    for block in re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1, block


def test_curves_of_hostile_names_stay_curves():
    for text in TEXTS:
        series = {f"{text}_1": ([1, 2], [1.0, 2.0]), f"{text}_2": ([1, 2], [1.0, 2.0])}
        found = Tags(charts.curves(series)).found
        assert {tag for tag, _ in found} <= {"div", "figure", "figcaption", "b", "span", "output",
                                             "svg", "path", "text", "g", "circle", "p", "details",
                                             "summary"}  # fmt: skip
