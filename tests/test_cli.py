"""Every mistake is one sentence with exit code 2, and nothing is overwritten."""

import contextlib
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys

import command
import numpy as np
import pytest
from absl import flags
from PIL import Image

from ivg import config_files, main

IMAGES = ("--config=configs/images.py", "--config.batch_size=8")


@pytest.fixture
def workdir(tmp_path) -> pathlib.Path:
    """A run directory that the command must not make."""
    path = tmp_path / "run"
    yield path
    assert not path.exists()


@pytest.fixture
def photos(tmp_path) -> pathlib.Path:
    """A folder of four pictures of different sizes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 256, (40 + i, 50, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def with_photos(folder: pathlib.Path, workdir: pathlib.Path, *more: str) -> tuple[str, ...]:
    return (*IMAGES, f"--config.data.dir={folder}", f"--workdir={workdir}", *more)


FLAGS = {
    "unknown method": (
        ["--config=configs/digits.py:infovaegn"],
        ['no method "infovaegn"', 'did you mean "infovaegan"?'],
    ),
    "misspelt field": (
        [command.DIGITS, "--config.batchsize=3"],
        ['no field "batchsize"', 'did you mean "batch_size"?'],
    ),
    "misspelt field of an optimiser": (
        [command.DIGITS, "--config.infovaegan.optimizer.G.learnig_rate=3"],
        ['did you mean "learning_rate"?'],
    ),
    "unlike any field": ([command.DIGITS, "--config.xyzzy=3"], ["xyzzy", "configs/base.py"]),
    "a field of another method": (
        [command.DIGITS, "--config.infovaegan_joint.dim_z=3"],
        ["infovaegan_joint"],
    ),
    "no integer": (
        [command.DIGITS, "--config.batch_size=4.5"],
        ['batch_size wants a whole number, not "4.5"'],
    ),
    "no number": (
        ["--config=ivg:digits:vae", "--config.vae.beta=much"],
        ['--config.vae.beta wants a number, not "much"'],
    ),
    "no config there": (["--config=configs/digitz.py"], ["configs/digitz.py", "configs/digits.py"]),
    "no config of ivg": (["--config", "ivg:digitz"], ['"ivg:digitz"; did you mean ivg:digits?']),
    "a field before its config": (
        ["--config.seed=1", "--config=ivg:digits"],
        ["--config must come before its fields, such as --config.seed=1"],
    ),
    "a module without get_config": (["--config=ivg/errors.py"], ["no function get_config"]),
    "another file as config": (["--config=setup.cfg"], ["setup.cfg, line 3"]),
    "a field without config": (["--config.batch_size=3"], ["as in --config=ivg:digits"]),
    "unknown mode": (["--mode=trian"], ["train|evaluate|sample"]),
    "unknown flag": (["--wrkdir=a"], ["wrkdir", "workdir"]),
}


@pytest.mark.parametrize("name", FLAGS)
def test_mistakes_in_the_flags(name, workdir):
    arguments, words = FLAGS[name]
    text = command.refused(*arguments, f"--workdir={workdir}")
    assert all(word in text for word in words), text


def test_help_is_readable():
    out = command.ok("--help")
    assert all(word in out for word in ("--config", "--workdir", "--mode", "--num_samples"))
    common, options = out.split("\noptions\n")
    assert "python -m ivg.main --config=ivg:digits --workdir=runs/digits" in common
    assert all(f"python -m ivg.{name} " in common for name in ("report", "explore", "export"))
    folder = str(config_files.folder())
    assert max(len(line) for line in out.splitlines() if folder not in line) <= 80
    codes = dict(re.findall(r"^  (\w+) +(.*)$", options.split("exit codes\n")[1], re.M))
    assert codes.keys() == {"0", "1", "2", "130", "else"}
    assert out in command.ok("--helpfull") and command.ok("-h") == out


def test_every_option_is_in_the_help():
    """In the help's own order."""
    own = {flag.name for flag in flags.FLAGS.flags_by_module_dict()[main.__name__]}
    shown = [name for name in main.OPTIONS if "." not in name and not name.startswith("help")]
    assert set(shown) == own
    assert re.findall(r"^  --(\w+)[=\n]", main.help_text(), re.M) == [
        name.split(".")[0] for name in main.OPTIONS if "." not in name
    ]


def test_nothing_to_do(tmp_path):
    text = command.refused()
    assert "python -m ivg.main --config=ivg:digits --workdir=runs/digits" in text
    assert "name a config, for example --config=ivg:digits" in command.refused(
        f"--workdir={tmp_path / 'run'}"
    )
    assert "name a run directory" in command.refused("--config=ivg:digits")
    assert command.ok("--list").strip() == config_files.listing()


