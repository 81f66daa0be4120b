"""The device calls of training: which comes when, and what it is given.

Both the loop and who runs a part of it again, to find what went wrong, take them from here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ivg import build, devices, rollbacks, together
from ivg.dispatch import (
    first_batch,
    make_dispatch,
    make_feed,
    make_step,
    next_stop,
    phase_at,
    reader,
)
from ivg.players import Phase


class Calls(NamedTuple):
    """The calls of one run, or of several that are trained as one.

    Attributes:
        phases: of the method.
        dispatches: of each phase, the function of a call; see `dispatch.make_dispatch`.
        steps: of each phase, one step alone; see `dispatch.make_step`.
        images: what stays on the devices.
        feeds: (first, steps, per_step) -> batches, of each run.
        keys: from which step on which keys are drawn from.
        every: a call ends at each multiple of one of these numbers of steps.
        num_steps: of the training.
        mesh: the devices.
    """

    phases: tuple[Phase, ...]
    dispatches: list[Callable]
    steps: list[Callable]
    images: jax.Array
    feeds: list[Callable]
    keys: dict[int, jax.Array]
    every: tuple[int, ...]
    num_steps: int
    mesh: jax.sharding.Mesh

    def end(self, step: int) -> int:
        """Where the call that starts at `step` ends."""
        later = [start for start in self.keys if start > step]
        return next_stop(
            step, (self.num_steps, self.phases[phase_at(self.phases, step)].end, *later), self.every
        )

    def inputs(self, step: int, end: int) -> tuple[Any, jax.Array, jax.Array]:
        """Batches, number of the first step and keys of that call."""
        phase = self.phases[phase_at(self.phases, step)]
        what = first_batch(self.phases, step), end - step, phase.num_batches
        batches = together.arrange([feed(*what) for feed in self.feeds], self.mesh)
        key = self.keys[max(start for start in self.keys if start <= step)]
        return batches, devices.place_state(np.int32(step), self.mesh), key


def make_calls(
    runs: Sequence[build.Run],
    configs: Sequence[Mapping],
    pasts: Sequence[Sequence[rollbacks.Rollback]],
    mesh: jax.sharding.Mesh,
) -> Calls:
    """The calls of runs that differ in their seeds and their rollbacks only."""
    run, config, train = runs[0], configs[0], runs[0].dataset.train
    read = reader(train.images)
    dispatches = [make_dispatch(phase.step, read) for phase in run.method.phases]
    per_dispatch = config["steps_per_dispatch"] or (20 if devices.on_accelerator() else 1)
    made = (
        make_feed(
            train.images,
            seed=config["seed"],
            batch_size=config["batch_size"],
            mesh=mesh,
            attributes=train.attributes if run.method.num_attributes else None,
        )
        for config in configs
    )
    images, first = next(made)  # the images once, the batches of each run in its own order
    return Calls(
        phases=run.method.phases,
        dispatches=[together.as_one(dispatch, len(runs), mesh) for dispatch in dispatches],
        steps=[make_step(phase.step, read) for phase in run.method.phases],
        images=images,
        feeds=[first, *(feed for _, feed in made)],
        keys=rollbacks.keys_from(
            [one.train_key for one in runs], pasts, lambda keys: together.place_keys(keys, mesh)
        ),
        every=(*(config[f"{what}_every"] for what in ("log", "eval", "checkpoint")), per_dispatch),
        num_steps=config["num_steps"],
        mesh=mesh,
    )
