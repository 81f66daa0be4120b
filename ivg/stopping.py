"""SIGTERM, Ctrl-C and SIGHUP: a run that is asked to end saves its state first, and soon.

Python runs a signal's handler between two of its own instructions, in the main thread: not while
XLA compiles or a score is computed, which may take minutes. What takes long and leaves the state as
it is therefore goes on in a thread of its own (`apart`), while the main thread waits for its end or
for a signal, whichever comes first. After a signal nobody waits for that thread any more: the main
thread saves what is to be saved, everything is closed in order, and the process ends.
"""

import atexit
import contextlib
import errno
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TextIO

from ivg import devices

_READER_GONE = (errno.EPIPE, errno.EIO)  # of a pipe, of a terminal
_STACK = 2**24  # bytes; where the main thread's is unlimited, others get 2 MiB by default


class Stop:
    """True once a signal asked the process to end; a second Ctrl-C ends it at once.

    Attributes:
        signal: the first one that came, or None.
        code: the exit code of a process that ends because of it.
        listening: whether signals are caught, and what takes long gets a thread for their sake.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.code = 128 + signal.SIGTERM  # which is what several processes pass on
        self.listening = False
        self._inbox: queue.SimpleQueue | None = None
        self._abandoned: list[threading.Thread] = []

    def __bool__(self) -> bool:
        return self.signal is not None

    def __call__(self, number: int, frame: Any) -> None:
        """The signal handler."""
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal is None:
            self.signal, self.code = number, 128 + number
        if (inbox := self._inbox) is not None:
            inbox.put(None)  # a SimpleQueue may be used in a handler, an Event may not

    def end(self, step: int) -> NoReturn:
        """Says where the training stands that was stopped, its state saved, and ends.

        Raises:
            SystemExit: with the exit code.
        """
        where = f"at step {step}, state saved" if step else "before the first step"
        print(f"stopped {where}; the same command again goes on from there")
        sys.exit(self.code)

    def wait_for(self, function: Callable, *args: Any) -> Any:
        """As `apart`."""
        inbox: queue.SimpleQueue = queue.SimpleQueue()
        same_mesh = devices.same_mesh()

        def work() -> None:
            try:
                with same_mesh():
                    inbox.put((function(*args), None))
            except BaseException as error:
                inbox.put((None, error))

        self._inbox = inbox  # before the question: no signal may come between
        try:
            if self:
                return None
            thread = _started(work)
            self._abandoned.append(thread)
            answer = inbox.get()
        finally:
            self._inbox = None
        if answer is None:
            return None
        self._abandoned.remove(thread)
        result, error = answer
        if error is not None:
            raise error
        return result

    def leave(self) -> None:
        """Ends the process where a thread that nobody waits for would keep or crash it."""
        if any(thread.is_alive() for thread in self._abandoned):
            for file in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    file.flush()
            os._exit(self.code)


def apart(stop: Any, function: Callable, *args: Any) -> Any:
    """What `function(*args)` returns, or None once the process is asked to end before it does.

    It may only read the state, as it may still be under way when the state is saved.

    Args:
        stop: a Stop. The thread is for one that catches signals; for any other the function is
            simply called.
        function: is called in a thread with the caller's mesh.
        *args: its arguments.
    """
    if isinstance(stop, Stop) and stop.listening:
        return stop.wait_for(function, *args)
    return function(*args)


def or_end(function: Callable, *args: Any) -> Any:
    """What `function(*args)` returns: scores, of a saved state, which may be ended at any moment.

    Among several processes signals do then what they do by default.

    Args:
        function: is called in a thread with the caller's mesh.
        *args: its arguments.

    Raises:
        SystemExit: 128 + the signal's number, once a signal asked the process to end.
    """
    if not devices.is_alone():
        return function(*args)
    with catch_signals() as stop:
        found = apart(stop, function, *args)
        if stop:
            print("stopped before the scores were complete; the same command again makes them")
            sys.exit(stop.code)
    return found


@contextlib.contextmanager
def catch_signals() -> Iterator[Stop]:
    """Within it, signals that ask the process to end only set the Stop that it yields.

    SIGHUP, which closing a terminal sends, is one of them unless it is ignored, as by nohup. Among
    several processes JAX catches SIGTERM, see `devices.stops_here`; the others are passed on so. In
    a thread other than the main one, which cannot catch signals, nothing is done.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    alone = devices.is_alone()
    handler = stop if alone else lambda *_: signal.raise_signal(signal.SIGTERM)
    before = {number: signal.signal(number, handler) for number in _caught(alone)}
    stop.listening = alone
    atexit.register(stop.leave)
    try:
        with _readers_may_go():
            yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if not alone:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if not stop:
            atexit.unregister(stop.leave)


def _caught(alone: bool) -> list[int]:
    """The signals to catch: SIGHUP where there is one and it is heard, SIGTERM alone only."""
    caught = [signal.SIGINT] + [signal.SIGTERM] * alone
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:
        caught.append(hangup)
    return caught


def _started(work: Callable[[], None]) -> threading.Thread:
    before = threading.stack_size(_STACK)
    try:
        thread = threading.Thread(target=work, name="ivg apart", daemon=True)
        thread.start()
    finally:
        threading.stack_size(before)
    return thread


@contextlib.contextmanager
def _readers_may_go() -> Iterator[None]:
    """Within it, the end of who reads the output (a terminal, `tee`) is no reason to end.

    Ctrl-C and a closed terminal reach the readers too: no line may then keep the state from disk.
    """
    before = sys.stdout, sys.stderr
    ours = tuple(file and _Outlet(file) for file in before)
    sys.stdout, sys.stderr = ours
    try:
        yield
    finally:
        if (sys.stdout, sys.stderr) == ours:
            sys.stdout, sys.stderr = before


class _Outlet:
    """A text file that swallows what it is told once nobody is left to read it."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        with self._closing():
            return self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with self._closing():
            self._file.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    @contextlib.contextmanager
    def _closing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in _READER_GONE:
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._file.fileno())  # for what the file still holds, too
            os.close(nowhere)
