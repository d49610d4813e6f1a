"""Runs a learner's function and survives what happens by accident: errors, endless loops, floods of output.

It is no guard against malice: the code runs in this process with everything that the learner may do.
"""

import contextlib
import ctypes
import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass

KEPT_CHARACTERS = 2_000  # of what the function prints
GRACE = 2.0  # seconds that stopped code has to end; waiting inside C code cannot be stopped, and is left behind


class Stopped(BaseException):
    """Raised inside code that ran out of time; not an Exception, so that `except Exception` does not swallow it."""


@dataclass
class Outcome:
    """What one call came to: a value, or an error, or neither (it never ended)."""

    inputs: tuple  # as the function left them
    value: object = None
    error: BaseException | None = None
    ended: bool = False
    printed: str = ""


def run_safely(function: Callable, cases: list[tuple], seconds: float) -> list[Outcome]:
    """Call the function on a copy of each case's inputs, all within the time given; one outcome a case that began."""
    outcomes: list[Outcome] = []
    output = _Bounded()

    def work() -> None:
        with contextlib.suppress(Stopped):
            for inputs in cases:
                outcomes.append(Outcome(deepcopy(inputs)))
                _call(function, outcomes[-1], output)

    # daemon: code that cannot be stopped must not keep Python alive
    worker = threading.Thread(target=work, daemon=True)
    with _printing_of(worker, output):
        worker.start()
        try:
            worker.join(seconds)
        finally:
            _stop(worker)
    return list(outcomes)


def _call(function: Callable, outcome: Outcome, output: "_Bounded") -> None:
    output.clear()
    try:
        value = function(*outcome.inputs)
        outcome.value, outcome.ended = deepcopy(_detached(value)), True
    except Stopped:
        raise
    except BaseException as error:  # SystemExit too: exit() in a cell is an accident like any other
        outcome.error, outcome.ended = error, True
    finally:
        outcome.printed = output.text()


def _detached(value: object) -> object:
    """Tensors without their history, which cannot be copied."""
    if hasattr(value, "detach"):
        return value.detach()
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(_detached(part) for part in value)
    return value


def _stop(worker: threading.Thread) -> None:
    """Ask again and again: a bare `except:` swallows what arrives inside its `try`, not what arrives in the handler."""
    deadline = time.monotonic() + GRACE
    while worker.is_alive() and time.monotonic() < deadline:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(worker.ident), ctypes.py_object(Stopped))
        worker.join(0.0002)


@contextlib.contextmanager
def _printing_of(worker: threading.Thread, output: "_Bounded") -> Iterator[None]:
    """Catches what this thread prints and nobody else's; of a thread that could not be stopped, for good."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_ByThread(stream, worker, output) for stream in before)
    try:
        yield
    finally:
        if not worker.is_alive():
            sys.stdout, sys.stderr = before


class _ByThread(io.TextIOBase):
    """Stands in for sys.stdout: sends one thread's text to `output`, and everything else where it went before."""

    def __init__(self, stream: io.TextIOBase, worker: threading.Thread, output: "_Bounded"):
        self._stream, self._worker, self._output = stream, worker, output

    def _target(self) -> io.TextIOBase:
        return self._output if threading.current_thread() is self._worker else self._stream

    def write(self, text: str) -> int:
        return self._target().write(text)

    def flush(self) -> None:
        self._target().flush()

    def __getattr__(self, name: str):
        return getattr(self._stream, name)


class _Bounded(io.TextIOBase):
    """Keeps the first characters of what is printed and drops the flood after them."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self._parts: list[str] = []
        self._room = KEPT_CHARACTERS

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._room > 0:
            self._parts.append(text[: self._room])
            self._room -= len(text)
        return len(text)

    def text(self) -> str:
        return "".join(self._parts) + (" …" if self._room < 0 else "")
