"""Who may import whom: downward only, as the README's map of the house says."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "ivg").rglob("*.py"))
ANY = {"command_line", "errors"}
IMPORTS = (ast.Import, ast.ImportFrom)

# room -> the rooms of ivg that it may import
ALLOWED = {
    "errors": set(),
    "command_line": {"terminal"},
    "players": set(),
    "distributions": {"distributions"},
    "transforms": set(),
    "losses": {"distributions", "losses"},
    "npz": set(),
    "metrics": {"metrics", "npz"},
    "networks": {"networks", "npz"},
    "devices": set(),
    "data": {"data"},
    "plots": {"files"},
    "log": {"files", "trackers"},
    "trackers": {"devices", "rundir"},
    "files": set(),
    "record": {"files"},
    "checkpoint": {"files", "record", "rundir"},
    "rundir": {"files"},
    "terminal": set(),
    "cost": set(),
    "profiling": set(),
    "methods": {"devices", "distributions", "losses", "methods", "networks", "players"}
    | {"transforms"},
    "scoring": {"data", "metrics", "players"},
    "probes": {"distributions", "losses", "networks", "players", "probes"},
    "examples": {"data", "players"},
    "pictures": {"data", "examples", "players", "plots", "scoring"},
    "attribute_scores": {"data", "examples", "metrics", "networks", "players", "probes"},
    "attribute_pictures": {"data", "examples", "players", "plots"},
    "frechet_scores": {"data", "devices", "metrics", "networks", "players", "probes"},
    "evaluate": {"attribute_pictures", "attribute_scores", "data", "examples", "log", "metrics"}
    | {"frechet_scores", "pictures", "players", "plots", "rundir", "scoring"},
    "fields": {"configs", "rundir"},
    "build": {"attribute_scores", "data", "devices", "fields", "frechet_scores", "methods"}
    | {"players", "rundir", "scoring", "trackers"},
    "dispatch": {"data", "devices", "players"},
    "watch": {"players"},
    "rollbacks": {"rundir"},
    "calls": {"build", "devices", "dispatch", "players", "rollbacks", "together"},
    "guard": {"calls", "dispatch", "watch"},
    "members": {"build", "calls", "cost", "devices", "guard", "log", "rollbacks", "stopping"}
    | {"together"},
    "recovery": {"build", "calls", "checkpoint", "cost", "devices", "guard", "members"}
    | {"rollbacks", "stopping"},
    "alarms": {"data", "examples", "players"},
    "together": {"devices", "players"},
    "stopping": {"devices"},
    "lock": {"devices", "rundir"},
    "midway": {"alarms", "attribute_scores", "build", "devices", "evaluate", "log", "pictures"}
    | {"report", "scoring"},
    "train": {
        "build",
        "checkpoint",
        "cost",
        "data",
        "devices",
        "dispatch",
        "evaluate",
        "log",
        "midway",
        "profiling",
    }
    | {"frechet_scores", "rundir", "stopping", "terminal", "together", "trackers"}
    | {"alarms", "calls", "guard", "lock", "members", "recovery", "report", "rollbacks"},
    "report": {"attribute_pictures", "catalogue", "data", "examples", "files", "log", "pictures"}
    | {"players", "plots", "report", "rundir", "scoring"},
    # The command of `report` trains nothing, but restores: it stands above `train`.
    "report.__main__": {"build", "checkpoint", "memory", "report", "rundir", "runs"},
    "ranking": {"data", "examples", "metrics", "players", "plots", "ranking", "rundir", "runs"}
    | {"scoring"},
    "compilation": set(),
    "configs": set(),
    "memory": set(),
    "runs": {"build", "checkpoint", "compilation", "devices", "examples", "files", "plots"}
    | {"lock", "rundir", "stopping", "summary", "terminal", "train"},
    "summary": {"terminal"},
    "catalogue": set(),
    "config_files": {"catalogue", "configs"},
    "arguments": {"players"},
    "model": {"arguments", "build", "checkpoint", "data", "devices", "examples", "players", "plots"}
    | {"rundir"},
    "explore": {"compilation", "data", "examples", "explore", "log", "model", "players"},
    "programs": {"build", "examples", "model", "players"},
    "card_scores": set(),
    "model_card": {"card_scores", "catalogue"},
    "export": {"files", "log", "model", "model_card", "programs", "rundir"},
    "mistakes": {"config_files"},
    "main": {"config_files", "devices", "fields", "memory", "mistakes", "runs"},
}
# package -> the rooms that may import it
OUTSIDE = {
    "flax": {"networks"},
    "optax": {"players", "methods", "build", "probes"},
    "orbax": {"checkpoint"},
    "ml_collections": {"main"},
    "tensorflow_datasets": {"data"},
    "grain": {"data"},
    "matplotlib": {"plots", "ranking"},
    "gradio": {"explore"},
    "fastapi": {"explore"},
    "uvicorn": {"explore"},
    "PIL": {"data", "explore", "plots", "report"},
    "tensorboardX": {"log"},
    "wandb": set(),  # trackers imports it by name, when asked for
    "mlflow": set(),
    "sklearn": {"metrics", "data"},
    "tensorflow": set(),
}


def room(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT / "ivg").with_suffix("").parts
    return ".".join(parts) if ".".join(parts) in ALLOWED else parts[0]


def imports(path: pathlib.Path) -> set[str]:
    """Dotted names of everything that a file imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            raise AssertionError(f"{path} has a relative import")
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_downward(path):
    here = room(path)
    if here == "__init__":  # what it gives is imported when it is asked for
        assert imports(path) == {"ivg.model"}
        assert not any(isinstance(node, IMPORTS) for node in ast.parse(path.read_text()).body)
        return
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "ivg" and rest:
            assert rest[0] in ALLOWED[here] | ANY, f"{here} imports ivg.{rest[0]}"
        if top in OUTSIDE:
            assert here in OUTSIDE[top], f"{here} imports {top}"


def test_every_room_is_known():
    assert {room(path) for path in FILES} - {"__init__"} == set(ALLOWED)


@pytest.mark.parametrize("folder", ["ivg", "configs", "experiments", "tests"])
def test_no_file_above_400_lines(folder):
    long = {p.name: n for p in (ROOT / folder).rglob("*.py")
            if (n := len(p.read_text().splitlines())) > 400}  # fmt: skip
    assert not long


def test_nothing_imports_the_experiments():
    for path in FILES:
        assert not any(name.split(".")[0] == "experiments" for name in imports(path))
