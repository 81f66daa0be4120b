"""What the tests of the explorer share: tiny run directories, untrained, and a server of them."""

import contextlib
import importlib.util
import io
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import command
import jax
import numpy as np
import pytest
from PIL import Image
from tiny_models import NAMES, SMALL

from ivg import build, checkpoint, rundir
from ivg.configs import digits


def photos(folder: pathlib.Path, count: int = 40) -> pathlib.Path:
    """Images of 16x16 pixels with two attributes."""
    folder.mkdir()
    rng, lines = np.random.default_rng(0), [",".join(("file", *NAMES))]
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / f"{i:02d}.png")
        lines.append(f"{i:02d}.png,{i % 2},{i // 2 % 2}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


def make_run(workdir: pathlib.Path, method: str, **fields: object) -> pathlib.Path:
    """The run directory of a method on the digits, or on photos; `fields` are of its section."""
    config = json.loads(json.dumps(digits.get_config(method).to_dict()))
    own = config[method]
    own |= {name: value for name, value in SMALL.items() if name in own} | fields
    if method in ("mmvae", "csvae", "r_cvae"):
        folder = photos(workdir.with_name(f"{workdir.name}_photos"))
        config["data"] |= dict(name="images", dir=str(folder), image_size=16, test_fraction=0.5)
        config["attributes"] = list(NAMES)
        known = rundir.Facts((16, 16, 3), NAMES, (), 20)
    else:
        known = rundir.Facts((8, 8, 1), (), tuple("0123456789"), 1437)
    save(workdir, config, known)
    return workdir


def save(workdir: pathlib.Path, config: Mapping, known: rundir.Facts) -> None:
    rundir.claim(workdir, config)
    rundir.write_facts(workdir, known)
    state = jax.jit(build.stored_method(config, known).init)(jax.random.key(0))
    # So that one code changes what is rounded to bytes, and codes are within their sliders' ranges.
    scales = {"G": 3.0, "q_u": 0.6, "E": 2.0}
    scaled = {
        name: player._replace(
            params=jax.tree.map(lambda w, name=name: scales[name] * w, player.params)
        )
        for name, player in state._asdict().items()
        if name in scales
    }
    checkpoint.save(build.checkpoints(workdir), 1, state._replace(**scaled), keep=1)


# ---- the server ---------------------------------------------------------------------------------


def require_gradio() -> None:
    """Skips the tests of a file where the extra is not installed."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("needs Gradio: pip install '.[explore]'", allow_module_level=True)


@contextlib.contextmanager
def served(*arguments: str, uploads: pathlib.Path) -> Iterator[tuple[list[str], subprocess.Popen]]:
    """The words of the line with the address that Python with these arguments prints; its process.

    In a process of its own: Gradio warns of its own dependencies where warnings are errors.
    `uploads` becomes its folder for temporary files.
    """
    uploads.mkdir()
    process = subprocess.Popen(
        [*command.LISTENING, sys.executable, *arguments],
        cwd=command.REPOSITORY,
        env=command.environment() | {"TMPDIR": str(uploads)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stdout:
            if line.startswith("http://"):
                break
        else:
            raise AssertionError(process.stderr.read())
        yield line.split(), process
    finally:
        process.kill()
        process.communicate()


def changed(page: Any, act: Callable[[], object]) -> str:
    """Does something that changes the large image. Returns what it was before."""
    before = image(page)
    act()
    page.wait_for_function(
        "old => document.querySelector('#picture img').src !== old", arg=before, timeout=20_000
    )
    return before


def image(page: Any) -> str:
    return page.get_attribute("#picture img", "src")


def move(page: Any, name: str, value: float) -> None:
    """Drags a slider, once it is there."""
    selector = f"#slider-{name} input[type=range]"
    script = """(slider, value) => {
        slider.value = value; slider.dispatchEvent(new Event("input", {bubbles: true})); }"""
    page.wait_for_selector(selector, timeout=20_000)
    page.eval_on_selector(selector, script, value)


def upload(page: Any, path: pathlib.Path) -> None:
    """Chooses a file to encode, as a user does: the button forgets the file before."""
    with page.expect_file_chooser() as chooser:
        page.click("#upload")
    chooser.value.set_files(path)


def sentence(page: Any) -> str:
    """The sentence that the page shows, which is then closed."""
    words = page.wait_for_selector("[data-testid=toast-text]", timeout=20_000).inner_text()
    page.click("[data-testid=toast-close]")
    page.wait_for_selector("[data-testid=toast-text]", state="detached")
    return words


def saved(page: Any, selector: str) -> tuple[str, Image.Image]:
    """Name and image of the file that a link saves."""
    with page.expect_download() as download:
        page.click(selector)
    data = pathlib.Path(download.value.path()).read_bytes()
    return download.value.suggested_filename, Image.open(io.BytesIO(data))
