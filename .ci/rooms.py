"""Tells how much of each room of ivg the tests ran, by lines and by branches.

  python -m pytest --cov=ivg --cov-branch --cov-report=
  python .ci/rooms.py

A report, never a verdict. What runs in processes of its own (most commands) is not seen.
"""

import collections
import json
import pathlib
import sys
import tempfile
from collections.abc import Mapping

COUNTS = ("covered_lines", "num_statements", "covered_branches", "num_branches")


def main() -> int:
    """Prints the report of `.coverage` in the working directory."""
    import coverage

    found = coverage.Coverage()
    found.load()
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "coverage.json"
        found.json_report(outfile=str(file))
        print(lines(json.loads(file.read_text())))
    return 0


def lines(report: Mapping) -> str:
    """A line for each folder of ivg, one for its other files, one for all: per cent run."""
    rooms: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for name, entry in report["files"].items():
        parts = pathlib.PurePosixPath(name.replace("\\", "/")).parts
        inside = parts[parts.index("ivg") :] if "ivg" in parts else parts
        room = "/".join(inside[:2]) if len(inside) > 2 else "ivg/*.py"
        for key in (room, "all"):
            rooms[key].update({count: entry["summary"][count] for count in COUNTS})
    order = sorted(rooms, key=lambda room: (room == "all", room))
    table = [f"coverage: {room:24}{share(rooms[room])}" for room in order]
    return "\n".join([f"coverage: {'':24} lines  branches", *table])


def share(counts: Mapping[str, int]) -> str:
    """Per cent of the lines and of the branches."""
    line = 100 * counts["covered_lines"] / max(counts["num_statements"], 1)
    if not counts["num_branches"]:
        return f"{line:5.1f} %         -"
    return f"{line:5.1f} %   {100 * counts['covered_branches'] / counts['num_branches']:5.1f} %"


if __name__ == "__main__":
    sys.exit(main())
