"""Writes a trained model so that it runs without ivg: `python -m ivg.export --workdir=runs/digits`.

An export is a folder:

  README.md               the model card, with the lines of Python that load all of this
  config.json             the same for programs: codes, functions, the run's config and scores
  weights.safetensors     what encode and generate use of the parameters and batch statistics
  encode.jax_export       (weights, images uint8 [n, H, W, C][, attributes float32 [n, k]])
                          -> {code: float32 [n, size]}; absent where the method has no encoder
  generate.jax_export     (weights, {code: float32 [n, size]}) -> images uint8 [n, H, W, C]
  generate_float.jax_export   the same before rounding, float32 in [-1, 1]; can be differentiated
  example.npz             codes drawn as in training, their images, and what is encoded from these

The programs are StableHLO with a symbolic batch size, lowered for CPU, CUDA, ROCm and TPU alike,
and written by `jax.export`. They take the weights as their first argument, so these exist once. To
load an export, only jax, flatbuffers, numpy and safetensors are needed. In it are StableHLO, which
XLA compiles, and plain arrays: no pickle, no Python code. StableHLO can name native code that is
elsewhere (custom_call), which jax would run: ours names none, and the lines of the model card
refuse what does. A stranger's program can still use up time and memory, and meet a fault of the
compiler.

Nothing in an export says where files lie on this machine: paths in the config lose their folders,
and programs hold no source locations. No training image is in it.
"""

import argparse
import hashlib
import json
import os
import pathlib
import shutil
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's start-up lines

import numpy as np

from ivg import command_line, log, model_card, programs, rundir
from ivg.errors import UserError
from ivg.files import file_errors
from ivg.model import Model, load, require_checkpoint

FORMAT, VERSION = "ivg-export", 1
LOCAL = ("data.dir", "data.labels", "frechet.weights")  # fields of the config that are paths


def main(arguments: Sequence[str] | None = None) -> int:
    """Exports the run that the arguments name; returns the exit code."""
    try:
        flags = _flags(arguments)
        workdir = pathlib.Path(flags.workdir).expanduser()
        out = pathlib.Path(flags.out).expanduser() if flags.out else workdir / "export"
        rundir.require_run(workdir)
        require_checkpoint(workdir, flags.step)
        require_safetensors()
        require_free(out)
        with warnings.catch_warnings(record=True) as notes:  # of damaged checkpoints
            warnings.simplefilter("always", UserWarning)
            model = load(workdir, step=flags.step)
        for note in notes:
            print(f"note: {note.message}", file=sys.stderr)
        about = write(model, out)
    except UserError as error:
        return command_line.refuse(error)
    print(
        f"{about['method']} on {about['data']}, step {about['step']}: {about['example']['words']}"
    )
    for name, file in about["files"].items():
        print(f"  {out / name}  {file['bytes']:,} bytes")
    print(f"  {out / 'README.md'}  says how to load them")
    return 0


def write(model: Model, out: str | os.PathLike) -> dict[str, Any]:
    """Writes an export, whole or not at all, and returns what its config.json holds.

    Args:
        model: as `ivg.load` gives it.
        out: the folder; made if absent, replaced if it is an earlier export.

    Raises:
        UserError: safetensors is missing, the folder holds something else or cannot be written.
    """
    require_safetensors()
    out = pathlib.Path(out).expanduser().resolve()
    require_free(out)
    made = programs.programs(model)
    example = programs.example_of(model)
    draft = out.with_name(f".{out.name}.draft")
    try:
        with file_errors(out.parent):
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            versions = log.versions()
            files = _write_files(draft, model, made, example, versions)
            about = describe(model, made, example, files, versions)
            rundir.write_json(draft / "config.json", about)
            (draft / "README.md").write_text(model_card.card(about), encoding="utf-8")
            _move(draft, out)
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror or error}.") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return about


# ---- the folder ---------------------------------------------------------------------------------


