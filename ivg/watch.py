"""Where the first number that is not finite comes from: a step run with every operation watched.

The step is traced, and what it traced to is run one operation after the other, each with a flag:
whether all that it gives is finite. From a result that is not finite the flags lead back, through
the operations whose results are not finite either, to one whose inputs all were: there it began.
Going back from the result passes over infinities that were meant, such as the start of a maximum.
One after the other compiles less than one program with all the flags, and keeps no more in memory
than a step without fusion.

An operation's layer is the scope that flax names it by while it traces; its player is the one whose
parameters the layer reads. Both are there under gradients, under `vmap` and in unrolled inner
loops, so that a step needs nothing for being watched, and is not slower while it is not.
"""

import pathlib
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from ivg.players import Player

# They hand on what they get, in other shapes: bad where that is, and a parameter stays one.
_MOVES = {"reshape", "transpose", "broadcast_in_dim", "squeeze", "expand_dims", "copy", "copy_p"}
_MOVES |= {"convert_element_type", "stop_gradient", "neg", "rev", "slice", "concatenate", "pad"}
_MOVES |= {"sharding_constraint", "optimization_barrier"}
# Looked into; a loop or a conditional is one operation.
_CALLS = {"jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call"}
_CALLS |= {"checkpoint", "remat", "remat2"}
_PACKAGE = pathlib.Path(__file__).parent


class Cause(NamedTuple):
    """Where it began.

    Attributes:
        kind: "input" (it was bad before the step), "weights" (made bad outside of the optimiser),
            "layer", "output" (between what one network gives and another takes, as where a code is
            drawn), "term" (of a loss) or "update" (in the optimiser).
        name: of the input or the parameter, as `D/Dense_1/kernel`; of the layer, as `D/Dense_1`; of
            the player that gives the output; of the metric that shows the term, as `D/loss`, ""
            where none does.
        player: that it belongs to; "" where that cannot be told.
        backward: whether it is in a gradient.
        place: as `exp in log_prob (ivg/losses/information.py, line 42)`; "" of an input.
    """

    kind: str
    name: str
    player: str
    backward: bool
    place: str


class _Operation(NamedTuple):
    """One operation of the step; values are known by their numbers."""

    primitive: str
    scope: tuple[str, ...]  # network and layer, as ("Critic", "Dense_0"); () outside of networks
    backward: bool
    frames: tuple[tuple[str, str, int], ...]  # file, function, line; the innermost first
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class _Trace(NamedTuple):
    """What is known of the values 0, 1, ... and of the operations that made them."""

    shapes: list[tuple[int, ...]]
    labels: dict[int, str]  # of the values that are parameters, also new ones: their names
    flags: dict[int, Any]  # of those that are watched: whether all of it is finite
    operations: list[_Operation]

    def number(self, value: Any) -> int:
        """A new value's number."""
        self.shapes.append(jnp.shape(value))
        return len(self.shapes) - 1

    def watch(self, number: int, value: Any) -> None:
        """Has the value's numbers looked at, if they are of a kind that can be infinite."""
        if jnp.issubdtype(jnp.result_type(value), jnp.inexact):
            whole = range(jnp.ndim(value))
            self.flags[number] = lax.reduce_and(lax.is_finite(value), whole)


def first_bad(step: Callable, state: Any, inputs: Mapping[str, Any]) -> Cause | None:
    """Runs one step and finds the first operation in it that was not finite.

    Args:
        step: (state, inputs) -> (state, metrics), pure.
        state: a NamedTuple with `Player`s.
        inputs: whatever else the step takes, by names for people.

    Returns:
        The cause, or None where every result is finite.
    """
    closed, shapes = jax.make_jaxpr(step, return_shape=True)(state, inputs)
    names = [*_names(state), *_names(inputs)]
    trace = _Trace([], {}, {}, [])
    values = [(leaf, trace.number(leaf)) for leaf in jax.tree.leaves((state, inputs))]
    for (leaf, number), name in zip(values, names, strict=True):
        trace.watch(number, leaf)
        if _is_parameter(name):
            trace.labels[number] = _of_player(name)
    ends = [number for _, number in _run(trace, closed.jaxpr, closed.consts, values)]
    bad = _bad(trace)
    wrong = [
        (name, number)
        for name, number in zip([*_names(shapes[0]), *_names(shapes[1])], ends, strict=True)
        if number in bad
    ]
    if not wrong:
        return None
    players = [name for name, part in state._asdict().items() if isinstance(part, Player)]
    return _explain(trace, bad, names, wrong, players, set(_names(shapes[1])))


def _names(tree: Any) -> list[str]:
    """A name for every leaf, as `D/params/Dense_1/kernel`."""
    paths = (path for path, _ in jax.tree.leaves_with_path(tree))
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path in paths]


def _is_parameter(name: str) -> bool:
    return name.split("/")[1:2] == ["params"]


def _of_player(name: str) -> str:
    """`D/params/Dense_1/kernel` -> `D/Dense_1/kernel`."""
    return "/".join(name.split("/")[:1] + name.split("/")[2:]) if _is_parameter(name) else name


