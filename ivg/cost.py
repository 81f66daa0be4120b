"""What training costs: rates, where the time goes, floating-point operations, memory.

The clock is the host's. Calls of a device return before it has finished, and nothing here makes the
host wait for it in between: what is told is what is known wherever the loop waits anyway, when it
logs, evaluates, saves or compiles. Between two such moments every step is taken to need the same
time of the device.

- Training time: the loop's, without compiling, evaluating and saving, which are told apart.
- Waiting for data: the part of the training time in which the host makes batches and the devices
  have nothing else left to do. Batches made while they compute cost nothing.
- Images: of the real minibatches that a step consumes; of a step without any, the generated ones of
  one minibatch. Several runs that are trained as one share all numbers: images and operations are
  those of all of them, a step is one step of each.
- Floating-point operations: XLA's count for the program as it is handed to the compiler, of the
  whole batch, over all devices. Of the compiled program XLA counts only what each device does (and
  so counts twice what two of them do alike) and cannot look into the library calls in it. The body
  of a loop counts once, which for the loop over the steps of one call makes it the count of one
  step; a loop inside a step is undercounted. No count where XLA has none.
- Bytes from the host to the devices: of the batches (image numbers, where the images are held on
  the devices) and the step number; the images that are put there once do not count.
- Peak memory: of the fullest device since the process began; where the devices do not tell (CPUs),
  of the whole process on the host.

All times are those of one process, the one that writes: of several, and of a run that went on
several times, each has its own. The set-up before the first step and the scores at the end are not
in them.
"""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax

try:
    import resource
except ImportError:  # Windows
    resource = None

APART = ("compile", "evaluation", "checkpoints", "profile")  # what is no training time


class Call(NamedTuple):
    """Host times of one call of the devices, in seconds, and its training steps."""

    asked: float  # for its batches
    fed: float  # its batches are there
    launched: float
    steps: int


class Account(NamedTuple):
    """Sums over a stretch of the loop; the fields from `total` on are seconds."""

    steps: int = 0
    images: int = 0
    flops: float = 0.0  # NaN where there is no count
    bytes: int = 0
    total: float = 0.0
    data: float = 0.0
    compile: float = 0.0
    evaluation: float = 0.0
    checkpoints: float = 0.0
    profile: float = 0.0

    @property
    def training(self) -> float:
        """Seconds of training, the waiting for data among them."""
        return self.total - sum(getattr(self, part) for part in APART)


def waited(calls: Sequence[Call], finished: float) -> float:
    """Seconds in which the host made batches and the devices had nothing left to do.

    Args:
        calls: in their order; the devices are idle when the first one is asked for.
        finished: when the last one was finished.

    Returns:
        What follows if each step takes the devices the same time: the longest with which all calls
        are over by `finished`.
    """
    step_time, steps = math.inf, 0
    for call in reversed(calls):
        steps += call.steps
        step_time = min(step_time, (finished - call.launched) / steps)
    idle, busy_until = 0.0, -math.inf
    for call in calls:
        idle += max(0.0, call.fed - max(call.asked, busy_until))
        busy_until = max(call.launched, busy_until) + step_time * call.steps
    return idle


def rates(stretch: Account) -> dict[str, float]:
    """Steps, images and floating-point operations a second of training; the share of waiting."""
    seconds = stretch.training
    if seconds <= 0:
        return {}
    found = {
        "steps_per_second": stretch.steps / seconds,
        "images_per_second": stretch.images / seconds,
        "flops_per_second": stretch.flops / seconds,
        "data_wait": stretch.data / seconds,
    }
    return {name: value for name, value in found.items() if not math.isnan(value)}


def shares(stretch: Account) -> dict[str, float]:
    """What part of the loop's time went where; they sum to 1."""
    seconds = {"steps": stretch.training - stretch.data, "data": stretch.data}
    seconds |= {part: getattr(stretch, part) for part in APART}
    if not stretch.profile:
        del seconds["profile"]
    return {part: value / stretch.total for part, value in seconds.items()}


class Program(NamedTuple):
    """A compiled call of k training steps."""

    call: Callable
    flops: float  # of a step; NaN where there is no count
    memory: int | None  # bytes of arguments, results and intermediate values, of one device


