"""`--config=ivg:NAME` and paths: which file is meant, from any directory, and without JAX."""

import pathlib
import re
import subprocess
import sys

import command
import pytest

from ivg import config_files
from ivg.errors import UserError
from ivg.methods import METHODS

CONFIGS = command.REPOSITORY / "configs"
SHARED = ("__init__", "autoencoders", "base", "methods")
NAMES = sorted(path.stem for path in CONFIGS.glob("*.py") if path.stem not in SHARED)


def mistake(text: str) -> str:
    with pytest.raises(UserError) as found:
        config_files.resolve(text)
    return str(found.value)


def test_names_and_paths(tmp_path, monkeypatch):
    own = tmp_path / "own.py"
    own.write_text("def get_config(): ...\n")
    monkeypatch.chdir(tmp_path)
    mnist = config_files.resolve("ivg:mnist")
    assert pathlib.Path(mnist).samefile(CONFIGS / "mnist.py") and pathlib.Path(mnist).is_absolute()
    assert config_files.resolve("ivg:mnist:infovaegan") == f"{mnist}:infovaegan"
    for text in ("own.py", "own.py:vae", f"{own}", f"{own}:vae", f"{CONFIGS}/mnist.py:ali"):
        assert config_files.resolve(text) == text
    monkeypatch.chdir(command.REPOSITORY)
    assert config_files.resolve("configs/mnist.py:ali") == "configs/mnist.py:ali"


MISTAKES = {
    "ivg:mnits": "ivg:mnist",
    "ivg:mnits:ali": "ivg:mnist:ali",
    "ivg:mnist.py": "ivg:mnist",
    "ivg:../configs/mnist": "ivg:mnist",
    "mnist": "ivg:mnist",
    "mnist:ali": "ivg:mnist:ali",
    "elsewhere/mnist.py": "ivg:mnist",
    "configs/mnist:ali": "configs/mnist.py:ali",
    "configs/digitz.py": "configs/digits.py",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_the_nearest_name(text, monkeypatch):
    monkeypatch.chdir(command.REPOSITORY)
    sentence = mistake(text)
    assert f'no config file "{text}"; did you mean {MISTAKES[text]}? There are ' in sentence
    assert sentence.endswith(", ".join(f"ivg:{name}" for name in NAMES) + ".")


@pytest.mark.parametrize("text", ["", "ivg:", "ivg:base", "configs", "xyzzy.py"])
def test_nothing_near(text, monkeypatch):
    monkeypatch.chdir(command.REPOSITORY)
    assert mistake(text).startswith(f'there is no config file "{text}"; There are ivg:celeba, ')


def test_every_form_of_the_flag():
    real = str(CONFIGS / "mnist.py")
    for words in (["--config=ivg:mnist"], ["-config=ivg:mnist"]):
        assert config_files.resolve_flags(["x", *words]) == ["x", words[0][:-9] + real]
    for flag in ("--config", "-config"):
        words = ["x", "--workdir=ivg:mnist", flag, "ivg:mnist:ali", "--config.seed=1"]
        found = config_files.resolve_flags(words)
        assert found == [*words[:3], f"{real}:ali", "--config.seed=1"]
        with pytest.raises(UserError, match="no config file"):
            config_files.resolve_flags(["x", flag])


def test_the_list_names_every_method_and_every_config():
    text = config_files.listing()
    methods, configs = text.split("configs, as in")
    assert re.findall(r"^  (\w+) ", methods, re.M) == sorted(METHODS)
    assert re.findall(r"^  ivg:(\S+)", configs, re.M) == NAMES
    assert re.search(r"ivg:sprites +Sprites \(re-rendered dSprites\).*\[ibgan\]", configs, re.S)
    assert max(map(len, text.splitlines()[:-1])) <= 100
    lines = [line for line in text.splitlines() if line.startswith("  ")]
    assert len(lines) == len(METHODS) + 1 + len(NAMES)  # one each, and a remark


def test_from_another_directory_without_jax(tmp_path):
    """Help, the list and the flags: nothing of them imports JAX, or needs the checkout's folder."""
    code = """
import sys
sys.modules["jax"] = None
sys.argv = ["main", "--config", "ivg:digits:vae", "--config.batch_size=7"]
from ivg import config_files, main
print(main.parse_flags(sys.argv))
config = main._CONFIG.value
print(config.method, config.batch_size, config.vae.beta)
print(len(main.help_text()) > 1000, len(config_files.listing()) > 1000)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=command.environment() | {"PYTHONPATH": str(command.REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["['main']", "vae 7 1.0", "True True"]
