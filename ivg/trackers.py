"""Weights & Biases and MLflow, where a config asks for one: --config.tracker=wandb, or mlflow.

They are told what TensorBoard is told, the config and the final scores; `metrics.jsonl` stays the
same. Their own environment variables say where to: WANDB_PROJECT, WANDB_MODE (offline, and later
`wandb sync`), MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME and their like; the project is "ivg"
where none is named. A run is called after its directory, which keeps the tracker's identifier in
`tracker.json`: a run that goes on does so in the same run of the tracker.

A tracker that does not answer when the training starts is an error then. Later it is a warning: a
thread does the telling, so that a slow or dead network costs the training nothing.
"""

import contextlib
import importlib
import importlib.util
import json
import os
import pathlib
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ivg import devices, rundir
from ivg.errors import UserError

FILE = "tracker.json"
PROJECT = "ivg"
PATIENCE = 60.0  # seconds at the end for what is still to be sent
HURRY = 3.0  # the same where a signal asked the process to end
_STEP_TAG = "ivg.last_step"  # of an MLflow run


class Client(NamedTuple):
    """One run of a tracker. Every call may wait for a network, and raise anything."""

    run_id: str
    where: str  # its address, for people
    scalars: Callable[[int, Mapping[str, float]], None]
    images: Callable[[int, Mapping[str, np.ndarray]], None]
    scores: Callable[[int, Mapping[str, float]], None]
    close: Callable[[str], None]  # takes "FINISHED", "KILLED" or "FAILED"