class Meter:
    """Keeps the accounts of one training loop, and its compiled programs."""

    def __init__(
        self,
        clock: Callable[[], float] = time.perf_counter,
        *,
        copies: int = 1,
        call: Callable = lambda function, *args: function(*args),
    ) -> None:
        """Starts the clock.

        Args:
            clock: seconds.
            copies: devices, where each runs the program on a part of its own (`jax.shard_map`),
                for XLA then counts the operations of one part.
            call: calls what compiles with its arguments; returns None where it gave that up.
        """
        self._clock, self._copies, self._call = clock, copies, call
        self._start = self._asked = self._fed = clock()
        self._calls: list[Call] = []  # since the devices were last known to be idle
        self._told = Account()
        self._layout_changes = False
        self.account = Account()
        self.programs: dict[Hashable, Program] = {}

    def asking(self) -> None:
        """Batches are made from here on, until `feeding` says that they are there."""
        self._asked = self._clock()

    def feeding(self, batches: Any) -> None:
        """The batches of the next call are there: arrays of the devices, which count as bytes."""
        self._fed = self._clock()
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(batches))
        self.account = self.account._replace(bytes=self.account.bytes + size)

    def program(
        self, name: Hashable, function: Callable, arguments: Sequence[Any]
    ) -> Program | None:
        """The program for these arguments, compiled when it is first asked for; None if given up.

        Args:
            name: of the function and the shapes of its arguments.
            function: jitted; its first argument is the state, which its first result replaces.
            arguments: of the call to come.
        """
        state = arguments[0]
        key = (name, layout(state)) if self._layout_changes else name
        if key not in self.programs:
            if self._calls:  # these batches were made while the devices computed
                self._asked = self._fed
            with self.apart("compile", state):
                made = self._call(compiled, function, arguments, self._copies)
            if made is None:
                return None
            self.programs[key], kept = made
            if not kept:
                self._layout_changes = True
                self.programs[name, layout(state)] = self.programs.pop(key)
                return self.program(name, function, arguments)
        return self.programs[key]

    def launching(self, program: Program, steps: int, images: int) -> None:
        """`program` is about to be called for so many steps, which take so many images in all."""
        self._calls.append(Call(self._asked, self._fed, self._clock(), steps))
        self.account = self.account._replace(
            steps=self.account.steps + steps,
            images=self.account.images + images,
            flops=self.account.flops + program.flops * steps,
        )

    def finished(self) -> None:
        """The devices have just finished everything that was launched."""
        now = self._clock()
        data = self.account.data + waited(self._calls, now)
        self.account = self.account._replace(total=now - self._start, data=data)
        self._calls = []

    @contextlib.contextmanager
    def apart(self, part: str, state: Any) -> Iterator[None]:
        """What happens within is no training: one of `APART`; begins when `state` is computed."""
        if self._calls:
            jax.block_until_ready(state)
            self.finished()
        start = self._clock()
        yield
        now = self._clock()
        spent = getattr(self.account, part) + now - start
        self.account = self.account._replace(total=now - self._start, **{part: spent})

    def since_told(self) -> dict[str, float]:
        """The rates since the last call of this; see `rates`."""
        stretch = Account(*(a - b for a, b in zip(self.account, self._told, strict=True)))
        self._told = self.account
        return rates(stretch)


def layout(state: Any) -> tuple:
    """How every array of the tree is spread over the devices."""
    return tuple(leaf.sharding for leaf in jax.tree.leaves(state))


def compiled(function: Callable, arguments: Sequence[Any], copies: int) -> tuple[Program, bool]:
    """(program, whether its first result is spread over the devices as its first argument is)."""
    lowered = function.lower(*arguments)
    executable = lowered.compile()
    program = Program(executable, copies * flops_of(lowered), memory_of(executable))
    return program, layout(arguments[0]) == tuple(jax.tree.leaves(executable.output_shardings[0]))


