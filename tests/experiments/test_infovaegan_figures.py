"""InfoVAEGAN's Figures 2 and 4: blocks and numbers, on a method that one can see through."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fabricated import VERSIONS, begin, header, picture

from experiments import infovaegan_figures as figures
from experiments import infovaegan_runs
from experiments.running import Task
from ivg import data, runs
from ivg.configs import digits
from ivg.errors import UserError
from ivg.players import Code, Method

SIDE, TILE = 8, 48  # pixels of an image and of what it is enlarged to


def toy(*, classes: int = 3, dim_c: int = 2, error: float = 0.0) -> Method:
    """Rows of an image: c1, c2, the class over the classes, then what stays of the image."""
    codes = {"d": Code("categorical", classes)} if classes else {}
    codes |= {"c": Code("continuous", dim_c, -1.0, 1.0), "z": Code("noise", 1)}

    def generate(s, codes):
        d = codes["d"] @ jnp.arange(classes) / classes if classes else 0.0 * codes["z"][:, 0]
        rows = [codes["c"][:, i] for i in range(dim_c)] + [d, codes["z"][:, 0]]
        column = jnp.stack((rows + [rows[-1]] * SIDE)[:SIDE], axis=1)
        return jnp.broadcast_to(column[:, :, None, None] + error, (len(d), SIDE, SIDE, 1))

    def encode(s, x):
        found = {"c": x[:, :dim_c, 0, 0], "z": x[:, -1:, 0, 0]}
        return found | ({"d": jnp.eye(classes)[jnp.zeros(len(x), int)]} if classes else {})

    def prior(s, key, n):
        return {name: jnp.ones((n, code.size)) for name, code in codes.items()}

    return Method(lambda key: 0.0, (), encode, generate, prior, codes)


def dataset(side: int = SIDE) -> data.Dataset:
    """Images of one value each, which the toy method with error 0 gives back."""
    values = np.arange(0, 250, 10, dtype=np.uint8)
    images = np.broadcast_to(values[:, None, None, None], (len(values), side, side, 1))
    split = data.Split(np.ascontiguousarray(images), None, None)
    return data.Dataset("digits", split, split, (side, side, 1))


def task(method: str, seed: int = 0) -> Task:
    config = json.loads(digits.get_config(method).to_json()) | {"seed": seed}
    return Task(f"digits_{method}", "digits", method, seed, config)


def make_run(workdir, method, *, step=6_000, seed=0):
    own = task(method, seed)
    path = begin(workdir / own.name, own, ())
    results = header(own, step, VERSIONS) | {"reconstruction_mse": 0.125}
    (path / "results.json").write_text(json.dumps(results))
    return path


@pytest.fixture
def trained(monkeypatch):
    """What `load` gives for each method, instead of what a checkpoint holds."""
    methods = {
        "ali": toy(error=0.1),
        "infogan": toy(),
        "infovaegan": toy(error=0.2),
        "infovaegan_invariant": toy(error=0.3),
    }

    def load(run, data_dir):
        method = methods[run.task.method]
        return figures.Trained(run, method, 0.0, dataset(), 6_000, jax.random.key(0))

    monkeypatch.setattr(figures, "load", load)
    return methods


def write(workdir, *arguments):
    out = workdir.parent / "out"
    figures.main([f"--workdir={workdir}", f"--out={out}", "--data=digits", *arguments])
    return out, json.loads((out / "infovaegan_figures_digits.json").read_text())


def test_reconstructions_one_block_under_another(tmp_path, trained, capsys):
    for method in ("infovaegan", "infogan", "ali"):
        make_run(tmp_path / "runs", method)
    out, content = write(tmp_path / "runs")
    rows = content["reconstructions"]
    assert [row["method"] for row in rows] == ["ali", "infogan", "infovaegan"]  # as in the figure
    # Images 1 to 20 hold one value; the class' row is off by (class 0) - value, all by `error`.
    x = np.arange(20) * 10 / 127.5 - 1
    for row, error in zip(rows, (0.1, 0.0, 0.2), strict=True):
        expected = (7 * error**2 + np.mean((error - x) ** 2)) / 8
        assert row["error_of_the_images_shown"] == pytest.approx(expected, rel=1e-4)
        assert row["error_of_the_test_images"] == 0.125
    assert content["figures"] == ["infovaegan_fig2_digits.png", "infovaegan_fig4_digits.png"]
    said = capsys.readouterr().out
    assert (
        f"ALI, 6,000 steps: squared error {rows[0]['error_of_the_images_shown']:.4f} on these, "
        "0.1250 on all test images" in said
    )
    shown = picture(out / "infovaegan_fig2_digits.png")
    # Four blocks of two rows of ten images.
    assert shown.shape[0] > 8 * TILE and 10 * TILE < shown.shape[1] < 12 * TILE


def test_the_originals_are_on_top_and_the_blocks_below():
    x = np.full((20, SIDE, SIDE, 1), 0.5, np.float32)
    block = figures.Reconstructed("a method", -x, {})
    shown = figures.reconstructions(x, [block])[..., 0]
    half = shown.shape[0] // 2
    dark, light = plain(shown, 64), plain(shown, 191)
    few = 100  # pixels at the edges of letters
    assert dark[:half].sum() < few and dark[half:].sum() > 15 * TILE**2
    assert light[:half].sum() > 15 * TILE**2 and light[half:].sum() < few


def plain(shown: np.ndarray, value: int) -> np.ndarray:
    return np.abs(shown.astype(int) - value) <= 1


def test_traversals_move_one_code_in_every_class(tmp_path, trained):
    make_run(tmp_path / "runs", "infogan")
    loaded = figures.load(
        infovaegan_runs.read_runs([tmp_path / "runs" / "digits_infogan_0"])[0], None
    )
    for axis in (0, 1):
        drawn = figures.traversal(loaded, axis)
        assert 3 * TILE < drawn.shape[0] < 5 * TILE  # a row per class
        middle = drawn.shape[1] // 2
        black = plain(drawn[-3 * TILE :], 0)
        assert black[:, :middle].sum() > 3 * TILE and not black[:, middle:].any()  # c from -1 ...
    one, two = (figures.traversal(loaded, axis) for axis in (0, 1))
    assert one.shape == two.shape and np.any(one != two)
    assert figures.traversals([loaded]).shape == (one.shape[0], 2 * one.shape[1], 3)


def test_without_classes_the_rows_are_test_images():
    run = infovaegan_runs.running.Run(task("infogan"), None, {}, None, {})
    trained = figures.Trained(run, toy(classes=0), 0.0, dataset(), 10, jax.random.key(0))
    values = np.linspace(-1, 1, figures.COLUMNS)
    images = figures.image_traversal(trained, 1, values)
    assert images.shape == (figures.ROWS, figures.COLUMNS, SIDE, SIDE, 1)
    own = np.arange(figures.ROWS) * 10 / 127.5 - 1
    for i, value in enumerate(own):
        np.testing.assert_allclose(images[i, :, 1, 0, 0], values, atol=1e-6)  # the moving code
        np.testing.assert_allclose(images[i, :, 0, 0, 0], value, atol=1e-6)  # the image's own c1
        np.testing.assert_allclose(images[i, :, 3:, 0, 0], value, atol=1e-6)  # and its z


def test_a_run_of_another_size_is_refused(tmp_path, trained):
    make_run(tmp_path, "ali")
    loaded = figures.load(infovaegan_runs.read_runs([tmp_path / "digits_ali_0"])[0], None)
    with pytest.raises(UserError, match="images of 8x8, not 4x4 as the first run"):
        figures.reconstruct(loaded, np.zeros((2, 4, 4, 1), np.float32))


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ([], "has none of digits_ali_0, .*train them with experiments.infovaegan_table1"),
        (["--methods=vae"], '--methods knows no "vae"'),
        (["--images=0"], "--images=0 must be at least 1"),
        (["--folders", "nowhere"], "nowhere is not a run directory"),
        (["--folders", "digits_gan_0"], "none of these runs belongs in a figure"),
        (["--folders", "digits_ali_0", "mnist"], "the runs are of digits, mnist"),
    ],
)
def test_mistakes_are_one_sentence(arguments, sentence, tmp_path, trained, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for method in ("gan", "ali"):
        make_run(tmp_path, method)
    other = task("infogan")
    other.config["data"]["name"] = "mnist"
    begin(tmp_path / "mnist", other, ())
    with pytest.raises(UserError, match=sentence):
        figures.main(["--workdir=empty", "--data=digits", *arguments])


def test_a_run_of_an_older_version_gets_what_it_lacks(monkeypatch):
    config = task("infogan").config
    old = {name: value for name, value in config.items() if name != "attribute_scores"}
    old["data"] = {"name": "digits", "image_size": 0}
    new = figures.complete(old)
    assert new["attribute_scores"] == config["attribute_scores"]
    assert new["data"].keys() == config["data"].keys() and new["data"]["name"] == "digits"
    assert new["infogan"] == config["infogan"] and "attribute_scores" not in old


def test_a_run_is_restored_with_its_own_config(tmp_path, monkeypatch):
    asked = []

    def last_state(config, folder):
        asked.append((config, folder))
        return SimpleNamespace(method=toy(), dataset=dataset(), eval_key=None), 2.0, 70

    monkeypatch.setattr(runs, "last_state", last_state)
    (run,) = infovaegan_runs.read_runs([make_run(tmp_path, "infogan", seed=3)])
    loaded = figures.load(run, tmp_path)
    assert asked == [(run.config, run.folder)]  # the digits have no directory
    assert (loaded.name, loaded.state, loaded.step) == ("InfoGAN", 2.0, 70)
    mnist = run._replace(task=run.task._replace(data="mnist"))
    figures.load(mnist, tmp_path)
    assert asked[1][0]["data"]["dir"] == str(tmp_path) and run.config["data"]["dir"] == ""
    # The scores of another step say nothing of this state.
    found = figures.reconstruct(loaded, figures.test_images(loaded, 3))
    assert found.numbers["error_of_the_test_images"] is None and "all test" not in found.title
