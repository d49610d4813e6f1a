"""The first pattern for a tool: drawn in the browser from a few numbers, within milliseconds, and alive in the book too.

A tool of this kind is one Python file and one JavaScript file of the same name. CONTRIBUTING.md walks through an example.
"""

import json
from collections.abc import Callable
from pathlib import Path

import anywidget
import traitlets

from minimistral.lab import theme
from minimistral.lab.picture import Picture

HERE = Path(__file__).parent
COLOURS = {name: value for name, value in vars(theme).items() if name.isupper() and str(value).startswith("#")}
COLOURS["EXPERTS"] = list(theme.EXPERTS)


class BrowserTool:
    """What a tool displays: the live widget, and in the same output a picture for where no kernel runs.

    A subclass says how it is drawn: `script`, the name of its JavaScript file; `start()`, the state of its controls as a
    dictionary; `data()`, whatever else the drawing needs; `picture()`, the same as a still; and, only where the browser
    cannot compute something, `answer(state)`, a dictionary.
    """

    script: str
    asks = False  # whether the browser asks answer(state)
    alone: str | None = (
        None  # of a tool that asks: what is missing without Python, a sentence; None: too much to do without
    )

    def start(self) -> dict:
        raise NotImplementedError

    def picture(self) -> Picture:
        raise NotImplementedError

    def data(self) -> dict:
        return {}

    def answer(self, state: dict) -> dict:
        return {}

    def known_states(self) -> list[dict]:
        """States whose answers the book takes along, for where no Python runs."""
        return []

    def widget(self) -> "BrowserWidget":
        first = {"state": self.start(), **self.answer(self.start())} if self.asks else {}
        return BrowserWidget(
            _esm=source(self.script), start=self.start(), data=self.data(), answer=first, compute=self.answer
        )

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        bundle, metadata = self.picture()._repr_mimebundle_()
        live, live_metadata = self.widget()._repr_mimebundle_()
        return {**live, **bundle}, {**(live_metadata or {}), **metadata}


class BrowserWidget(anywidget.AnyWidget):
    """start: the controls' state; data: what the drawing needs besides; answer: what Python computed for the first state."""

    _esm = traitlets.Unicode().tag(sync=True)
    start = traitlets.Dict().tag(sync=True)
    data = traitlets.Dict().tag(sync=True)
    answer = traitlets.Dict().tag(sync=True)

    def __init__(self, compute: Callable[[dict], dict], **values):
        super().__init__(**values)
        self._compute = compute
        self.on_msg(self._reply)

    def _reply(self, widget, state: dict, buffers: list) -> None:
        self.send({"state": state, **self._compute(state)})


def source(script: str) -> str:
    """The JavaScript of a tool: the theme's colours, the shared controls, and its own file."""
    shared = (HERE / "controls.js").read_text(encoding="utf-8")
    return f"const COLOURS = {json.dumps(COLOURS)};\n{shared}\n{(HERE / script).read_text(encoding='utf-8')}"