class Tracker:
    """Tells a client without ever waiting for it; its failures are one warning."""

    def __init__(self, name: str, client: Client) -> None:
        """Starts the thread that does the telling.

        Args:
          name: of the tracker, for the warning.
          client: what is told.
        """
        self._name, self._client, self._warned = name, client, False
        self._calls: queue.SimpleQueue[tuple[Callable, tuple] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._tell, daemon=True)
        self._thread.start()

    def scalars(self, step: int, numbers: Mapping[str, float]) -> None:
        """Numbers of one step by name; NaN and inf among them."""
        self._calls.put((self._client.scalars, (int(step), dict(numbers))))

    def images(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Pictures of one step by name, uint8 [H, W, 1 or 3]."""
        self._calls.put((self._client.images, (int(step), dict(pictures))))

    def scores(self, results: Mapping[str, Any]) -> None:
        """Every number of a run's results, as `results/clustering/accuracy` and so on."""
        self._calls.put((self._client.scores, (int(results["step"]), numbers_of(results))))

    def close(self, status: str = "FINISHED", patience: float = PATIENCE) -> None:
        """Ends the tracker's run once all is told, or after `patience` seconds.

        Args:
          status: "FINISHED", "KILLED" or "FAILED".
          patience: seconds.
        """
        self._calls.put((self._client.close, (status,)))
        self._calls.put(None)
        self._thread.join(patience)
        if self._thread.is_alive():
            self._warn(f"has not taken everything within {patience:.0f} s")

    def _tell(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call[0](*call[1])
            except Exception as error:  # whatever a foreign library raises: the training goes on
                self._warn(f"has not taken everything ({_words(error)})")

    def _warn(self, what: str) -> None:
        if not self._warned:
            self._warned = True
            print(f"warning: {self._name} {what}; the run directory has all of it", flush=True)


def check(name: str) -> None:
    """Raises UserError for a tracker that there is not."""
    if name and name not in _OPENERS:
        raise UserError(f'tracker="{name}" is not a choice; use wandb, mlflow or "" for none.')


@contextlib.contextmanager
def opened(
    configs: Sequence[Mapping], workdirs: Sequence[pathlib.Path]
) -> Iterator[list[Tracker | None]]:
    """The tracker of each run, closed afterwards; None where none is asked for.

    Only the first process has them.

    Args:
      configs: resolved configs; one made before there were trackers has none.
      workdirs: the run directories, which exist.

    Raises:
      UserError: in every process, where the tracker is not installed or does not take the run.
    """
    found: list[Tracker | None] = []

    def connect() -> None:
        for config, workdir in zip(configs, workdirs, strict=True):
            found.append(_connected(config, workdir) if config.get("tracker") else None)

    status = "FAILED"
    try:
        if any(config.get("tracker") for config in configs):
            devices.on_first(connect)
        yield found or [None] * len(configs)
        status = "FINISHED"
    except (SystemExit, KeyboardInterrupt):
        status = "KILLED"
        raise
    finally:
        for tracker in found:
            if tracker is not None:
                tracker.close(status, HURRY if status == "KILLED" else PATIENCE)


def tell_scores(told: Sequence[Tracker | None], results: Sequence[Mapping[str, Any]]) -> None:
    """Tells each run's tracker, if it has one, what results.json holds."""
    for tracker, result in zip(told, results, strict=True):
        if tracker is not None:
            tracker.scores(result)


def _connected(config: Mapping, workdir: pathlib.Path) -> Tracker:
    """Starts or takes up the tracker's run, and keeps its identifier in the run directory."""
    name, path = config["tracker"], workdir / FILE
    check(name)
    words, module, connect, advice = _OPENERS[name]
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:  # no origin: a folder of that name lies here
        raise UserError(
            f"--config.tracker={name} needs a package that is not installed; "
            f"`pip install 'ivg[{name}]'`, or train without a tracker (--config.tracker=)."
        )
    try:
        kept = json.loads(path.read_text()) if path.exists() else {}
        client = connect(
            importlib.import_module(module), config, workdir, kept.get(name, {}).get("run_id")
        )
    except Exception as error:  # of any kind: no two versions of these libraries raise the same
        raise UserError(
            f"{words} does not take this run ({_words(error)}); {advice}, or train without a "
            "tracker (--config.tracker=)."
        ) from error
    rundir.write_json(path, kept | {name: {"run_id": client.run_id, "where": client.where}})
    print(f"{words}: {client.where}")
    return Tracker(words, client)


def _wandb(wandb: ModuleType, config: Mapping, workdir: pathlib.Path, run_id: str | None) -> Client:
    """A run of Weights & Biases.

    It takes no step twice: what is repeated after a kill, which is the same again, is dropped.
    """
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        dir=str(workdir),
        name=_title(workdir),
        id=run_id,
        resume="allow",
        config=dict(config),
        allow_val_change=True,  # of the fields that may change when a run goes on
        reinit="create_new",  # several seeds at once have a run each
        settings=wandb.Settings(
            silent=True,
            console="off",
            init_timeout=float(os.environ.get("WANDB_INIT_TIMEOUT", 30)),
        ),
    )

    def images(step: int, pictures: Mapping[str, np.ndarray]) -> None:
        run.log({name: wandb.Image(_rgb(x)) for name, x in pictures.items()}, step=step)

    return Client(
        run_id=run.id,
        where=f"{pathlib.Path(run.dir).parent}, offline" if run.offline else str(run.url),
        scalars=lambda step, numbers: run.log(dict(numbers), step=step),
        images=images,
        scores=lambda step, numbers: run.summary.update(dict(numbers)),
        close=lambda status: run.finish(exit_code=0 if status == "FINISHED" else 1),
    )


def _mlflow(
    mlflow: ModuleType, config: Mapping, workdir: pathlib.Path, run_id: str | None
) -> Client:
    """A run of MLflow, which would keep what is told twice: steps that it has are passed over."""
    # Seven tries by default, which take minutes: long for somebody who mistyped the address.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    client = mlflow.MlflowClient()
    if run_id is None:
        run_id = client.create_run(
            _experiment(mlflow, client), run_name=_title(workdir)
        ).info.run_id
        fields = [
            mlflow.entities.Param(_plain(name), str(value)[:500])
            for name, value in rundir.flatten(config).items()
        ]
        for first in range(0, len(fields), 100):  # no more are taken at once
            client.log_batch(run_id, params=fields[first : first + 100])
    else:
        client.update_run(run_id, status="RUNNING")
    client.log_dict(run_id, dict(config), "config.json")
    last = int(client.get_run(run_id).data.tags.get(_STEP_TAG, -1))

    def scalars(step: int, numbers: Mapping[str, float]) -> None:
        if step < last:
            return
        now = int(1000 * time.time())
        metrics = [mlflow.entities.Metric(_plain(n), x, now, step) for n, x in numbers.items()]
        tag = mlflow.entities.RunTag(_STEP_TAG, str(step))
        for first in range(0, len(metrics), 500):
            client.log_batch(run_id, metrics=metrics[first : first + 500], tags=[tag])

    def images(step: int, pictures: Mapping[str, np.ndarray]) -> None:
        for name, picture in pictures.items() if step >= last else ():
            client.log_image(run_id, _rgb(picture), key=_plain(name), step=step)

    return Client(
        run_id=run_id,
        where=f"run {run_id} at {mlflow.get_tracking_uri()}",
        scalars=scalars,
        images=images,
        scores=scalars,
        close=lambda status: client.set_terminated(run_id, status),
    )


def _experiment(mlflow: ModuleType, client: Any) -> str:
    """The identifier of MLflow's experiment, which is made where there is none."""
    if found := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return found
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    known = client.get_experiment_by_name(name)
    if known is None:
        try:
            return client.create_experiment(name)
        except mlflow.MlflowException:
            known = client.get_experiment_by_name(name)  # another process has just made it
            if known is None:
                raise
    return known.experiment_id


def numbers_of(results: Mapping[str, Any]) -> dict[str, float]:
    """The numbers in what results.json holds, by path: `results/clustering/accuracy`."""
    skipped = ("cost", "figures", "seed", "step", "versions")
    flat = rundir.flatten({name: x for name, x in results.items() if name not in skipped})
    return {
        "results/" + name.replace(".", "/"): float(value)
        for name, value in flat.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _title(workdir: pathlib.Path) -> str:
    """What a run is called; that of one seed among several after the directory of all."""
    *_, above, own = ("", *workdir.resolve().parts)
    return f"{above}/{own}" if re.fullmatch(r"seed_\d+", own) else own


def _plain(name: str) -> str:
    """A name of the characters that MLflow takes."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def _rgb(picture: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] of a picture [H, W, 1 or 3]."""
    return np.array(np.broadcast_to(picture, (*picture.shape[:2], 3)))


def _words(error: Exception) -> str:
    """The first line of an error, shortened, without the full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip(".")


# tracker -> its name for people, its package, what starts a run, and what to do if that fails
_OPENERS: Mapping[str, tuple[str, str, Callable[..., Client], str]] = {
    "wandb": (
        "Weights & Biases",
        "wandb",
        _wandb,
        "log in with `wandb login`, or keep the run on this machine with WANDB_MODE=offline",
    ),
    "mlflow": (
        "MLflow",
        "mlflow",
        _mlflow,
        "set MLFLOW_TRACKING_URI to the address of a tracking server, or `pip install mlflow`, "
        "the whole of it, for a database on this machine",
    ),
}
