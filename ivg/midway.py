"""What is looked at in the middle of training: a few images and scores that take seconds."""

import pathlib
from collections.abc import Mapping

import jax

from ivg import alarms, attribute_scores, build, devices, evaluate, pictures, scoring
from ivg.log import Log, read_metrics
from ivg.report import page


def look(
    run: build.Run, config: Mapping, workdir: pathlib.Path, log: Log, state, step: int
) -> None:
    """A sample grid, clustering where there are labels, the page; by the process that writes.

    The state is only read.
    """
    if not devices.is_first():
        return
    with jax.set_mesh(devices.local_mesh(run.mesh)):
        _look(run, config, workdir, log, devices.own_copy(state, run.mesh), step)


def is_missing(config: Mapping, workdir: pathlib.Path, step: int) -> bool:
    """Whether a run that goes on from `step` is still to be looked at: a signal cut that off."""
    if not step or not config["eval_every"] or step % config["eval_every"]:
        return False
    series = read_metrics(workdir)
    return not any(step in steps for name, (steps, _) in series.items() if name.startswith("eval/"))


def _look(run: build.Run, config: Mapping, workdir: pathlib.Path, log: Log, state, step: int):
    method, key = run.method.at(step), jax.random.fold_in(run.eval_key, step)
    log.images(step, {"samples": pictures.sample_picture(method, state, key)})
    scores = {}
    ratio = alarms.diversity(method, state, run.dataset, key)
    if ratio is not None:
        scores["diversity"] = ratio
        log.alarm(step, alarms.sameness(method, ratio, step), kind="diversity")
    votes = config["disentanglement"]["quick_votes"]
    if votes and scoring.has_factors(method, run.dataset):
        scores["factor_vae"] = scoring.quick_score(method, state, run.dataset, votes)
    if evaluate.has_classes(method, run.dataset):
        limit = min(config["eval_images"], 2_000)
        scores |= evaluate.clustering_scores(method, state, run.dataset, limit)
    if method.num_attributes and config["attribute_scores"]["quick_steps"]:
        scores |= attribute_scores.quick_information(
            method, state, run.dataset, key, config["attribute_scores"]
        )
    if scores:  # one line, which is there or is not
        log.scalars(step, scores, prefix="eval")
    page.write_run(run, config, workdir, state, step, running=True)
