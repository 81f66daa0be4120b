"""Compiled programs on disk: a run that starts again, or another seed, does not compile again.

This is JAX's persistent compilation cache, in the user's cache directory unless JAX's own variables
say otherwise: JAX_COMPILATION_CACHE_DIR names another folder, or switches it off if it is empty, as
JAX_ENABLE_COMPILATION_CACHE=false does. A program is found by its content, its compiler's version
and options, and the devices. An entry that was damaged, by a full disk say, costs a warning and its
compilation each time, until it is removed with the folder.
"""

import hashlib
import os
import pathlib
import platform
import sys
import tempfile

import jax

LIMIT = 2**30  # bytes; a training step takes 0.2 to 2 MB
LEAST = 2**18  # bytes that an entry counts for at least: no more than 4,096 of them to look through
# A program is kept if it took so long to compile. JAX's own 1 s leaves out the many small ones: of
# 22 CPU seconds for twenty steps on the digits and their evaluation, a second run needed 13 with
# it and 9 with this (170 entries, 1.2 MB).
SECONDS = 0.0


def keep_programs() -> pathlib.Path | None:
    """Has JAX keep its programs in the user's cache directory; to be called before it compiles.

    A folder that cannot be written costs a line on stderr and no more. Several processes of one run
    keep nothing by default: on GPUs they measure kernels together while they compile, so one that
    found its program on its own disk could leave the others waiting.

    Returns:
        The folder; None where JAX's own settings decide or nothing is kept.
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR") == "":
        jax.config.update("jax_compilation_cache_dir", None)  # to JAX "" is the working directory
        return None
    decided = jax.config.jax_compilation_cache_dir or not jax.config.jax_enable_compilation_cache
    if decided or jax.distributed.is_initialized():
        return None
    try:
        folder = cache_directory() / "ivg" / "jax" / machine()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        shrink(folder.parent, LIMIT)
    except (OSError, RuntimeError) as error:
        print(
            f"note: compiled programs are not kept ({error}); name a folder for them with "
            "JAX_COMPILATION_CACHE_DIR.",
            file=sys.stderr,
        )
        return None
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", SECONDS)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return folder


def cache_directory() -> pathlib.Path:
    """$XDG_CACHE_HOME, where that is an absolute path as its specification asks, or ~/.cache.

    Raises:
        RuntimeError: there is no home directory.
    """
    named = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
    return named if named.is_absolute() else pathlib.Path.home() / ".cache"


def machine() -> str:
    """A name that machines share if their processors have the same instructions.

    Programs for a CPU are machine code: a home directory that several machines share must not hand
    one of them what another's processor can do.
    """
    kind = f"{platform.system()}-{platform.machine()}".lower()
    return f"{kind}-{hashlib.sha256(instructions().encode()).hexdigest()[:8]}"


def instructions() -> str:
    """The processor's extensions as Linux lists them; its name where it is not Linux."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, words = line.partition(":")
        if name.strip() in ("flags", "Features"):  # x86, ARM
            return " ".join(sorted(words.split()))
    return platform.processor()


def shrink(folder: pathlib.Path, limit: int) -> None:
    """Removes the programs that were longest not used until the rest takes at most `limit` bytes.

    JAX's own limit would need the package filelock, and stops keeping anything once a run was
    killed between the two files that it then writes for each program.
    """
    entries = []
    for path in folder.rglob("*-cache"):
        try:
            found = path.stat()
        except OSError:  # another process removed it
            continue
        entries.append((max(found.st_atime, found.st_mtime), max(found.st_size, LEAST), path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= limit:
            break
        path.unlink(missing_ok=True)
        total -= size
