"""What the PyTorch training steps of `experiments.bench_step` have in common.

No dead work: a loss is computed with the players that do not move `frozen`, so that their weights
get no gradients, and generated images are detached before another player sees them.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Losses = dict[str, Tensor]
Wrap = Callable[[Callable], Callable]  # the identity, or torch.compile


class Player(NamedTuple):
    """One network and its optimiser."""

    network: nn.Module
    optimizer: torch.optim.Optimizer


class Setting(NamedTuple):
    """What a step is made of.

    Attributes:
        image_shape: (H, W, C).
        batch_size: images in a minibatch.
        hyper: the method's section of the config.
        device: where everything is.
        wrap: what is done to a function that computes a loss.
    """

    image_shape: tuple[int, int, int]
    batch_size: int
    hyper: Mapping[str, Any]
    device: torch.device
    wrap: Wrap


class Game(NamedTuple):
    """A method: its players by the names that our state has, and its step.

    step: (images [n, B, C, H, W] in [-1, 1], labels [n, B, k], step number) -> losses.
    num_batches: minibatches that a step takes.
    others: optimisers besides the players' own.
    """

    players: dict[str, Player]
    step: Callable[[Tensor, Tensor, int], Losses]
    num_batches: int
    others: tuple[torch.optim.Optimizer, ...] = ()


def player(setting: Setting, name: str, network: nn.Module) -> Player:
    """A network on the device with the optimiser that the config gives it."""
    network = network.to(setting.device, memory_format=torch.channels_last)
    return Player(network, optimizer(setting, name, network))


def optimizer(setting: Setting, name: str, network: nn.Module) -> torch.optim.Optimizer:
    """An optimiser from its config section; milestones come later than a bench."""
    spec = setting.hyper["optimizer"][name]
    weights = list(network.parameters())
    if spec["name"] == "adam":
        betas = spec["b1"], spec["b2"]
        eps = spec.get("eps", 1e-8)
        return torch.optim.Adam(weights, spec["learning_rate"], betas, eps, fused=True)
    return torch.optim.RMSprop(
        weights,
        spec["learning_rate"],
        alpha=spec["decay"],
        eps=spec["eps"],
        momentum=spec["momentum"],
    )


@contextlib.contextmanager
def frozen(*players: Player) -> Iterator[None]:
    """Within it, losses have no gradients for the weights of these players."""
    weights = [w for one in players for w in one.network.parameters()]
    for weight in weights:
        weight.requires_grad_(False)
    yield
    for weight in weights:
        weight.requires_grad_(True)


def descend(loss: Tensor, *players: Player) -> None:
    """Gradients of the players alone; nothing moves yet."""
    for one in players:
        one.optimizer.zero_grad(set_to_none=True)
    loss.backward(inputs=[w for one in players for w in one.network.parameters()])


def move(*players: Player) -> None:
    """One optimiser step of each."""
    for one in players:
        one.optimizer.step()


def line(start: float, end: float, steps: int) -> Callable[[int], float]:
    """A number that goes linearly from start to end over so many steps, then stays."""
    return lambda t: end if t >= steps else start + (end - start) * t / steps


def sample(mean: Tensor, log_var: Tensor) -> Tensor:
    """One reparameterised sample of a Gaussian."""
    return mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)


def kl_standard(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mean, exp(log_var)) || N(0, I)), `[B]`."""
    return 0.5 * (mean.square() + torch.expm1(log_var) - log_var).sum(1)


def gumbel_softmax(logits: Tensor, temperature: float) -> Tensor:
    """A relaxed sample of a categorical."""
    return nn.functional.gumbel_softmax(logits, temperature)


def kl_uniform(logits: Tensor) -> Tensor:
    """KL of a categorical from the uniform one, `[B]`."""
    log_p = logits.log_softmax(1)
    return math.log(logits.shape[1]) + (log_p.exp() * log_p).sum(1)
