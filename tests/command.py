"""What the tests of the command line share: real processes, tiny runs, and one finished run.

The processes share a cache of compiled programs and compile without optimisation, which is what
takes the time here; whatever is compared bit for bit is made by the same compiled program.
"""

import atexit
import fcntl
import functools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import jax
import numpy as np

from ivg import build, checkpoint, rundir

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
DIGITS = "--config=configs/digits.py:infovaegan"
STEPS = 40
_SHORT = (
    "--config.batch_size=8",
    f"--config.num_steps={STEPS}",
    "--config.steps_per_dispatch=1",
    "--config.log_every=1",
    "--config.eval_every=0",
    "--config.checkpoint_every=5",
    "--config.eval_images=50",
)
TINY = (
    DIGITS,
    "--config.infovaegan.network.width=8",
    "--config.infovaegan.network.generator_norm=none",
    "--config.infovaegan.network.encoder_norm=none",
    "--config.infovaegan.num_critic=1",
    "--config.infovaegan.dim_z=4",
    *_SHORT,
)
# Of all methods the VAE takes the least time to start.
LIGHT = (
    "--config=configs/digits.py:vae",
    "--config.vae.network.width=8",
    "--config.vae.dim_z=4",
    *_SHORT,
)


# A test run that was itself started in the background, or by nohup, ignores Ctrl-C or SIGHUP, and
# its children would too.
_LISTEN = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "signal.signal(signal.SIGHUP, signal.SIG_DFL); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)
LISTENING = (sys.executable, "-S", "-c", _LISTEN)


@functools.cache
def scratch() -> pathlib.Path:
    """A folder of this test session, removed at its end."""
    folder = tempfile.mkdtemp(prefix="ivg_command_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return pathlib.Path(folder)


def common() -> pathlib.Path:
    """A folder of all workers of this test session, removed at its end."""
    return pathlib.Path(os.environ["IVG_TESTS_COMMON"])


def environment(devices: int = 1) -> dict[str, str]:
    fast = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    fast += "--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters"
    return os.environ | {
        "JAX_PLATFORMS": "cpu",
        "PYTHONUNBUFFERED": "1",
        "JAX_COMPILATION_CACHE_DIR": str(common() / "programs"),
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(2**30),  # a limit brings a lock
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "XLA_FLAGS": f"{fast} --xla_force_host_platform_device_count={devices}",
    }


def start(*arguments: object, devices: int = 1, **options) -> subprocess.Popen:
    """`python -m ivg.main` with these arguments, in the repository's root."""
    return subprocess.Popen(
        [*LISTENING, sys.executable, "-m", "ivg.main", *map(str, arguments)],
        cwd=REPOSITORY,
        env=environment(devices),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def run(*arguments: object, **options) -> subprocess.CompletedProcess:
    """The same, until it ends."""
    process = start(*arguments, **options)
    return finish(process)


def finish(process: subprocess.Popen) -> subprocess.CompletedProcess:
    try:
        out, err = process.communicate(timeout=240)
    except BaseException:
        process.kill()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def ok(*arguments: object, **options) -> str:
    """Runs a command that must succeed. Returns its standard output."""
    done = run(*arguments, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def sentence(done: subprocess.CompletedProcess) -> str:
    """The sentence of a command that must fail with exactly one, and exit code 2.

    What the progress (of training, of reading images) printed before it is passed over.
    """
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert lines and lines[-1].startswith("error: "), done.stderr
    assert sum(line.startswith("error: ") for line in lines) == 1
    assert all(
        line.startswith(("error: ", "step ", "note: ")) or "images" in line for line in lines
    ), lines
    return lines[-1].removeprefix("error: ")


def refused(*arguments: object, **options) -> str:
    """Runs a command that must fail. Returns its sentence."""
    return sentence(run(*arguments, **options))


def interrupt(process: subprocess.Popen, number: int, when: Callable[[], bool], delay: float = 0):
    """Sends a signal `delay` seconds after `when()`. Returns the ended process."""
    patience = time.monotonic() + 200
    try:
        while not when():
            assert process.poll() is None and time.monotonic() < patience, "not there in time"
            time.sleep(0.002)
    except BaseException as error:
        process.kill()
        raise AssertionError(f"not interrupted: {process.communicate()}") from error
    time.sleep(delay)
    process.send_signal(number)
    return finish(process)


def logged(workdir: pathlib.Path) -> list[int]:
    """The steps in metrics.jsonl, in its order; a line that is being written is passed over."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line)["step"] for line in lines if line.endswith("\n")]


def steps_saved(workdir: pathlib.Path) -> list[int]:
    return checkpoint.steps(build.checkpoints(workdir))


def train_only(*arguments: object, workdir: pathlib.Path, last: int = STEPS) -> str:
    """Trains to the last checkpoint, without the evaluation, which takes longer than the training.

    Returns the standard output.

    `kill -9` once the checkpoint of step `last` is there; that it is complete is tested elsewhere.
    """
    process = start(*arguments, f"--workdir={workdir}")
    return interrupt(process, signal.SIGKILL, lambda: last in steps_saved(workdir)).stdout


@functools.cache
def finished_run() -> pathlib.Path:
    """The run directory of TINY, trained without interruption; not to be changed."""
    workdir = common() / "finished"
    with open(common() / "finished.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first worker that needs it trains it
        if not workdir.exists():
            ok(*TINY, f"--workdir={scratch() / 'finished'}")
            shutil.move(scratch() / "finished", workdir)
    return workdir


def copy_of_finished_run(folder: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(finished_run(), folder / "run"))


def last_state(workdir: pathlib.Path) -> tuple[int, dict[str, np.ndarray]]:
    """Step and arrays by path of the last checkpoint: parameters, statistics, optimiser states."""
    config = rundir.read_config(workdir)
    abstract = jax.eval_shape(build.build(config).method.init, jax.random.key(0))
    found = checkpoint.restore(build.checkpoints(workdir), abstract)
    assert found is not None
    step, state = found
    paths = jax.tree_util.tree_flatten_with_path(state)[0]
    return step, {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in paths}


def assert_same_state(a: pathlib.Path, b: pathlib.Path) -> None:
    """Both last checkpoints are of the same step and equal bit for bit."""
    (step, ours), (other_step, theirs) = last_state(a), last_state(b)
    assert step == other_step and ours.keys() == theirs.keys() and len(ours) > 20
    for path, array in ours.items():
        assert array.tobytes() == theirs[path].tobytes(), path


def results(workdir: pathlib.Path) -> dict:
    """results.json without the commit, which may change while the tests run, and the cost."""
    found = json.loads((workdir / "results.json").read_text())
    assert found.pop("cost")["steps"][1] == found["step"]
    assert found.pop("versions")["jax"] == jax.__version__
    return found


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
