"""The run directory: whose it is and which changes of config are safe to go on with."""

import json
import pathlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ivg import files
from ivg.errors import UserError

LOCK = "run.lock"  # see `ivg.lock`

# Fields that change how long, how fast or how loudly a run goes, not what it computes.
SAFE = (
    "num_steps",
    "num_runs",
    "runs_at_once",  # equal up to rounding, as steps_per_dispatch
    "parallel",  # so is this, as is the number of devices and processes
    "precision",  # what is stored is float32 in each of them
    "log_every",
    "eval_every",
    "checkpoint_every",
    "keep_checkpoints",
    "on_nan",  # rollbacks.json says from which step on which keys are drawn
    "max_rollbacks",
    "profile_steps",
    "tracker",
    "eval_images",
    "steps_per_dispatch",
    "data.dir",
    "data.in_memory",
    "data.memory_limit_gb",
    "disentanglement.metrics",  # they change what is scored, not what is trained
    "disentanglement.seeds",
    "disentanglement.train_votes",
    "disentanglement.eval_votes",
    "disentanglement.quick_votes",
    "attribute_scores.estimates",
    "attribute_scores.mine_width",
    "attribute_scores.mine_depth",
    "attribute_scores.mine_learning_rate",
    "attribute_scores.mine_batch_size",
    "attribute_scores.mine_steps",
    "attribute_scores.quick_steps",
    "attribute_scores.classifier_steps",
    "attribute_scores.max_images",
    "attribute_scores.leak",
    "frechet.num_images",
    "frechet.reference_images",
    "frechet.weights",
    "frechet.classifier_steps",
)


class Facts(NamedTuple):
    """What `data.json` says of a run's images, so that its model can be had without them.

    Attributes:
        image_shape: (H, W, C).
        attributes: names of the attributes that the data set came with, in their order.
        classes: names of the classes, () where they have none.
        num_images: in the training split.
    """

    image_shape: tuple[int, int, int]
    attributes: tuple[str, ...]
    classes: tuple[str, ...]
    num_images: int


def flatten(config: Mapping, prefix: str = "") -> dict[str, object]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def difference(old: Mapping, new: Mapping) -> list[str]:
    """Lines "field: old -> new" for every field that differs and is not safe to change.

    Of two methods it says that they are two, and nothing of the sections that only one of them has.
    """
    methods = {old.get("method"), new.get("method")}
    sections = tuple(f"{name}." for name in methods) if len(methods) > 1 else ()
    old, new = flatten(old), flatten(new)
    names = [n for n in sorted(old.keys() | new.keys()) if n not in SAFE]
    names = [n for n in names if not n.startswith(sections)]
    return [
        f"{n}: {old.get(n, 'absent')} -> {new.get(n, 'absent')}"
        for n in names
        if old.get(n) != new.get(n)
    ]


def contradictions(stored: Mapping, config: Mapping) -> list[str]:
    """What a checkpoint's own config says otherwise than the run's, as lines of `difference`.

    Fields that only the run's config has do not count: a later version of ivg may have added them.
    """
    stored, config = flatten(stored), flatten(json.loads(json.dumps(config)))
    return difference(stored, {n: x for n, x in config.items() if n in stored})


def in_words(changed: Sequence[str], most: int = 6) -> str:
    """What `difference` found, in a sentence's brackets: the first of them, and how many more."""
    more = [f"and {len(changed) - most} fields more"] if len(changed) > most else []
    return "; ".join([*changed[:most], *more])


def claim(workdir: pathlib.Path, config: Mapping) -> None:
    """Makes the directory this run's own: writes config.json, or checks the one that is there.

    Args:
        workdir: created if absent.
        config: the resolved config, as plain JSON types.

    Raises:
        UserError: if the directory holds a run with another config, or files of something else;
            nothing is changed then.
    """
    config = json.loads(json.dumps(config))
    path = workdir / "config.json"
    with files.file_errors(workdir):
        if path.exists():
            if changed := difference(read_config(workdir), config):
                raise UserError(
                    f"{workdir} holds a run with another config ({in_words(changed)}); "
                    "use another --workdir, or the same config to go on with that run."
                )
            files.require_writable(workdir)
        elif workdir.exists() and (not workdir.is_dir() or _foreign(workdir)):
            raise UserError(
                f"{workdir} exists and is not a run directory (it has no config.json); "
                "use another --workdir or an empty one."
            )
        try:
            workdir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno in files.FULL:
                raise
            raise UserError(
                f"{workdir} cannot be made ({error.strerror}); use another --workdir."
            ) from None
        write_json(path, config)


def _foreign(workdir: pathlib.Path) -> bool:
    """Whether anything but a lock and what starts that failed left lies there."""
    return any(path.name not in (LOCK, "config.tmp") for path in workdir.iterdir())


def read_config(workdir: pathlib.Path) -> dict:
    """The config that a run directory was made with.

    Raises:
        UserError: if there is none or it cannot be read.
    """
    path = workdir / "config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("no object")
        return found
    except FileNotFoundError:
        raise UserError(
            f"{workdir} is not a run directory (no config.json); train first with --mode=train."
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); set that right.") from None
    except (ValueError, RecursionError):
        raise UserError(
            f"{path} is damaged (no JSON object); put back a copy (each checkpoint's ivg.json "
            "holds one, under metadata and config) or start again in another --workdir."
        ) from None


def require_run(path: pathlib.Path) -> None:
    """Raises UserError where no run directory is, or none that can be looked into."""
    with files.file_errors(path):
        _require_run(path)


def _require_run(path: pathlib.Path) -> None:
    if not path.exists():
        raise UserError(f"there is no directory {path}; name a run directory, as --workdir did.")
    if not path.is_dir():
        raise UserError(f"{path} is a file; name the run directory.")
    if not (path / "config.json").exists():
        if runs := runs_in(path):
            raise UserError(f"{path} is not a run directory, but holds some; name one of {runs}.")
        raise UserError(f"{path} is not a run directory (it has no config.json).")


def runs_in(path: pathlib.Path, most: int = 8) -> str:
    """The run directories directly below a directory, in words; "" where there is none."""
    found = sorted(str(config.parent) for config in path.glob("*/config.json"))
    return ", ".join(found[:most]) + (", ..." if len(found) > most else "")


def write_facts(workdir: pathlib.Path, facts: Facts) -> str:
    """Writes data.json, with a checksum.

    Returns:
        What differs from what it said before, in words; "" where nothing does, or it said nothing.
    """
    try:
        before = read_facts(workdir) or facts
    except UserError:
        before = facts
    content = facts._asdict()
    write_json(workdir / "data.json", content | {"crc32": _checksum(content)})
    pairs = zip(facts._fields, before, facts, strict=True)
    return ", ".join(f"{name}: {old} -> {new}" for name, old, new in pairs if old != new)


def _checksum(content: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def read_facts(workdir: pathlib.Path) -> Facts | None:
    """What data.json says; None where there is none, in a directory made before there was one.

    Raises:
        UserError: it cannot be read, or was altered.
    """
    path = workdir / "data.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        seal = found.pop("crc32", None)  # older ones have none
        if seal is not None and seal != _checksum(found):
            raise ValueError("altered")
        names = (tuple(found[name]) for name in ("image_shape", "attributes", "classes"))
        return Facts(*names, int(found["num_images"]))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); set that right.") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(
            f"{path} is damaged; delete it, and the run's data are read instead."
        ) from None


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes a JSON file whole or not at all; on disk when it returns."""
    files.replace(path, json.dumps(content, indent=2) + "\n", draft=f"{path.stem}.tmp")
