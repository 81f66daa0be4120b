"""Our side of `experiments.bench_step`: the training step as the training loop dispatches it."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.bench_step_cases import CASES, Case, config_of
from ivg import build, devices
from ivg.dispatch import make_dispatch, make_feed, reader
from ivg.players import Method, Player


class Ours(NamedTuple):
    """A case in our code, compiled.

    Attributes:
        run: makes so many steps (a multiple of `per_dispatch`) and returns when they are done, with
            the last one's metrics.
        parameters: trainable parameters of each player.
        per_dispatch: steps in one device call.
        compile_seconds: of tracing and compiling, without any cache.
        flops: of one step, by the compiler's cost analysis: of the compiled program on a CPU, of
            what the compiler is given elsewhere.
        memory: bytes that the compiled call holds at most, images included.
    """

    run: Callable[[int], dict[str, float]]
    parameters: dict[str, int]
    per_dispatch: int
    compile_seconds: float
    flops: float
    memory: int | None


def make_method(case: Case, *, precision: str = "default") -> tuple[Method, Mapping[str, Any]]:
    """The method of a case and its config, the precision of products set as training sets it.

    Raises:
        UserError: for a precision that does not exist.
    """
    config = config_of(case, precision=precision)
    build.check_numbers(config)
    jax.config.update("jax_default_matmul_precision", build.PRECISIONS[precision][0])
    method = build.make_method(
        case.method,
        image_shape=case.image_shape,
        batch_size=config["batch_size"],
        hyper=config[case.method],
        num_attributes=1,
        num_images=40_000,
        precision=precision,
    )
    return method, config


def parameters(method: Method) -> dict[str, int]:
    """Trainable parameters of each player; nothing is computed."""
    state = jax.eval_shape(method.init, jax.random.key(0))
    return {
        name: sum(leaf.size for leaf in jax.tree.leaves(own.params))
        for name, own in state._asdict().items()
        if isinstance(own, Player)
    }


def make(case: Case, images: np.ndarray, labels: np.ndarray, *, precision: str = "default") -> Ours:
    """A case with its images on the device, compiled.

    Args:
        case: what is trained.
        images: uint8 `[N, H, W, C]`.
        labels: bool `[N, 1]`.
        precision: as in the configs.

    Raises:
        UserError: for a precision that does not exist.
    """
    method, config = make_method(case, precision=precision)
    mesh, phase = devices.make_mesh(1), method.phases[0]
    per_dispatch = config["steps_per_dispatch"] or (20 if devices.on_accelerator() else 1)
    attributes = labels if method.num_attributes else None
    with jax.set_mesh(mesh):
        held, feed = make_feed(
            images, seed=0, batch_size=config["batch_size"], mesh=mesh, attributes=attributes
        )
        # Compiling dozens of random draws well takes a CPU longer than drawing them badly, once.
        fast = {} if devices.on_accelerator() else {"xla_backend_optimization_level": 0}
        init = jax.jit(method.init, out_shardings=devices.replicated(mesh), compiler_options=fast)
        state = init(jax.random.key(0))
        key = devices.place_state(jax.random.key(1), mesh)
        dispatch = make_dispatch(phase.step, reader(images))
        done = 0

        def arguments(first: int, steps: int) -> tuple:
            number = devices.place_state(np.int32(first), mesh)
            return held, feed(first * phase.num_batches, steps, phase.num_batches), number, key

        start = time.perf_counter()
        lowered = dispatch.lower(state, *arguments(0, per_dispatch))
        compiled = lowered.compile()
        compile_seconds = time.perf_counter() - start

    def run(steps: int) -> dict[str, float]:
        nonlocal state, done
        with jax.set_mesh(mesh):
            for _ in range(steps // per_dispatch):
                state, metrics = compiled(state, *arguments(done, per_dispatch))
                done += per_dispatch
            jax.block_until_ready(state)
        return {name: float(values[-1]) for name, values in metrics.items()}

    return Ours(
        run=run,
        parameters=parameters(method),
        per_dispatch=per_dispatch,
        compile_seconds=compile_seconds,
        # Of an accelerator's compiled program the library calls would be missing. A loop over steps
        # counts as one.
        flops=flops(lowered if devices.on_accelerator() else compiled),
        memory=memory(compiled),
    )


def flops(program: Any) -> float:
    """Of a lowered or compiled call, all that the compiler counts: element-wise work too."""
    found = program.cost_analysis() or {}
    found = found[0] if isinstance(found, list) else found
    return float(found.get("flops", 0.0))


def memory(compiled: Any) -> int | None:
    """Bytes of arguments, results and temporary arrays; donated ones count once."""
    found = compiled.memory_analysis()
    if found is None:
        return None
    kept = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    return int(kept + found.temp_size_in_bytes)


def device_peak() -> int | None:
    """Bytes that the accelerator has held at most since the process started; None on a CPU."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def matmul_peak(size: int, repeats: int, *, precision: str = "default") -> Callable[[], float]:
    """A measurement of FLOP/s of products of two square matrices, as precise as the networks'."""
    dtype = build.PRECISIONS[precision][1] or np.float32
    a = jax.random.normal(jax.random.key(0), (size, size), dtype)
    product = jax.jit(lambda a, b: a @ b)
    jax.block_until_ready(product(a, a))

    def once() -> float:
        start = time.perf_counter()
        results = [product(a, a) for _ in range(repeats)]
        jax.block_until_ready(results)
        return repeats * 2.0 * size**3 / (time.perf_counter() - start)

    return once


def settle(precision: str) -> None:
    """Sets the precision of products as training sets it; from here on nothing is cached.

    Raises:
        UserError: for a precision that does not exist.
    """
    make_method(next(iter(CASES.values())), precision=precision)
    jax.config.update("jax_enable_compilation_cache", False)
