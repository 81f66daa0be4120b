"""The notebook: what is kept of it, and every cell of it executed, small, on a CPU."""

import ast
import base64
import functools
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import warnings

import command
import pytest
from PIL import Image

PATH = command.REPOSITORY / "experiments" / "colab.ipynb"
LARGEST = 1_500_000  # bytes
# Folders of the machine it was made on, and what names an account or opens a door.
MACHINE = re.compile(
    r"/(root|home|work|tmp|opt|usr|var|mnt|content|Users)/|[A-Z]:\\\\|site-packages"
)
SECRET = re.compile(
    r"(?i)(api|access|secret|auth)[_-]?(key|token)|password|authorization:|BEGIN [A-Z ]*KEY|"
    r"gh[pousr]_\w{20}|hf_\w{20}|AKIA\w{16}|://[^/\s]+@"
)
# Executes a notebook with this interpreter, whatever kernels are installed, and writes it again.
# In a process of its own: Jupyter's packages and their event loops warn, which fails a test here.
EXECUTE = """
import sys
import nbclient, nbformat
from jupyter_client.manager import AsyncKernelManager

class Kernel(AsyncKernelManager):
    def format_kernel_cmd(self, extra_arguments=None):
        return [sys.executable, "-m", "ipykernel_launcher", "-f", self.connection_file]

source, result, folder = sys.argv[1:]
notebook = nbformat.read(source, as_version=4)
client = nbclient.NotebookClient(
    notebook,
    timeout=400,
    kernel_manager_class=Kernel,
    record_timing=False,
    resources={"metadata": {"path": folder}},
)
client.execute()
nbformat.write(notebook, result)
"""


@functools.cache
def kept() -> dict:
    return json.loads(PATH.read_text())


@functools.cache
def folder() -> pathlib.Path:
    """Where the notebook is executed: a copy in an empty folder, which is its working directory."""
    own = pathlib.Path(tempfile.mkdtemp(prefix="notebook_", dir=command.scratch()))
    for name in ("home", "runs_here"):
        (own / name).mkdir()
    shutil.copy(PATH, own / "notebook.ipynb")
    return own


def executed() -> dict:
    """The notebook after all its cells."""
    done = execution()
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder() / "executed.ipynb").read_text())


