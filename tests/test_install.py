"""The wheel, installed somewhere and used from an empty folder, needs nothing of the checkout."""

import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile

import command
import pytest

ROOT = command.REPOSITORY
SOURCES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "ivg", "configs")
OWN_CONFIG = """
from ivg.configs import base, digits


def get_config(method="infovaegan"):
    config = digits.get_config(method)
    config.batch_size = 7
    assert method in base.METHODS
    print(f"batch size {config.batch_size}, noise {config[method].dim_z}")
    return config
"""
LOADS = """
import pathlib, sys
import ivg, ivg.configs, ivg.configs.base, ivg.data
home, run = map(pathlib.Path, sys.argv[1:])
for module in (ivg, ivg.configs, ivg.configs.base, ivg.data):
    assert home in pathlib.Path(module.__file__).parents, module.__file__
model = ivg.load(run)
images = model.generate(d=3, n=2, seed=0)
print(model.method, model.step, images.shape, images.dtype)
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> pathlib.Path:
    """What is built: a copy, as setuptools leaves its own files beside the sources."""
    folder = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(sources) -> pathlib.Path:
    pip("wheel", sources, "--no-deps", "--no-build-isolation", f"--wheel-dir={sources / 'dist'}")
    [made] = (sources / "dist").glob("*.whl")
    return made


@pytest.fixture(scope="module")
def home(wheel, tmp_path_factory) -> pathlib.Path:
    """Where the wheel is installed."""
    folder = tmp_path_factory.mktemp("home")
    pip("install", wheel, "--no-deps", "--no-index", f"--target={folder}")
    return folder


def pip(*arguments: object) -> None:
    words = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*words, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def start(home: pathlib.Path, folder: pathlib.Path, *arguments: object) -> subprocess.Popen:
    """Python in `folder`, which has `home` before all that is installed."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=command.environment() | {"PYTHONPATH": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def python(home: pathlib.Path, folder: pathlib.Path, *arguments: object) -> str:
    """The standard output of the same, once it has ended well."""
    done = command.finish(start(home, folder, *arguments))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def expected() -> set[str]:
    """Where a wheel has the files of the checkout."""
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "ivg").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return found | {f"ivg/configs/{path.name}" for path in (ROOT / "configs").glob("*.py")}


def test_the_wheel_holds_ivg_and_the_configs_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = [name for name in archive.namelist() if ".dist-info/" in name]
        ours = archive.read("ivg/configs/__init__.py")
    # What is missing here is missing in setup.cfg: in `packages`, or in `package_data`.
    assert names == expected()
    assert ours == (ROOT / "configs" / "__init__.py").read_bytes()
    assert any(name.endswith("/licenses/LICENSE") for name in metadata)


def test_a_source_archive_makes_the_same_wheel(sources, wheel, tmp_path):
    code = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, tmp_path], cwd=sources, check=True,
                   capture_output=True)  # fmt: skip
    [archive] = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        names = {pathlib.PurePosixPath(name).parts[1:] for name in packed.getnames()}
        packed.extractall(tmp_path, filter="data")
    assert not {"tests", "experiments"} & {parts[0] for parts in names if parts}
    [folder] = (path for path in tmp_path.iterdir() if path.is_dir())
    pip("wheel", folder, "--no-deps", "--no-build-isolation", f"--wheel-dir={tmp_path}")
    [again] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(again) as ours, zipfile.ZipFile(wheel) as theirs:
        assert sorted(ours.namelist()) == sorted(theirs.namelist())


def test_from_an_empty_folder(home, tmp_path):
    """The list, training by name, a config of one's own, and the library."""
    empty = tmp_path / "empty"
    empty.mkdir()
    listed = python(home, empty, "-m", "ivg.main", "--list")
    for path in (ROOT / "configs").glob("*.py"):
        shared = path.stem in ("__init__", "base", "methods", "autoencoders")
        assert (f"ivg:{path.stem} " in listed) != shared, path.stem
    assert f"are in {home / 'ivg' / 'configs'}" in listed
    by_name = ["--config=ivg:digits:infovaegan", "--workdir=run", *command.TINY[1:]]
    training = start(home, empty, "-m", "ivg.main", *by_name)
    # Enough for a model; how it is scored afterwards is tested elsewhere.
    command.interrupt(training, signal.SIGKILL, lambda: 5 in command.steps_saved(empty / "run"))
    assert [path.name for path in empty.iterdir()] == ["run"]
    printed = python(home, empty, "-c", LOADS, home, empty / "run")
    assert re.fullmatch(r"infovaegan \d+ \(2, 8, 8, 1\) uint8\n", printed), printed


def test_a_config_of_one_s_own(home, tmp_path):
    own = tmp_path / "my_config.py"
    own.write_text(OWN_CONFIG)
    printed = python(home, tmp_path, "-m", "ivg.main", f"--config={own}", "--list")
    assert "batch size 7, noise 8" in printed and "ivg:mnist" in printed
    done = command.finish(
        start(home, tmp_path, "-m", "ivg.main", f"--config={own}:infovaegn", "--workdir=run")
    )
    assert 'did you mean "infovaegan"?' in command.sentence(done)


def test_the_checkout_before_an_installed_wheel(home, tmp_path):
    """In the checkout's folder its own files win: ivg and the configs are of one place."""
    code = "import ivg, ivg.configs.base as base; print(ivg.__file__, base.__file__, sep='\\n')"
    found = python(home, ROOT, "-c", code).split()
    assert found == [str(ROOT / "ivg/__init__.py"), str(ROOT / "configs/base.py")]
    assert python(ROOT, tmp_path, "-c", code).split() == found