def flops_of(lowered: jax.stages.Lowered) -> float:
    """Floating-point operations of a step, over all devices; NaN where XLA has no count."""
    with contextlib.suppress(NotImplementedError, jax.errors.JaxRuntimeError):
        flops = (lowered.cost_analysis() or {}).get("flops", math.nan)
        return flops if flops > 0 else math.nan
    return math.nan


def memory_of(executable: jax.stages.Compiled) -> int | None:
    """Bytes that one device needs to run it; None where XLA has no count."""
    with contextlib.suppress(NotImplementedError, jax.errors.JaxRuntimeError):
        if found := executable.memory_analysis():
            held = found.argument_size_in_bytes + found.output_size_in_bytes
            return held + found.temp_size_in_bytes - found.alias_size_in_bytes
    return None


def peak_memory() -> dict[str, Any]:
    """Peak memory so far in bytes, and whose it is; {} where nobody knows."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    peaks = [own["peak_bytes_in_use"] for own in stats if "peak_bytes_in_use" in own]
    if peaks:
        return {"peak_memory_bytes": max(peaks), "peak_memory_of": "device"}
    if resource is None:
        return {}
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"peak_memory_bytes": peak, "peak_memory_of": "host process"}


def report(meter: Meter, *, steps: tuple[int, int], devices: int, runs: int) -> dict[str, Any]:
    """What results.json holds of the loop that has ended in this process.

    Args:
        meter: of the loop, finished.
        steps: (first, last) step number that the loop started after and ended with.
        devices: of all processes.
        runs: trained as one.
    """
    account = meter.account
    memory = [program.memory for program in meter.programs.values() if program.memory is not None]
    found = {
        "device": jax.devices()[0].device_kind,
        "devices": devices,
        "processes": jax.process_count(),
        "runs": runs,
        "steps": list(steps),
    }
    found |= rates(account)
    if not math.isnan(account.flops):
        found["flops_per_step"] = account.flops / account.steps
    found |= {
        "host_to_device_bytes_per_step": account.bytes / account.steps,
        "seconds": account.total,
        "shares": shares(account),
        "compile_seconds": account.compile,
        "programs": len(meter.programs),
    }
    if memory:
        found["program_memory_bytes"] = max(memory)
    return found | peak_memory()


def lines(cost: Mapping[str, Any]) -> str:
    """A report in a few lines to be printed."""
    first, last = cost["steps"]
    devices = f"{cost['devices']} x {cost['device']}"
    devices += f" in {cost['processes']} processes" if cost["processes"] > 1 else ""
    runs = f", {cost['runs']} runs as one" if cost["runs"] > 1 else ""
    speed = [
        f"{cost['steps_per_second']:,.4g} steps/s",
        f"{cost['images_per_second']:,.4g} images/s",
    ]
    if "flops_per_second" in cost:
        step = f"{_scaled(cost['flops_per_step'], 1000, 'FLOP')} a step"
        speed.append(f"{_scaled(cost['flops_per_second'], 1000, 'FLOP/s')} ({step})")
    names = {"data": "waiting for data", "compile": "compiling"}
    parts = [f"{names.get(part, part)} {100 * x:.1f} %" for part, x in cost["shares"].items()]
    space = [f"{cost['host_to_device_bytes_per_step']:,.0f} bytes a step from the host"]
    if "peak_memory_bytes" in cost:
        peak = _scaled(cost["peak_memory_bytes"], 1024, "B")
        space.append(f"peak memory of the {cost['peak_memory_of']} {peak}")
    return "\n".join(
        [
            f"cost of steps {first + 1} to {last} ({devices}{runs})",
            f"  {', '.join(speed)}",
            f"  {cost['seconds']:.1f} s: {', '.join(parts)}",
            f"  {', '.join(space)}, {cost['compile_seconds']:.1f} s to compile",
        ]
    )


def _scaled(value: float, base: int, unit: str) -> str:
    """1234.5 -> "1.23 kFLOP"; powers of 1024 are written KiB, MiB and so on."""
    power = 0
    while value >= base and power < 5:
        value, power = value / base, power + 1
    prefix = ("", "k", "M", "G", "T", "P")[power]
    if base == 1024 and power:
        prefix = prefix.upper() + "i"
    return f"{value:.3g} {prefix}{unit}"
