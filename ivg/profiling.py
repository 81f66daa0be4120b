"""A trace of a few training steps, to be opened in TensorBoard or Perfetto.

A profile is never a reason for a run to fail: whatever goes wrong with it is a warning.
"""

import contextlib
import pathlib
from collections.abc import Callable, Iterator

import jax

WARM_UP = 10  # steps before the trace, where the run has so many to spare
_NOTHING = contextlib.nullcontext()


class Profile:
    """Traces `count` steps of a loop; to be used as a context, which ends a trace with the loop."""

    def __init__(
        self,
        folder: pathlib.Path,
        *,
        count: int,
        first: int,
        last: int,
        say: Callable[[str], None] = print,
    ) -> None:
        """Decides when to trace: warm, and early enough for all of the steps if that can be.

        Args:
            folder: made when the trace is written; each trace gets a folder of its own below it.
            count: steps to trace; 0 for none.
            first: finished steps when the loop begins.
            last: and when it ends.
            say: prints what a user should know.
        """
        self._folder, self._count, self._say = folder, count, say
        self._begin = first + max(1, min(WARM_UP, last - first - count))
        self._from: int | None = None  # finished steps when the trace began
        self._step, self._length = first, 0  # finished steps, and those of the call before
        self._over = count == 0

    @property
    def due(self) -> bool:
        """Whether the trace is to be begun, or to be ended, before the next steps."""
        if self._over:
            return False
        if self._from is None:  # the last moment between two calls that is early enough
            return self._step + self._length > self._begin
        return self._step >= self._from + self._count

    def turn(self) -> None:
        """Begins the trace or, if there is one, ends it; the devices must have nothing to do."""
        if self._from is None:
            self._start()
        else:
            self._stop()

    @contextlib.contextmanager
    def steps(self, first: int, last: int) -> Iterator[None]:
        """What happens within is the call of the steps `first` + 1 to `last`, marked in a trace."""
        marked = self._from is not None and not self._over
        with jax.profiler.StepTraceAnnotation("train", step_num=first) if marked else _NOTHING:
            yield
        self._step, self._length = last, last - first

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *error: object) -> None:
        if self._from is not None and not self._over:
            self._stop()
        elif not self._over:
            self._say("no profile: there was no warm step left to trace")

    def _start(self) -> None:
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # Python's own calls slow the host down and fill the trace
        try:
            jax.profiler.start_trace(
                self._folder, create_perfetto_trace=True, profiler_options=options
            )
            self._from = self._step
        except Exception as error:  # whatever a backend's tracer raises
            self._fail(error)

    def _stop(self) -> None:
        self._over = True
        try:
            jax.profiler.stop_trace()
            written = max(self._folder.rglob("perfetto_trace.json.gz"), key=lambda p: p.parent.name)
        except Exception as error:
            self._fail(error)
            return
        few = "" if (n := self._step - self._from) >= self._count else f" (only {n} were left)"
        self._say(
            f"profile of steps {self._from + 1} to {self._step}{few}: open {written} at "
            f"https://ui.perfetto.dev, or tensorboard --logdir={self._folder} (with the package "
            "xprof)"
        )

    def _fail(self, error: Exception) -> None:
        self._over = True
        self._say(f"warning: no profile ({type(error).__name__}: {error})")
