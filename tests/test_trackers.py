"""Weights & Biases and MLflow as they are, without a network; and trackers that fail."""

import importlib.util
import json
import pathlib
import struct
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_train import CONFIG, make_run, toy

from ivg import build, rundir, trackers, train
from ivg.configs import digits
from ivg.errors import UserError
from ivg.log import Log

RED = np.broadcast_to(np.array([200, 0, 0], np.uint8), (6, 4, 3))
RESULTS = {
    "method": "infovaegan",
    "step": 20,
    "seed": 3,
    "clustering": {"accuracy": 0.5, "counts": [1, 2]},
    "attributes": {"information": {"c;y": {"mean": 0.25}}},
    "versions": {"device_count": 4},
    "passed": True,
}
installed = {name: importlib.util.find_spec(name) for name in ("wandb", "mlflow")}


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """Nobody's account, and nothing sent anywhere."""
    for name in ("WANDB_API_KEY", "WANDB_PROJECT", "WANDB_RUN_ID", "MLFLOW_EXPERIMENT_NAME",
                 "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def config_of(tracker: str, **changes: Any) -> dict:
    return digits.get_config("infovaegan").to_dict() | {"tracker": tracker} | changes


class Fake:
    """A tracker that remembers what it was told, and may fail."""

    def __init__(self, fails: tuple[str, ...] = ()) -> None:
        self.told: list[tuple] = []
        self.fails = fails

    def client(self, run_id: str = "7") -> trackers.Client:
        def call(name: str):
            def tell(*arguments):
                self.told.append((name, *arguments))
                if name in self.fails:
                    raise OSError("no route to host.\nTraceback and so on")

            return tell

        return trackers.Client(
            run_id, "http://tracker/7", *map(call, ("scalars", "images", "scores", "close"))
        )

    def opens(self, monkeypatch) -> list:
        """Stands for `wandb`. Returns what it is asked to take up, as it comes."""
        asked: list = []

        def connect(module, config, workdir, run_id):
            asked.append((config["seed"], workdir.name, run_id))
            if "connect" in self.fails:
                raise ValueError("no account")
            return self.client(run_id or f"new{len(asked)}")

        monkeypatch.setitem(trackers._OPENERS, "wandb", ("A tracker", "json", connect, "log in"))
        return asked


def write(log: Log, step: int) -> None:
    log.scalars(step, {"D/loss": step / 4, "G/loss": float("nan")})
    log.cost(step, {"steps_per_second": 12.0})
    log.images(step, {"samples": RED})


# ---- what a tracker may not do ----


def test_none_is_imported_where_none_is_asked_for(tmp_path, monkeypatch):
    for name in installed:
        monkeypatch.setitem(sys.modules, name, None)  # importing it would raise
    assert digits.get_config().tracker == ""
    with trackers.opened([CONFIG, config_of("")], [tmp_path, tmp_path]) as told:
        assert told == [None, None]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_one_that_is_not_installed(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"pip install 'ivg\[{name}\]'"):
        with trackers.opened([config_of(name)], [tmp_path]):
            pass
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])  # wandb makes such folders
    monkeypatch.setattr(sys, "meta_path", [m for m in sys.meta_path if "ditable" not in str(m)])
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match="not installed"):
        with trackers.opened([config_of(name)], [tmp_path]):
            pass


def test_no_other_name():
    with pytest.raises(UserError, match='tracker="tensorboard" is not a choice; use wandb, mlflow'):
        build.check_numbers(config_of("tensorboard"))
    build.check_numbers(config_of("mlflow"))


def test_a_run_may_get_one_when_it_goes_on(tmp_path):
    old = config_of("")
    del old["tracker"]
    rundir.claim(tmp_path / "run", old)
    rundir.claim(tmp_path / "run", config_of("wandb"))


def test_the_run_directory_is_the_same_with_one(tmp_path):
    fake = Fake(fails=("scalars", "images"))
    for name, tracker in (("with", trackers.Tracker("It", fake.client())), ("without", None)):
        with Log(tmp_path / name, resume_step=None, tracker=tracker) as log:
            for step in (10, 20):
                write(log, step)
            log.cost_report(20, {"seconds": 3.0, "device": "cpu"})
        if tracker:
            tracker.close()
    for file in ("metrics.jsonl", "cost.jsonl"):
        ours = (tmp_path / "with" / file).read_bytes()
        assert ours == (tmp_path / "without" / file).read_bytes() and len(ours) > 50
    names = [call[0] for call in fake.told]
    assert names == ["scalars", "scalars", "images"] * 2 + ["scalars", "close"]
    assert fake.told[6] == ("scalars", 20, {"cost/run/seconds": 3.0})


