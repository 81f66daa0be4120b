"""Signs that a training has collapsed: warnings with their evidence, never a stop.

Each is a simple threshold on what is logged anyway, far from what healthy runs show: some 160 runs
of the methods here on digits, MNIST, sprites, faces and CelebA were looked at, and where their
numbers come nearest is said beside each threshold. All but diversity must hold over many steps,
because most of them hold at the start of every training.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

from ivg import data
from ivg.examples import chosen, generate, images_of, inputs, prior
from ivg.players import Method

# Steps over which a sign must be seen in every line of the log, and in so many lines at least. The
# slowest healthy run (IB-GAN on sprites) has codes without any KL for its first 400 steps, and
# InfoVAEGAN with networks of 8 units codes without information for its first 750.
PATIENCE = {"saturation": 1_000, "gradient": 1_000, "kl": 1_000, "codes": 2_000}
LINES = 3
# Mean cross-entropy of both of a discriminator's answers: it is right with p > 0.99. Lowest healthy
# one: 0.04 (ALI on MNIST). Smoothed labels, IB-GAN's on faces, keep it away from 0 in any case.
FLOOR = 0.01
# WGAN-GP's penalty (|grad| - 1)^2 is 1 where the critic is flat, and its distance 0 then. Healthy
# after 300 steps: penalties below 0.3, or above 0.5 with distances of tens (a steep critic).
FLAT_PENALTY, FLAT_DISTANCE = 0.9, 0.01
# Nats, of the largest KL(q || prior) that is logged; healthy ones are above 0.15 by step 2,000.
NO_KL = 0.01
# Nats, of the largest bound on a code's information; healthy ones are above 1 by step 5,000.
NO_INFORMATION = 0.05
# Mean distance of two generated images over that of two real ones. Healthy GANs: 0.7 to 1.2;
# autoencoders, whose images are means: 0.2 to 1, and 0.1 where beta leaves the codes little KL.
SAME, SAME_MEANS = 0.25, 0.05
SAMPLES = 100
EARLY = 2_000  # steps before which it is only logged: some generators begin with one grey image


class Sign(NamedTuple):
    """A sign that is seen now: the step since which it is, and lines of the log that show it."""

    since: int
    lines: int


class Watch:
    """Follows the log of one run."""

    def __init__(self) -> None:
        """Nothing is seen yet."""
        self._seen: dict[str, Sign] = {}

    def __call__(self, first: int, step: int, means: Mapping[str, float]) -> dict[str, str | None]:
        """What a line of the log adds: by kind a sentence where its patience is at an end.

        Args:
            first: the step after which its means begin.
            step: the last step of them.
            means: metrics by name.
        """
        found = {}
        for kind, evidence in signs(means).items():
            if evidence is None:
                self._seen.pop(kind, None)
                found[kind] = None
                continue
            since, lines = self._seen.get(kind, Sign(first, 0))
            self._seen[kind] = Sign(since, lines + 1)
            ripe = step - since >= PATIENCE[kind] and lines + 1 >= LINES
            found[kind] = f"{evidence}, since step {since}" if ripe else None
        return found


def signs(means: Mapping[str, float]) -> dict[str, str | None]:
    """The evidence that one line of the log has for each kind of collapse, or None."""
    return {
        "saturation": _saturation(means),
        "gradient": _gradient(means),
        "kl": _kl(means),
        "codes": _codes(means),
    }


def _saturation(means: Mapping[str, float]) -> str | None:
    loss = means.get("D/loss")
    if loss is None or loss >= FLOOR:
        return None
    logits = [f"D/{name} = {means[f'D/{name}']:.3g}" for name in ("real", "fake")
              if f"D/{name}" in means]  # fmt: skip
    evidence = ", ".join([f"D/loss = {loss:.2g}", *logits])
    return (
        f"the discriminator makes no mistake any more ({evidence}), so that the generator learns "
        "little from it: lower its learning rate, or add instance noise"
    )


def _gradient(means: Mapping[str, float]) -> str | None:
    penalty, distance = means.get("D/penalty"), means.get("D/wasserstein")
    if penalty is None or distance is None:
        return None
    if penalty <= FLAT_PENALTY or abs(distance) >= FLAT_DISTANCE:
        return None
    return (
        f"the critic has no gradient (D/penalty = {penalty:.3g}, D/wasserstein = {distance:.2g}) "
        "and teaches the generator nothing: lower its learning rate, or start again"
    )


def _kl(means: Mapping[str, float]) -> str | None:
    names = [n for n in means if n.split("/")[-1].startswith("kl") or n.endswith("/info_upper")]
    if not names:
        return None
    most = max(names, key=lambda name: means[name])
    if means[most] >= NO_KL:
        return None
    return (
        f"the KL of every code is 0 ({most} = {means[most]:.2g} nats is the largest), so that the "
        "codes tell nothing of the images: lower the weight of that term (beta), or let it rise "
        "slowly"
    )


def _codes(means: Mapping[str, float]) -> str | None:
    names = [name for name in means if name.split("/")[-1] in ("info_d", "info_lower")]
    if not names:
        return None
    most = max(names, key=lambda name: means[name])
    if means[most] >= NO_INFORMATION:
        return None
    return (
        f"generated images tell nothing of their codes ({most} = {means[most]:.2g} nats): raise "
        "the weight of the information, or the learning rate of who reads it"
    )


def diversity(method: Method, state, dataset: data.Dataset, key: jax.Array) -> float | None:
    """Mean distance of two generated images over that of two test images; 0 where all are one.

    Distances are Euclidean, between all pairs of 100 images each. None where there are not two
    different test images.
    """
    real = np.asarray(images_of(inputs(method, dataset.test, chosen(dataset, SAMPLES))))
    apart = mean_distance(real)
    if not apart > 0:
        return None
    return mean_distance(generate(method, state, prior(method, state, key, SAMPLES))) / apart


def mean_distance(images: np.ndarray) -> float:
    """Mean Euclidean distance of all pairs of n images [n, ...]; 0 for fewer than two."""
    x = np.asarray(images, np.float64).reshape(len(images), -1)
    if len(x) < 2:
        return 0.0
    squares = [np.sum((x[i + 1 :] - x[i]) ** 2, axis=1) for i in range(len(x) - 1)]
    return float(np.mean(np.sqrt(np.concatenate(squares))))


def sameness(method: Method, ratio: float, step: int) -> str | None:
    """A sentence where `diversity` says that the generator draws one image; else None."""
    least = SAME if method.log_likelihood is None else SAME_MEANS
    if ratio >= least or step < EARLY:
        return None
    return (
        f"generated images hardly differ: the mean distance of two is {ratio:.2g} times that of "
        "two real ones (eval/diversity); the generator has collapsed, or ignores its input: go "
        "back to an earlier checkpoint with a lower learning rate"
    )