@functools.cache
def execution() -> subprocess.CompletedProcess:
    """Executes it once: small settings, one CPU device, no network."""
    for needed in ("nbclient", "ipykernel"):
        pytest.importorskip(needed, reason=f"needs {needed}: pip install -e '.[test]'")
    own = folder()
    home = own / "home"
    environment = command.environment() | {
        "IVG_NOTEBOOK_QUICK": "1",
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_CONFIG_DIR": str(home / "jupyter"),
        "JUPYTER_DATA_DIR": str(home / "jupyter_data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTER_PLATFORM_DIRS": "1",
        "MPLCONFIGDIR": os.environ.get("MPLCONFIGDIR", str(home / "matplotlib")),
        "XDG_CACHE_HOME": str(home / "cache"),
        "PIP_NO_INDEX": "1",  # an installation would fail rather than ask the network
        "PYTHONPATH": os.pathsep.join(  # whether or not ivg is installed
            [str(command.REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
    }
    return subprocess.run(
        [
            *(sys.executable, "-c", EXECUTE),
            *(own / "notebook.ipynb", own / "executed.ipynb", own / "runs_here"),
        ],
        cwd=own,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def cell(notebook: dict, name: str) -> dict:
    return next(cell for cell in notebook["cells"] if cell["id"] == name)


def printed(notebook: dict, name: str) -> str:
    """What a cell wrote on its standard output."""
    outputs = cell(notebook, name)["outputs"]
    return "".join("".join(out["text"]) for out in outputs if out.get("name") == "stdout")


def pictures(notebook: dict, name: str) -> list[Image.Image]:
    """The pictures that a cell shows."""
    found = [out.get("data", {}).get("image/png") for out in cell(notebook, name)["outputs"]]
    return [Image.open(io.BytesIO(base64.b64decode("".join(png)))) for png in found if png]


def sources(notebook: dict) -> dict[str, str]:
    return {cell["id"]: "".join(cell["source"]) for cell in notebook["cells"]}


# ---- what is kept -------------------------------------------------------------------------------


def test_the_notebook_is_valid():
    nbformat = pytest.importorskip("nbformat", reason="needs nbformat: pip install -e '.[test]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of its own dependencies
        nbformat.validate(kept())
    names = [cell["id"] for cell in kept()["cells"]]
    assert len(set(names)) == len(names) and all(re.fullmatch(r"[a-z][a-z-]*", n) for n in names)
    assert kept()["metadata"]["kernelspec"]["name"] == "python3"


def test_it_is_small_and_was_executed_in_order_without_errors():
    assert PATH.stat().st_size < LARGEST
    cells = [cell for cell in kept()["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = [out["output_type"] for cell in cells for out in cell["outputs"]]
    assert kinds and "error" not in kinds
    assert sum(bool(pictures(kept(), cell["id"])) for cell in cells) >= 6


def test_nothing_of_the_machine_and_no_secret_is_kept():
    text = PATH.read_text()
    for cell in kept()["cells"]:  # pictures in base64 may spell anything
        for out in cell.get("outputs", []):
            for kind, data in out.get("data", {}).items():
                if kind.startswith("image/"):
                    text = text.replace("".join(data), "")
    assert not MACHINE.findall(text) and not SECRET.findall(text)
    assert {key for cell in kept()["cells"] for key in cell["metadata"]} <= {"execution"}  # times


def test_its_python_is_python_and_lines_fit():
    """No shell escapes or magics, so that linting and plain Python can read it."""
    for cell in kept()["cells"]:
        if cell["cell_type"] == "code":
            text = "".join(cell["source"])
            ast.parse(text)
            assert max(map(len, text.splitlines())) <= 100, cell["id"]


# ---- what it does -------------------------------------------------------------------------------


def test_every_cell_runs_and_the_source_is_the_kept_one():
    assert sources(executed()) == sources(kept())
    for each in executed()["cells"]:
        if each["cell_type"] == "code":
            assert each["execution_count"]
            assert all(out["output_type"] != "error" for out in each["outputs"]), each["id"]


def test_it_installs_nothing_where_ivg_is_there():
    assert "installed already" in printed(executed(), "install")
    assert "cpu" in printed(executed(), "device")


def test_digits_are_trained_loaded_and_drawn():
    told = printed(executed(), "digits-train")
    assert re.search(r"accuracy_one_to_one +[01]\.\d+ +0\.\d+", told)
    loaded = re.search(r"accuracy ([01]\.\d+) on 360 test images", printed(executed(), "load"))
    assert loaded and 0.05 < float(loaded[1]) <= 1
    for name in ("choose", "traverse", "encode", "transfer"):
        [picture] = pictures(executed(), name)
        assert min(picture.size) > 48 and len(picture.getcolors(256)) > 8, name


def test_the_report_is_inside():
    outputs = [out.get("data", {}) for out in cell(executed(), "digits-report")["outputs"]]
    [page] = ["".join(out["text/html"]) for out in outputs if "text/html" in out]
    assert "<iframe srcdoc=" in page and "&lt;html" in page
    assert (folder() / "runs_here/runs/notebook/digits/report.html").stat().st_size < 8e6


def test_sprites_are_scored_and_the_metrics_take_arrays():
    assert "nats" in printed(executed(), "bounds") and pictures(executed(), "bounds")
    assert re.search(r"factor_vae .*'train_votes': 50", printed(executed(), "scores"))
    told = printed(executed(), "arrays")
    perfect = re.search(r"the factors +MIG (\S+) +SAP (\S+)", told)
    assert perfect and float(perfect[1]) > 0.7 and float(perfect[2]) > 0.9
    assert re.search(r"r of IB-GAN +MIG 0\.\d+", told) and "'bins': 20" in told


def test_own_images_are_read_and_drawn():
    assert "example_images" in printed(executed(), "own-draw")
    assert [picture.mode for picture in pictures(executed(), "own-look")] == ["P", "P"]


def test_it_leaves_nothing_elsewhere():
    """What it writes is below its own `runs`; homes and caches were given to it."""
    executed()
    assert sorted(p.name for p in folder().iterdir()) == [
        "executed.ipynb",
        "home",
        "notebook.ipynb",
        "runs_here",
    ]
    assert [p.name for p in (folder() / "runs_here").iterdir()] == ["runs"]
    runs = folder() / "runs_here" / "runs" / "notebook"
    made = {"digits", "example_images", "images", "sprites"}
    assert {path.name for path in runs.iterdir()} == made
