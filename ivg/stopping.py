"""SIGTERM and Ctrl-C: a run that is asked to end saves its state first."""

import contextlib
import signal
from collections.abc import Iterator

from ivg import devices


class Stop:
    """True once SIGTERM or Ctrl-C asked the process to end; a second Ctrl-C ends it at once."""

    def __init__(self):
        self.signal = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def __call__(self, number, frame) -> None:
        """The signal handler."""
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number


@contextlib.contextmanager
def catch_signals() -> Iterator[Stop]:
    """Within it, SIGTERM and Ctrl-C only set the Stop that it yields.

    Among several processes JAX catches SIGTERM, see `devices.stops_here`; Ctrl-C is passed on so.
    """
    stop = Stop()
    handler = stop if devices.is_alone() else lambda *_: signal.raise_signal(signal.SIGTERM)
    caught = (signal.SIGTERM, signal.SIGINT) if devices.is_alone() else (signal.SIGINT,)
    before = {n: signal.signal(n, handler) for n in caught}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if signal.SIGTERM not in before:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
