"""What is looked at in the middle of training: a few images and scores that take seconds."""

import pathlib
from collections.abc import Mapping

import jax

from ivg import alarms, attribute_scores, build, devices, evaluate, pictures, scoring
from ivg.log import Log
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


def _look(run: build.Run, config: Mapping, workdir: pathlib.Path, log: Log, state, step: int):
    method, key = run.method.at(step), jax.random.fold_in(run.eval_key, step)
    log.images(step, {"samples": pictures.sample_picture(method, state, key)})
    ratio = alarms.diversity(method, state, run.dataset, key)
    if ratio is not None:
        log.scalars(step, {"eval/diversity": ratio})
        log.alarm(step, alarms.sameness(method, ratio, step), kind="diversity")
    votes = config["disentanglement"]["quick_votes"]
    if votes and scoring.has_factors(method, run.dataset):
        score = scoring.quick_score(method, state, run.dataset, votes)
        log.scalars(step, {"eval/factor_vae": score})
    if evaluate.has_classes(method, run.dataset):
        scores = evaluate.clustering_scores(
            method, state, run.dataset, min(config["eval_images"], 2_000)
        )
        log.scalars(step, {f"eval/{name}": value for name, value in scores.items()})
    if method.num_attributes and config["attribute_scores"]["quick_steps"]:
        bits = attribute_scores.quick_information(
            method, state, run.dataset, key, config["attribute_scores"]
        )
        log.scalars(step, {f"eval/{name}": value for name, value in bits.items()})
    page.write_run(run, config, workdir, state, step, running=True)
