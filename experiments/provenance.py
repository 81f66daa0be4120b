"""The page of reliability: what every entry of its JSON file says of where it comes from."""

import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
from collections.abc import Sequence


def about(checkout: pathlib.Path, command: str, seconds: float, packages: Sequence[str]) -> dict:
    """The command, how long it took, on what, of which commit, with which versions."""
    git = ["git", "-C", str(checkout)]
    commit, changed = (
        subprocess.run([*git, *words], capture_output=True, text=True).stdout.strip()
        for words in (
            ["rev-parse", "HEAD"],
            ["status", "--porcelain", "--", ".", ":!experiments/results"],
        )
    )
    return {
        "command": command,
        "seconds": round(seconds),
        "device": f"CPU, {len(os.sched_getaffinity(0))} cores, {platform.machine()}",
        "commit": commit + (" with changes" if changed else ""),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in packages},
    }


def update(file: pathlib.Path, name: str, entry: dict) -> None:
    """Replaces one entry of the JSON file and leaves the others."""
    known = json.loads(file.read_text()) if file.exists() else {}
    draft = file.with_suffix(".tmp")
    draft.write_text(json.dumps(known | {name: entry}, indent=1) + "\n")
    draft.replace(file)
