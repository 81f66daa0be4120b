"""The report of what the tests ran."""

import importlib.util
import pathlib
import re

FILE = pathlib.Path(__file__).resolve().parent.parent / ".ci" / "rooms.py"
_spec = importlib.util.spec_from_file_location("rooms", FILE)
rooms = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rooms)


def entry(*counts: int) -> dict:
    return {"summary": dict(zip(rooms.COUNTS, counts, strict=True))}


def test_rooms_are_summed_up():
    report = {
        "files": {
            "ivg/losses/a.py": entry(9, 10, 1, 4),
            "ivg/losses/b.py": entry(0, 10, 3, 4),
            "ivg/metrics/deep/c.py": entry(1, 1, 0, 0),
            "ivg/train.py": entry(3, 4, 1, 1),
        }
    }
    lines = [re.split(r"  +", line) for line in rooms.lines(report).splitlines()]
    assert [line[0] for line in lines[1:]] == [
        "coverage: ivg/*.py",
        "coverage: ivg/losses",
        "coverage: ivg/metrics",
        "coverage: all",
    ]
    assert lines[1][1:] == ["75.0 %", "100.0 %"]
    assert lines[2][1:] == ["45.0 %", "50.0 %"]
    assert lines[3][1:] == ["100.0 %", "-"]
    assert lines[4][1:] == ["52.0 %", "55.6 %"]