def test_a_failure_is_one_warning_and_the_rest_is_told(capsys):
    fake = Fake(fails=("scalars",))
    tracker = trackers.Tracker("A tracker", fake.client())
    for step in range(3):
        tracker.scalars(step, {"loss": 1.0})
    tracker.scores(RESULTS)
    tracker.close("KILLED")
    assert fake.told[-2:] == [
        ("scores", 20, {"results/clustering/accuracy": 0.5,
                        "results/attributes/information/c;y/mean": 0.25}),
        ("close", "KILLED"),
    ]  # fmt: skip
    out = capsys.readouterr().out
    assert out == (
        "warning: A tracker has not taken everything (no route to host); "
        "the run directory has all of it\n"
    )


def test_a_tracker_that_hangs_is_not_waited_for(capsys):
    free = threading.Event()
    client = Fake().client()._replace(scalars=lambda step, numbers: free.wait(60))
    tracker = trackers.Tracker("A tracker", client)
    for step in range(100):
        tracker.scalars(step, {})  # none of them waits
    tracker.close(patience=0.01)
    assert "within 0 s" in capsys.readouterr().out
    free.set()
    tracker._thread.join(60)
    assert not tracker._thread.is_alive()


# ---- the run directory and the tracker's runs ----


@pytest.mark.parametrize(
    ("ending", "status"),
    [(None, "FINISHED"), (SystemExit(143), "KILLED"), (UserError("a NaN"), "FAILED")],
)
def test_a_run_that_goes_on_does_so_in_the_same_run(tmp_path, monkeypatch, ending, status):
    fake = Fake()
    asked = fake.opens(monkeypatch)
    configs = [config_of("wandb", seed=seed) for seed in (4, 5)]
    workdirs = [tmp_path / f"seed_{seed}" for seed in (4, 5)]
    for workdir in workdirs:
        workdir.mkdir()
    try:
        with trackers.opened(configs, workdirs) as told:
            assert len(set(told)) == 2
            if ending:
                raise ending
    except (SystemExit, UserError) as error:
        assert error is ending
    assert fake.told == [("close", status)] * 2
    with trackers.opened(configs, workdirs):
        pass
    assert asked == [(4, "seed_4", None), (5, "seed_5", None), (4, "seed_4", "new1"),
                     (5, "seed_5", "new2")]  # fmt: skip
    kept = json.loads((workdirs[0] / "tracker.json").read_text())
    assert kept == {"wandb": {"run_id": "new1", "where": "http://tracker/7"}}


def test_a_tracker_that_refuses_the_run(tmp_path, monkeypatch):
    Fake(fails=("connect",)).opens(monkeypatch)
    said = r"A tracker does not take this run \(no account\); log in, or .*--config.tracker=\)\.$"
    with pytest.raises(UserError, match=said):
        with trackers.opened([config_of("wandb")], [tmp_path]):
            pass
    assert not (tmp_path / "tracker.json").exists()


def test_training_tells_it_of_everything(tmp_path, monkeypatch, capsys):
    fake = Fake()
    fake.opens(monkeypatch)
    monkeypatch.setattr(train, "make_runs", lambda configs: [make_run(toy())])
    monkeypatch.setattr(train, "finish", lambda *a: {"step": a[-1], "fid": {"distance": 2.0}})
    config = CONFIG | {"tracker": "wandb", "num_steps": 6, "eval_every": 4}
    train.train(config, tmp_path / "run")
    assert "A tracker: http://tracker/7" in capsys.readouterr().out
    lines = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    scalars = [call[1:] for call in fake.told if call[0] == "scalars"]
    assert [
        {"step": step} | numbers
        for step, numbers in scalars
        if not any("cost/" in name for name in numbers)
    ] == lines and [line["step"] for line in lines] == [2, 4, 4, 6]  # one of the evaluation
    assert any("cost/steps_per_second" in numbers for _, numbers in scalars)
    [(step, pictures)] = [call[1:] for call in fake.told if call[0] == "images"]
    assert step == 4 and pictures["samples"].dtype == np.uint8
    assert fake.told[-2:] == [("scores", 6, {"results/fid/distance": 2.0}), ("close", "FINISHED")]


# ---- the packages themselves ----


