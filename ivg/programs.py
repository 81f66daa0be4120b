"""Encoder and generator of a model as programs that need no ivg: StableHLO by `jax.export`.

Their batch size is symbolic, and they are lowered for every platform of `PLATFORMS` alike. Layers
that have a fast form of their own on a CPU (`ivg.networks.strided`) keep the form of the machine
that exports; the arithmetic is the same.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.extend.core import Literal

from ivg import build
from ivg.examples import unit
from ivg.model import Model
from ivg.players import Labelled

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
ROWS = 8  # of the example


class Function(NamedTuple):
    """What is exported of a model.

    apply: (state, *inputs) -> outputs, pure.
    inputs: names of the inputs, in their order.
    specs: their shapes and dtypes, the batch size symbolic.
    output: the output in words.
    derivatives: how often it can be differentiated once exported.
    """

    apply: Callable[..., Any]
    inputs: tuple[str, ...]
    specs: tuple[Any, ...]
    output: str
    derivatives: int = 0


class Programs(NamedTuple):
    """Exported functions, serialised, by name; and the weights that they take, by name."""

    functions: dict[str, Function]
    code: dict[str, bytes]
    weights: dict[str, np.ndarray]


def programs(model: Model) -> Programs:
    """The model's functions as `jax.export` writes them, and their weights.

    A weight is an array of floats of the state that some function reads. What they read besides,
    such as the step number of a schedule, is a constant of the programs.
    """
    functions = functions_of(model)
    named = names(model.state)
    with _tracing(model):
        read = set().union(*(read_by(f, model.state) for f in functions.values()))
        weights = {
            name: np.ascontiguousarray(named[name])
            for name in sorted(read)
            if jnp.issubdtype(named[name].dtype, jnp.floating)
        }
        constants = {name: np.asarray(named[name]) for name in read - weights.keys()}
        code = {
            name: _serialised(f, model.state, weights, constants) for name, f in functions.items()
        }
    return Programs(functions, code, weights)


def functions_of(model: Model) -> dict[str, Function]:
    """What is exported of the model, by name."""
    (n,) = export.symbolic_shape("n")
    images = jax.ShapeDtypeStruct((n, *model.image_shape), jnp.uint8)
    attributes = jax.ShapeDtypeStruct((n, len(model.attributes)), jnp.float32)
    codes = {
        name: jax.ShapeDtypeStruct((n, code.size), jnp.float32)
        for name, code in model.codes.items()
    }
    functions, sizes = model.functions, ", ".join(map(str, model.image_shape))

    def encode(state, x, *y):
        x = unit(x)
        return functions.encode(state, Labelled(x, *y) if y else x)

    found = {}
    if model.can_encode:
        labelled = bool(model.attributes)
        inputs = ("images", "attributes") if labelled else ("images",)
        specs = (images, attributes) if labelled else (images,)
        words = "a dict of codes, float32 `[n, size]`"
        found["encode"] = Function(encode, inputs, specs, words)
    found["generate"] = Function(
        lambda state, c: grey_levels(functions.generate(state, c)),
        ("codes",),
        (codes,),
        f"images, uint8 `[n, {sizes}]`",
    )
    found["generate_float"] = Function(
        functions.generate,
        ("codes",),
        (codes,),
        f"the same before rounding, float32 in [-1, 1] `[n, {sizes}]`; `jax.grad` works",
        derivatives=1,
    )
    return found


def grey_levels(x: jax.Array) -> jax.Array:
    """Images in [-1, 1] as uint8: `ivg.plots.to_uint8` in a program."""
    x = jnp.where(jnp.isnan(x), -1.0, x)
    return jnp.round((jnp.clip(x, -1.0, 1.0) + 1.0) * 127.5).astype(jnp.uint8)


def names(state: Any) -> dict[str, jax.Array]:
    """Arrays of a state by name, such as "G/Dense_0/kernel", in the order of its leaves.

    Parameters and batch statistics stand side by side: no layer has two of one name.
    """
    found = {}
    for path, leaf in jax.tree.leaves_with_path(state):
        player, *rest = jax.tree_util.keystr(path, simple=True, separator="/").split("/")
        name = "/".join([player, *(rest[1:] if rest[:1] in (["params"], ["stats"]) else rest)])
        if name in found:
            raise ValueError(f"two arrays of the state are called {name}")
        found[name] = leaf
    return found


def read_by(function: Function, state: Any) -> set[str]:
    """Names of the arrays that the outputs of a function depend on."""
    specs = jax.tree.map(lambda s: jax.ShapeDtypeStruct((2, *s.shape[1:]), s.dtype), function.specs)
    jaxpr = jax.make_jaxpr(function.apply)(state, *specs).jaxpr
    needed = {v for v in jaxpr.outvars if not isinstance(v, Literal)}
    for equation in reversed(jaxpr.eqns):
        if needed & set(equation.outvars):
            needed |= {v for v in equation.invars if not isinstance(v, Literal)}
    return {name for name, v in zip(names(state), jaxpr.invars, strict=False) if v in needed}


def _serialised(
    function: Function,
    state: Any,
    weights: Mapping[str, np.ndarray],
    constants: Mapping[str, np.ndarray],
) -> bytes:
    """A function of (weights, *inputs) as `jax.export.deserialize` reads it."""

    def apply(weights, *inputs):
        given = constants | weights
        # What nothing depends on takes no space in the program.
        leaves = [
            given[name] if name in given else jnp.zeros(leaf.shape, leaf.dtype)
            for name, leaf in names(state).items()
        ]
        return function.apply(jax.tree.unflatten(jax.tree.structure(state), leaves), *inputs)

    specs = {name: jax.ShapeDtypeStruct(w.shape, w.dtype) for name, w in weights.items()}
    exported = export.export(jax.jit(apply), platforms=PLATFORMS)(specs, *function.specs)
    return bytes(exported.serialize(vjp_order=function.derivatives))


@contextlib.contextmanager
def _tracing(model: Model) -> Iterator[None]:
    """The run's own precision of products; no names of this machine's files in the programs."""
    limit = jax.config.jax_traceback_in_locations_limit
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        with jax.default_matmul_precision(build.PRECISIONS[_precision(model)][0]):
            yield
    finally:
        jax.config.update("jax_traceback_in_locations_limit", limit)


def _precision(model: Model) -> str:
    return model.config.get("precision", "default")


# ---- an example ---------------------------------------------------------------------------------


def example_of(model: Model) -> dict[str, np.ndarray]:
    """Codes drawn as in training, their images, and codes of these images, by ivg itself."""
    count = len(model.attributes)
    y = (np.arange(ROWS)[:, None] >> np.arange(count) & 1).astype(np.float32)
    codes = model.prior(ROWS, seed=0, attributes=y if count else None)
    images = model.generate(**codes)
    found = {f"codes.{name}": code for name, code in codes.items()} | {"images": images}
    if count:
        found["attributes"] = y
    if model.can_encode:
        encoded = model.encode(images, y if count else None)
        found |= {f"encoded.{name}": code for name, code in encoded.items()}
    return found


def compare(made: Programs, example: Mapping[str, np.ndarray]) -> str:
    """Runs the programs on the example; in words how far they are from ivg's own outputs."""

    def run(name: str, *inputs: Any) -> Any:
        call = jax.jit(export.deserialize(bytearray(made.code[name])).call)
        return jax.device_get(call(made.weights, *inputs))

    codes = {n.removeprefix("codes."): v for n, v in example.items() if n.startswith("codes.")}
    images = run("generate", codes)
    levels = np.abs(images.astype(np.int32) - example["images"]).max()
    words = (
        f"images differ from ivg's own by at most {levels} grey level{'' if levels == 1 else 's'}"
    )
    if "encode" in made.functions:
        found = run("encode", *(example[n] for n in made.functions["encode"].inputs))
        off = max(np.abs(v - example[f"encoded.{n}"]).max() for n, v in found.items())
        words += f", codes by at most {off:.1g}"
    return words