# ---- running it ---------------------------------------------------------------------------------


def _run(
    trace: _Trace,
    jaxpr: Jaxpr,
    consts: Sequence[Any],
    arguments: Sequence[tuple[Any, int]],
    call: JaxprEqn | None = None,
) -> list[tuple[Any, int]]:
    """Evaluates operations one by one and notes them; `call` is what they are the inside of."""
    known = dict(zip(jaxpr.constvars, [(c, trace.number(c)) for c in consts], strict=True))
    known |= zip(jaxpr.invars, arguments, strict=True)

    def read(variable: Any) -> tuple[Any, int]:
        if isinstance(variable, Literal):
            return variable.val, trace.number(variable.val)
        return known[variable]

    unused = _last_uses(jaxpr)
    for equation, over in zip(jaxpr.eqns, unused, strict=True):
        inputs = [read(variable) for variable in equation.invars]
        for variable in over:
            del known[variable]  # and its memory
        inside = _inside(equation)
        if inside is not None:
            outputs = _run(trace, inside.jaxpr, inside.consts, inputs, call or equation)
        else:
            outputs = _apply(trace, equation, inputs, call or equation)
        known |= zip(equation.outvars, outputs, strict=True)
    return [read(variable) for variable in jaxpr.outvars]


def _last_uses(jaxpr: Jaxpr) -> list[list[Any]]:
    """For each operation the variables that nothing after it reads."""
    seen = {variable for variable in jaxpr.outvars if not isinstance(variable, Literal)}
    found = []
    for equation in reversed(jaxpr.eqns):
        read = [variable for variable in equation.invars if not isinstance(variable, Literal)]
        found.append([variable for variable in dict.fromkeys(read) if variable not in seen])
        seen.update(read)
    return found[::-1]


def _inside(equation: JaxprEqn) -> ClosedJaxpr | None:
    """The operations of a call; None of any other operation."""
    if equation.primitive.name not in _CALLS:
        return None
    found = equation.params.get("call_jaxpr", equation.params.get("jaxpr"))
    return ClosedJaxpr(found, ()) if isinstance(found, Jaxpr) else found


def _apply(
    trace: _Trace, equation: JaxprEqn, inputs: Sequence[tuple[Any, int]], call: JaxprEqn
) -> list[tuple[Any, int]]:
    made = equation.primitive.bind(*(value for value, _ in inputs), **equation.params)
    made = made if equation.primitive.multiple_results else [made]
    outputs = [(value, trace.number(value)) for value in made]
    name = equation.primitive.name
    if name not in _MOVES:
        for value, number in outputs:
            trace.watch(number, value)
    # What is inside of a call was traced at the first of its calls, perhaps for another layer.
    stack = str(call.source_info.name_stack)
    if call is not equation:
        stack += "/" + str(equation.source_info.name_stack)
    scope = tuple(part for part in re.sub(r"\w+\(|\)", "", stack).split("/") if part)
    numbers = tuple(number for _, number in inputs)
    operation = _Operation(
        name,
        scope,
        "transpose(" in stack,
        _frames(call),
        numbers,
        tuple(number for _, number in outputs),
    )
    trace.operations.append(operation)
    _hand_on_labels(trace, operation)
    return outputs


def _hand_on_labels(trace: _Trace, operation: _Operation) -> None:
    """A parameter stays itself when it is reshaped, and when an optimiser changes it."""
    for number in operation.inputs:
        label = trace.labels.get(number)
        for output in operation.outputs if label else ():
            same = trace.shapes[output] == trace.shapes[number] and not operation.scope
            if same or operation.primitive in _MOVES:
                trace.labels.setdefault(output, label)


def _frames(equation: JaxprEqn) -> tuple[tuple[str, str, int], ...]:
    traceback = equation.source_info.traceback
    frames = traceback.frames if traceback else ()
    return tuple((frame.file_name, frame.function_name, frame.line_num) for frame in frames)


# ---- finding it ---------------------------------------------------------------------------------


def _bad(trace: _Trace) -> set[int]:
    """The values that are not finite."""
    bad = {number for number, good in jax.device_get(trace.flags).items() if not good}
    for operation in trace.operations:
        if operation.primitive in _MOVES and not bad.isdisjoint(operation.inputs):
            bad.update(operation.outputs)
    return bad


def _explain(
    trace: _Trace,
    bad: set[int],
    names: Sequence[str],
    wrong: Sequence[tuple[str, int]],
    players: Sequence[str],
    metrics: Container[str],
) -> Cause:
    """The cause: the first of the beginnings that lead to the wrong results."""
    made_by = {out: i for i, o in enumerate(trace.operations) for out in o.outputs}
    seen, waiting = set(), [number for _, number in wrong]
    first, inputs = len(trace.operations), []
    while waiting:
        number = waiting.pop()
        if number in seen:
            continue
        seen.add(number)
        if number not in made_by:
            inputs.append(number)
            continue
        before = [n for n in trace.operations[made_by[number]].inputs if n in bad]
        waiting += before
        if not before:
            first = min(first, made_by[number])
    if inputs:
        name = names[min(inputs)]
        player = name.split("/")[0] if name.split("/")[0] in players else ""
        return Cause("input", _of_player(name), player, False, "")
    reached = _reached(trace, bad, first, wrong)
    params = [_of_player(name) for name in reached if _is_parameter(name)]
    return _located(trace, bad, first, params, [name for name in reached if name in metrics])