def describe(
    model: Model,
    made: programs.Programs,
    example: Mapping[str, np.ndarray],
    files: Mapping[str, Mapping[str, Any]],
    versions: Mapping[str, Any],
) -> dict[str, Any]:
    """What config.json holds and the model card is made of."""
    results, reason = scores_of(model)
    codes = {name: code._asdict() for name, code in model.codes.items()}
    functions = {
        name: {"file": f"{name}.jax_export", "inputs": list(f.inputs), "output": f.output}
        for name, f in made.functions.items()
    }
    late = model.functions.encodes_after
    no_encoder = f"{model.method} has no encoder."
    if 0 < late and model.step <= late:
        no_encoder = f"{model.method} has an encoder only after step {late:,}."
    about = {
        "format": FORMAT,
        "version": VERSION,
        "method": model.method,
        "data": model.data,
        "step": model.step,
        "image_shape": list(model.image_shape),
        "attributes": list(model.attributes),
        "classes": list(model.classes),
        "codes": codes,
        "functions": functions,
        "no_encoder": "" if model.can_encode else no_encoder,
        "platforms": list(programs.PLATFORMS),
        "num_weights": sum(w.size for w in made.weights.values()),
        "files": dict(files),
        "example": {"rows": programs.ROWS, "words": programs.compare(made, example)},
        "run": shareable(model.config),
        "results": results,
        "no_results": reason,
        "trained_with": results and results.get("versions"),
        "exported_with": versions,
    }
    return json.loads(json.dumps(about))


def scores_of(model: Model) -> tuple[dict[str, Any] | None, str]:
    """The run's results.json if it is of the model's step; else None and a sentence why."""
    try:
        results = json.loads((model.path / "results.json").read_text())
        step = results["step"]
    except FileNotFoundError:
        return None, "the run has no results.json; `python -m ivg.main --mode=evaluate` makes it."
    except (OSError, ValueError, KeyError, TypeError):
        return None, "the run's results.json cannot be read."
    if step != model.step:
        return None, f"the run's scores are of step {step}, this is step {model.step}."
    return {name: value for name, value in results.items() if name != "figures"}, ""


def shareable(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config whose paths have lost their folders."""

    def short(tree: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        return {
            name: short(value, f"{prefix}{name}.")
            if isinstance(value, Mapping)
            else pathlib.PurePath(value).name
            if f"{prefix}{name}" in LOCAL and value
            else value
            for name, value in tree.items()
        }

    return {"precision": "default"} | short(config, "")


def _write_files(
    folder: pathlib.Path,
    model: Model,
    made: programs.Programs,
    example: Mapping[str, np.ndarray],
    versions: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
    """Writes what is not for people; returns {file: its size and SHA-256}."""
    from safetensors.numpy import save

    about = {"format": FORMAT, "version": VERSION, "method": model.method, "data": model.data}
    about |= {"step": model.step, "commit": versions.get("commit", "unknown")}
    metadata = {name: str(value) for name, value in about.items()}
    # Not save_file, whose files nobody else may read.
    (folder / "weights.safetensors").write_bytes(save(made.weights, metadata=metadata))
    for name, code in made.code.items():
        (folder / f"{name}.jax_export").write_bytes(code)
    np.savez_compressed(folder / "example.npz", **example)
    return {
        path.name: {
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in sorted(folder.iterdir())
    }


def require_safetensors() -> None:
    """Raises UserError where a library that writes exports is missing."""
    try:
        import flatbuffers  # noqa: F401  (jax.export serialises with it)
        import safetensors  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"an export needs {error.name}, which is not installed: pip install 'ivg[export]'."
        ) from None


def require_free(out: pathlib.Path) -> None:
    """Raises UserError where the folder holds anything but an earlier export."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"{out} is a file; name another folder with --out.")
    found = {path.name for path in out.iterdir()}
    if found and not _is_export(out):
        raise UserError(f"{out} is not empty and no earlier export; name another --out.")
    known = {f"{name}.jax_export" for name in ("encode", "generate", "generate_float")}
    known |= {"README.md", "config.json", "weights.safetensors", "example.npz"}
    if strange := sorted(found - known):
        raise UserError(
            f"{out} is an earlier export, but also holds {strange[0]}, which would be lost; move "
            "it away, or name another --out."
        )


def _is_export(folder: pathlib.Path) -> bool:
    try:
        return json.loads((folder / "config.json").read_text())["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _move(draft: pathlib.Path, out: pathlib.Path) -> None:
    """Puts the draft in the place of an earlier export, which is there until the last moment."""
    old = out.with_name(f".{out.name}.replaced")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    draft.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _flags(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ivg.export",
        description="Writes encoder and generator of a trained run, their weights and a model card "
        "into a folder that needs no ivg to be loaded.",
    )
    add = parser.add_argument
    add("--workdir", required=True, help="run directory")
    add("--out", help="folder of the export; an earlier export in it is replaced (default: export "
        "in the run directory)")  # fmt: skip
    add("--step", type=int, help="of the checkpoint (default: the last good one)")
    return command_line.parse(parser, arguments)


if __name__ == "__main__":
    sys.exit(main())
