"""The PyTorch side of `experiments.bench_step`: a case as something that can be run and counted."""

import contextlib
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from experiments import bench_step_gans, bench_step_vaes
from experiments.bench_step_cases import BATCH, Case, config_of
from experiments.bench_step_players import Game, Setting

GAMES: dict[str, Callable[[Setting], Game]] = {
    "beta_tcvae": bench_step_vaes.beta_tcvae,
    "beta_vae": bench_step_vaes.beta_vae,
    "factorvae": bench_step_vaes.factorvae,
    "ibgan": bench_step_gans.ibgan,
    "infovaegan": bench_step_gans.infovaegan,
    "jointvae": bench_step_vaes.jointvae,
    "mmvae": bench_step_vaes.mmvae,
}
TF32 = ("default", "tf32", "bf16")  # where JAX computes float32 products with it on a GPU


class Theirs(NamedTuple):
    """A case in PyTorch.

    Attributes:
        run: makes so many steps and returns when they are done, with the last one's losses.
        parameters: trainable parameters of each player.
        flops: of one step, by PyTorch's counter: convolutions and matrix products.
        memory: bytes that PyTorch's allocator holds at most during a step, or None.
    """

    run: Callable[[int], dict[str, float]]
    parameters: dict[str, int]
    flops: Callable[[], float]
    memory: Callable[[], int | None]


def device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def settle(*, threads: int | None, precision: str) -> None:
    """Threads, and the precision of products, as on our side."""
    if threads:
        torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = precision in TF32
    torch.backends.cudnn.allow_tf32 = precision in TF32
    torch.backends.cudnn.benchmark = True


def parameters(game: Game) -> dict[str, int]:
    """Trainable parameters of each player."""
    return {
        name: sum(w.numel() for w in own.network.parameters() if w.requires_grad)
        for name, own in game.players.items()
    }


def make_game(case: Case, *, wrap: Callable = lambda f: f, where: torch.device) -> Game:
    """The players and the step of a case."""
    hyper = config_of(case)[case.method]
    return GAMES[case.method](Setting(case.image_shape, BATCH, hyper, where, wrap))


def make(
    case: Case,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    precision: str = "default",
    compiled: bool = False,
) -> Theirs:
    """A case with its images on the device, ready to run.

    Args:
        case: what is trained.
        images: uint8 `[N, H, W, C]`.
        labels: bool `[N, 1]`.
        precision: as in our configs.
        compiled: whether losses go through torch.compile.
    """
    where = device()
    game = make_game(case, wrap=torch.compile if compiled else lambda f: f, where=where)
    held, y = (torch.from_numpy(a).to(where) for a in (images, labels))
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(images))).to(where)
    per_step, done = game.num_batches * BATCH, 0

    def autocast():
        if precision == "bf16":
            return torch.autocast(where.type, torch.bfloat16)
        return contextlib.nullcontext()

    def one() -> dict[str, torch.Tensor]:
        nonlocal done
        first = done * per_step % (len(order) - per_step + 1)
        index = order[first : first + per_step].reshape(game.num_batches, BATCH)
        # Channels last in memory, which is what PyTorch's convolutions are fastest with.
        xs = (held[index].float() / 127.5 - 1.0).permute(0, 1, 4, 2, 3)
        done += 1
        with autocast():
            return game.step(xs, y[index].float(), done - 1)

    def run(steps: int) -> dict[str, float]:
        for _ in range(steps):
            losses = one()
        return {name: float(loss.detach()) for name, loss in losses.items()}  # waits for a GPU

    return Theirs(run, parameters(game), lambda: flops(one), lambda: memory(one, game, held))


def flops(one: Callable) -> float:
    """Of one step: 2 for each multiply-add of convolutions and matrix products."""
    with FlopCounterMode(display=False) as counter:
        one()
    return float(counter.get_total_flops())


def memory(one: Callable, game: Game, held: torch.Tensor) -> int | None:
    """Bytes held at most during a step: parameters, optimisers, images and what the step needs.

    On a GPU by the allocator's own count. On a CPU, which keeps none, from the profiler's record of
    every allocation; what oneDNN takes for itself is not in it.
    """
    for own in game.players.values():  # gradients of the last step, which this one replaces
        own.optimizer.zero_grad(set_to_none=True)
    if held.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        one()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    resting = held.numel() + bytes_between_steps(game)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        one()
    events = profile.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    return resting + int(np.cumsum([0, *(change for _, change in changes)]).max())


def bytes_between_steps(game: Game) -> int:
    """Bytes of all parameters, buffers and optimiser states."""
    found = []
    for own in game.players.values():
        found += [*own.network.parameters(), *own.network.buffers()]
    optimizers = [own.optimizer for own in game.players.values()] + list(game.others)
    for state in (s for optimizer in optimizers for s in optimizer.state.values()):
        found += filter(torch.is_tensor, state.values())
    return sum(tensor.numel() * tensor.element_size() for tensor in found)


def matmul_peak(size: int, repeats: int, *, precision: str = "default") -> Callable[[], float]:
    """A measurement of FLOP/s of products of two square matrices, as precise as the networks'."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a = torch.randn(size, size, device=device(), dtype=dtype)
    float((a @ a)[0, 0])

    def once() -> float:
        start = time.perf_counter()
        for _ in range(repeats):
            product = a @ a
        float(product[0, 0])  # waits for a GPU
        return repeats * 2.0 * size**3 / (time.perf_counter() - start)

    return once