def _reached(
    trace: _Trace, bad: set[int], first: int, wrong: Sequence[tuple[str, int]]
) -> list[str]:
    """Names of the wrong results that operation number `first` leads to."""
    found = set(trace.operations[first].outputs)
    for operation in trace.operations[first:]:
        if not found.isdisjoint(operation.inputs):
            found.update(bad.intersection(operation.outputs))
    return [name for name, number in wrong if number in found]


def _located(
    trace: _Trace, bad: set[int], first: int, params: Sequence[str], metrics: Sequence[str]
) -> Cause:
    """What operation number `first`, which makes these parameters and metrics bad, belongs to."""
    operation = trace.operations[first]
    readers = [o for o in trace.operations if not set(o.inputs).isdisjoint(operation.outputs)]
    # A slope that only gradients read belongs to them, where it was computed on the way forward.
    slope = bool(readers) and all(o.backward for o in readers)
    operation = operation._replace(backward=operation.backward or slope)
    place = _place(operation)
    if operation.scope:
        label = _label(trace, first, params)
        player, layer = label.split("/")[0], "/".join(operation.scope[1:])
        module = "/".join(label.split("/")[1:-1])
        layer = module if module.endswith(layer) else layer
        name = "/".join(part for part in (player or operation.scope[0], layer) if part)
        return Cause("layer", name, player, operation.backward, place)
    if any(file.endswith("players.py") or "/optax/" in file for file, _, _ in operation.frames):
        name = params[0] if params else ""
        return Cause("update", name, name.split("/")[0], False, place)
    for output in operation.outputs:
        if output in trace.labels:
            name = trace.labels[output]
            return Cause("weights", name, name.split("/")[0], False, place)
    if not operation.backward and _feeds_a_layer(trace, bad, first):
        player = _made_from(trace, first)
        return Cause("output", player, player, False, place)
    name = "" if operation.backward or not metrics else metrics[0]
    player = name.split("/")[0] or _made_from(trace, first) or (params or [""])[0].split("/")[0]
    return Cause("term", name, player, operation.backward, place)


def _feeds_a_layer(trace: _Trace, bad: set[int], first: int) -> bool:
    """Whether what operation `first` made wrong goes into a network."""
    found = set(trace.operations[first].outputs)
    for operation in trace.operations[first + 1 :]:
        if not found.isdisjoint(operation.inputs):
            if operation.scope and not operation.backward:
                return True
            found.update(bad.intersection(operation.outputs))
    return False


def _made_from(trace: _Trace, first: int) -> str:
    """The player whose network's outputs operation `first` works on; or ""."""
    made_by = {out: i for i, o in enumerate(trace.operations) for out in o.outputs}
    waiting, seen = [first], set()
    while waiting:
        i = waiting.pop(0)
        if trace.operations[i].scope:
            return _label(trace, i, ()).split("/")[0]
        makers = [made_by[n] for n in trace.operations[i].inputs if n in made_by]
        waiting += [maker for maker in makers if maker not in seen]
        seen.update(makers)
    return ""


def _label(trace: _Trace, first: int, params: Iterable[str]) -> str:
    """A parameter of the layer, or at least of the network, that operation `first` is in; or ""."""
    operation = trace.operations[first]
    layer = "/".join(operation.scope[1:])

    def read_by(o: _Operation) -> str:
        return next((trace.labels[n] for n in o.inputs if n in trace.labels), "")

    if own := read_by(operation):
        return own
    if operation.backward:  # the parameters whose gradients come from here
        own = (name for name in params if name.split("/", 1)[1].startswith(f"{layer}/"))
        if layer and (label := next(own, "")):
            return label
    order = [*range(first, -1, -1), *range(first + 1, len(trace.operations))]
    for part in (len(operation.scope), 1):  # what the same layer reads, or the same network
        if part == len(operation.scope) > 1:
            nearest = sorted(order, key=lambda i: abs(i - first))
        else:
            nearest = order
        for i in nearest:
            other = trace.operations[i]
            if other.scope[:part] == operation.scope[:part] and (label := read_by(other)):
                return label
    return ""


def _place(operation: _Operation) -> str:
    for file, function, line in operation.frames:
        path = pathlib.Path(file)
        ours = path.is_relative_to(_PACKAGE)
        if ours or not {"site-packages", "dist-packages"} & set(path.parts):
            inside = path.relative_to(_PACKAGE.parent).as_posix() if ours else path.name
            name = function.split(".")[-1].strip("<>")
            return f"{operation.primitive} in {name} ({inside}, line {line})"
    return operation.primitive