@pytest.fixture
def mlflow():
    return pytest.importorskip("mlflow", reason="needs the package mlflow-skinny")


@pytest.fixture
def wandb():
    package = pytest.importorskip("wandb", reason="needs the package wandb")
    yield package
    package.teardown()  # its own process, which also remembers the environment


def told_twice(config: dict, workdir: pathlib.Path) -> None:
    """Steps 10 and 20; killed; from the checkpoint of step 10 on again, to the end."""
    workdir.mkdir(parents=True)
    for start, steps in ((None, (10, 20)), (10, (20, 30))):
        with trackers.opened([config], [workdir]) as [tracker]:
            assert tracker is not None
            with Log(workdir, resume_step=start, tracker=tracker) as log:
                for step in steps:
                    write(log, step)
            if start:
                tracker.scores(RESULTS | {"step": 30})


def test_mlflow(tmp_path, mlflow, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    told_twice(config_of("mlflow", batch_size=17), tmp_path / "digits" / "seed_4")
    assert "warning" not in capsys.readouterr().out
    client = mlflow.MlflowClient()
    [run] = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert run.info.run_name == "digits/seed_4" and run.info.status == "FINISHED"
    assert run.data.params["batch_size"] == "17"
    assert run.data.params["infovaegan.optimizer.G.learning_rate"] == "0.0005"
    assert run.data.metrics["results/attributes/information/c_y/mean"] == 0.25
    assert np.isnan(run.data.metrics["G/loss"])
    history = {m.step: m.value for m in client.get_metric_history(run.info.run_id, "D/loss")}
    assert history == {10: 2.5, 20: 5.0, 30: 7.5}
    costs = client.get_metric_history(run.info.run_id, "cost/steps_per_second")
    assert {m.step for m in costs} == {10, 20, 30}
    pictures = [file.path for file in client.list_artifacts(run.info.run_id, "images")]
    assert any("samples" in path and path.endswith(".png") for path in pictures)
    saved = json.loads((tmp_path / "digits/seed_4/tracker.json").read_text())
    assert saved["mlflow"]["run_id"] == run.info.run_id


def test_mlflow_without_a_server(tmp_path, mlflow, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # the port "discard"
    with pytest.raises(UserError, match=r"^MLflow does not take this run .*MLFLOW_TRACKING_URI"):
        with trackers.opened([config_of("mlflow")], [tmp_path]):
            pass


def records(file: pathlib.Path) -> Iterator[Any]:
    """What is in a file of W&B: protocol buffers in LevelDB's log format, after 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, content = file.read_bytes(), 7, b""
    while at < len(data):
        if (left := 32_768 - at % 32_768) < 7:  # the rest of a block
            at += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, at)
        content += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # all of a record, or its last part
            yield Record.FromString(content)
            content = b""


def test_wandb(tmp_path, wandb, capsys):
    told_twice(config_of("wandb", batch_size=17), tmp_path / "digits")
    wandb.teardown()  # only then is all on disk
    assert "warning" not in capsys.readouterr().out
    kept = json.loads((tmp_path / "digits" / "tracker.json").read_text())["wandb"]
    files = sorted((tmp_path / "digits" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2 and kept["where"] == f"{files[1].parent}, offline"
    values, scores = {}, {}
    for file in files:
        found = list(records(file))
        [run] = [record.run for record in found if record.HasField("run")]
        assert (run.run_id, run.display_name) == (kept["run_id"], "digits")
        assert run.project == "ivg"
        settings = {update.key: json.loads(update.value_json) for update in run.config.update}
        assert settings["batch_size"] == 17 and settings["infovaegan"]["dim_z"] == 8
        for record in found:
            for item in record.history.item:
                values[record.history.step.num, "/".join(item.nested_key)] = item.value_json
            for update in record.summary.update:
                scores["/".join(update.nested_key) or update.key] = update.value_json
    assert [values[step, "D/loss"] for step in (10, 20, 30)] == ["2.5", "5", "7.5"]
    assert values[30, "G/loss"] == "NaN" and values[30, "cost/steps_per_second"] == "12"
    picture = files[1].parent / "files" / json.loads(values[20, "samples/path"])
    assert (np.asarray(Image.open(picture)) == RED).all()
    assert scores["results/clustering/accuracy"] == "0.5"


def test_wandb_without_an_account(tmp_path, wandb, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(UserError, match=r"^Weights & Biases .*`wandb login`.*WANDB_MODE=offline"):
        with trackers.opened([config_of("wandb")], [tmp_path]):
            pass
