"""Runs a learner's function and survives what happens by accident: errors, endless loops, floods of output.

It is no guard against malice: the code runs in this process with everything that the learner may do.
"""

import builtins
import contextlib
import ctypes
import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch

from minimistral.lab.settings import settings_restored

KEPT_CHARACTERS = 2_000  # of what the function prints
CHAIN = 3  # handlers inside handlers that are broken out of at once
GRACE = 2.0  # seconds that stopped code has to end; waiting inside C code cannot be stopped, and is left behind


class Stopped(SystemExit):
    """Raised inside code that ran out of time; not an Exception, so that `except Exception` does not swallow it.

    A SystemExit, because a thread that ends with one ends silently, wherever it arrives.
    """


class AskedForInput(Exception):
    """A check cannot answer input()."""


@dataclass
class Outcome:
    """What one call came to: a value, or an error, or neither (it never ended)."""

    inputs: tuple  # as the function left them
    value: object = None
    error: BaseException | None = None
    ended: bool = False
    printed: str = ""
    still_running: bool = False  # it could not be stopped


def run_safely(function: Callable, cases: list[tuple], seconds: float) -> list[Outcome]:
    """Call the function on a copy of each case's inputs, all within the time given; one outcome a case that began."""
    outcomes: list[Outcome] = []
    output = _Bounded()

    def each() -> None:
        for inputs in cases:
            outcomes.append(Outcome(deepcopy(inputs)))
            _call(function, outcomes[-1], output)

    def work() -> None:  # without contextlib.suppress, which is Python code that the next Stopped would interrupt
        try:
            try:
                each()
            except Stopped:
                _take_what_is_under_way()
        except Stopped:
            try:  # noqa: SIM105
                _take_what_is_under_way()
            except Stopped:
                pass

    # daemon: code that cannot be stopped must not keep Python alive
    worker = threading.Thread(target=work, daemon=True)
    with settings_restored(), _printing_of(worker, output), _no_input_for(worker):
        worker.start()
        try:
            worker.join(seconds)
        finally:
            _stop(worker)
    found = list(outcomes)
    if len(found) < len(cases) and all(outcome.ended for outcome in found):  # stopped between two cases
        found.append(Outcome(deepcopy(cases[len(found)])))
    found[-1].still_running = worker.is_alive()
    return found


def _take_what_is_under_way() -> None:
    for _ in range(50):
        pass


def _call(function: Callable, outcome: Outcome, output: "_Bounded") -> None:
    output.clear()
    try:
        value = function(*outcome.inputs)
        outcome.value, outcome.ended = _copy(value), True
    except Stopped:
        raise
    except BaseException as error:  # SystemExit too: exit() in a cell is an accident like any other
        outcome.error, outcome.ended = error, True
    finally:
        outcome.printed = output.text()


def _copy(value: object) -> object:
    """A copy that later changes do not reach, of tensors without their history; what cannot be copied, as it is."""
    try:
        return deepcopy(_detached(value))
    except Exception:  # a generator, an open file, a list that holds itself
        return value


def _detached(value: object) -> object:
    if isinstance(value, torch.Tensor):
        return value.detach().as_subclass(torch.Tensor)
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(_detached(part) for part in value)
    if type(value) is dict:
        return {key: _detached(part) for key, part in value.items()}
    return value


def _stop(worker: threading.Thread) -> None:
    deadline = time.monotonic() + GRACE
    while worker.is_alive() and time.monotonic() < deadline:
        if not _is_importing(worker):
            _raise_in(worker.ident)
        worker.join(0.005)


def _is_importing(worker: threading.Thread) -> bool:
    """An import that breaks off may leave its lock behind, and every later import of that module would wait for it."""
    frame = sys._current_frames().get(worker.ident)
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


def _raise_in(ident: int) -> None:
    """Have this thread raise Stopped at its next jump or call, and again where that is caught: in the handler.

    A bare `except:` swallows the first, but not what arrives while it is at work. So making the exception sets the next
    one: in C alone, since Python code here would itself be interrupted by it.
    """

    class Again(Stopped):
        pass

    set_async = ctypes.PYFUNCTYPE(None, ctypes.c_ulong, ctypes.py_object)(
        ("PyThreadState_SetAsyncExc", ctypes.pythonapi)
    )
    Again.__init__ = partial(next, map(set_async, [ident] * CHAIN, [Again] * CHAIN), None)
    set_async(ident, Again)


@contextlib.contextmanager
def _no_input_for(worker: threading.Thread) -> Iterator[None]:
    """In this thread input() is an error, not a wait for nobody; and exit() ends the function, not the notebook's kernel."""
    before = builtins.input

    def input_(*prompt: object) -> str:
        if threading.current_thread() is worker:
            raise AskedForInput("input() has nobody to ask here. Everything the function needs are its parameters.")
        return before(*prompt)

    builtins.input = input_
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        ask_exit = shell.ask_exit
        shell.ask_exit = lambda: sys.exit() if threading.current_thread() is worker else ask_exit()
    try:
        yield
    finally:
        if builtins.input is input_:
            builtins.input = before
        if shell is not None:
            del shell.ask_exit


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