def test_a_crash_is_a_traceback_and_exit_code_1(workdir):
    code = (
        "import sys; from absl import app; from ivg import main; main.run = None; "
        "app.run(main.main, sys.argv[:1] + sys.argv[2:], main.parse_flags)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "main", "--config=ivg:digits", f"--workdir={workdir}"],
        cwd=command.REPOSITORY,
        env=command.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "TypeError: 'NoneType' object is not callable" in done.stderr


def test_data_set_not_prepared(tmp_path, workdir):
    arguments = ("--config=configs/mnist.py", f"--config.data.dir={tmp_path}")
    text = command.refused(*arguments, f"--workdir={workdir}")
    assert "mnist is not prepared" in text and "download_and_prepare()" in text
    assert f"by hand to {tmp_path}/mnist/3.0.1" in text


def test_attribute_file_that_misses_images(photos, workdir):
    rows = "".join(f"{i}.png 1 -1\n" for i in range(3))
    (photos / "list_attr_celeba.txt").write_text(f"3\nMale Smiling\n{rows}")
    text = command.refused(*with_photos(photos, workdir))
    assert "list_attr_celeba.txt" in text and "3.png" in text


def test_corrupt_image(photos, workdir):
    path = photos / "2.png"
    path.write_bytes(path.read_bytes()[:100])
    assert "2.png" in (text := command.refused(*with_photos(photos, workdir)))
    assert "bad_images=skip" in text


def test_non_image_file_and_skipping_it(photos, workdir, tmp_path):
    (photos / "notes.doc").write_text("hello")
    text = command.refused(*with_photos(photos, workdir))
    assert "notes.doc" in text and "bad_images=skip" in text
    # Skipped when asked: the next mistake is met, a folder that is not a run directory.
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("x")
    done = command.run(*with_photos(photos, tmp_path / "thesis", "--config.data.bad_images=skip"))
    assert "not a run directory" in command.sentence(done)
    assert "notes.doc" in done.stdout + done.stderr


def test_image_size_that_the_networks_cannot_take(photos, workdir):
    text = command.refused(*with_photos(photos, workdir, "--config.data.image_size=40"))
    assert "not 40x40" in text and "--config.data.image_size=32" in text


def test_batch_that_devices_cannot_share(workdir):
    arguments = (command.DIGITS, "--config.batch_size=10", f"--workdir={workdir}")
    text = command.refused(*arguments, devices=4)
    assert "batch_size=10" in text and "4 devices" in text and "--config.batch_size=8 or 12" in text


def test_workdir_of_somebody_else(tmp_path):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.tex").write_text("x")
    text = command.refused(*command.TINY, f"--workdir={folder}")
    assert "not a run directory" in text and str(folder) in text
    assert command.contents(folder) == {"chapter.tex": b"x"}


def test_workdir_of_another_config(tmp_path):
    workdir = command.copy_of_finished_run(tmp_path)
    before = command.contents(workdir)
    changed = ("--config.seed=3", "--config.infovaegan.gp_weight=1", "--config.log_every=7")
    text = command.refused(*command.TINY, *changed, f"--workdir={workdir}")
    assert "seed: 0 -> 3" in text and "infovaegan.gp_weight: 10.0 -> 1.0" in text
    assert "log_every" not in text
    assert command.contents(workdir) == before


def test_safe_changes_continue(tmp_path):
    workdir = command.copy_of_finished_run(tmp_path)
    more = command.STEPS + 6
    safe = (f"--config.num_steps={more}", "--config.log_every=3", "--config.checkpoint_every=6")
    command.train_only(*command.TINY, *safe, workdir=workdir, last=more)
    assert command.logged(workdir) == [*range(1, command.STEPS + 1), 42, 45, 46]


def test_not_a_number_is_named_and_the_last_good_checkpoint_kept(tmp_path):
    """A learning rate that breaks the run at its second step."""
    workdir = tmp_path / "run"
    rate = "--config.vae.optimizer.G.learning_rate=1e38"
    text = command.refused(*command.LIGHT, rate, "--config.checkpoint_every=1",
                           f"--workdir={workdir}")  # fmt: skip
    assert "step 2: a loss of player G is not finite (G/" in text
    assert "it began in" in text
    assert "the last good checkpoint is that of step 1." in text
    assert "Lower --config.vae.optimizer.G.learning_rate" in text
    assert command.steps_saved(workdir) == [1]


@contextlib.contextmanager
def little_room(folder: pathlib.Path):
    """A small file system at `folder`; without the right to mount one, a limit on file sizes.

    Yields the options of the process that has too little room, and a function that makes room.
    """
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    mounted = shutil.which("mount") and os.geteuid() == 0
    if not mounted or subprocess.run(mount, capture_output=True).returncode:
        limit = 8 * 2**10  # bytes: the config fits, no checkpoint does
        yield (
            {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))},
            lambda: None,
        )
        return
    try:
        ballast = folder / "ballast"
        free = shutil.disk_usage(folder).free
        # A checkpoint takes about 0.1 MiB and wants 1 MiB free: some fit, but not all.
        ballast.write_bytes(bytes(free - 1_400_000))
        yield {}, ballast.unlink
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_no_space_left_on_disk(tmp_path):
    command.finished_run()  # its compiled programs: under the limit none can be kept
    with little_room(tmp_path / "disk") as (options, make_room):
        workdir = tmp_path / "disk" / "run"
        done = command.run(*command.TINY, f"--workdir={workdir}", **options)
        assert done.returncode == 2
        # Only this: under a limit on file sizes the threads of orbax write their own errors too.
        (text,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert "make room, then run the same command again" in text
        steps = command.steps_saved(workdir)
        assert steps == [] or f"the last good one, of step {steps[-1]}, is kept" in text
        assert command.STEPS not in steps
        make_room()
        command.train_only(*command.TINY, workdir=workdir)
        command.assert_same_state(workdir, command.finished_run())
        assert command.logged(workdir) == list(range(1, command.STEPS + 1))


def test_ctrl_c_outside_the_training(tmp_path):
    """No traceback while the scores are computed either."""
    workdir = command.copy_of_finished_run(tmp_path)
    process = command.start(*command.TINY, f"--workdir={workdir}")
    before = len(list((workdir / "tensorboard").iterdir()))
    opened = lambda: len(list((workdir / "tensorboard").iterdir())) > before  # noqa: E731
    done = command.interrupt(process, signal.SIGINT, opened, delay=0.4)
    assert done.returncode == 130 and "the same command again" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_reader_that_ends_early_gets_no_traceback():
    process = command.start("--list")
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
