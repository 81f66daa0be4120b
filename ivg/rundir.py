"""The run directory: whose it is and which changes of config are safe to go on with."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ivg.errors import UserError

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
    if path.exists():
        changed = difference(read_config(workdir), config)
        if changed:
            raise UserError(
                f"{workdir} holds a run with another config ({in_words(changed)}); "
                "use another --workdir, or the same config to go on with that run."
            )
    elif workdir.exists() and (not workdir.is_dir() or _foreign(workdir)):
        raise UserError(
            f"{workdir} exists and is not a run directory (it has no config.json); "
            "use another --workdir or an empty one."
        )
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except (PermissionError, NotADirectoryError, FileNotFoundError) as error:
        raise UserError(
            f"{workdir} cannot be made ({error.strerror}); use another --workdir."
        ) from None
    write_json(path, config)


def _foreign(workdir: pathlib.Path) -> bool:
    """Whether anything but a draft of config.json, from a start that failed, lies there."""
    return any(path.name != "config.tmp" for path in workdir.iterdir())


def read_config(workdir: pathlib.Path) -> dict:
    """The config that a run directory was made with.

    Raises:
        UserError: if there is none or it cannot be read.
    """
    path = workdir / "config.json"
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(
            f"{workdir} is not a run directory (no config.json); train first with --mode=train."
        ) from None
    except ValueError:
        raise UserError(
            f"{path} is damaged (not JSON); restore it or start again in another --workdir."
        ) from None


def require_run(path: pathlib.Path) -> None:
    """Raises UserError where no run directory is."""
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


def write_facts(workdir: pathlib.Path, facts: Facts) -> None:
    """Writes data.json."""
    write_json(workdir / "data.json", facts._asdict())


def read_facts(workdir: pathlib.Path) -> Facts | None:
    """What data.json says; None where there is none, in a directory made before there was one.

    Raises:
        UserError: it cannot be read.
    """
    path = workdir / "data.json"
    try:
        found = json.loads(path.read_text())
        names = (tuple(found[name]) for name in ("image_shape", "attributes", "classes"))
        return Facts(*names, int(found["num_images"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{path} is damaged; delete it, and the run's data are read instead."
        ) from None


def write_json(path: pathlib.Path, content) -> None:
    """Writes a JSON file whole or not at all."""
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(content, indent=2) + "\n")
    draft.replace(path)
