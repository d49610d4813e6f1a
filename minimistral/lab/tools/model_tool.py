"""The second pattern for a tool: what needs the model. Python computes and draws; the browser shows the last picture.

The controls are ipywidgets. A change is acknowledged at once; the work is done beside the kernel's main thread, only for the
latest state, so that a slider dragged fast never queues up.
"""

import threading
from collections.abc import Callable

from minimistral.lab.picture import Picture

WORKING = "…"


class ModelTool:
    """Controls, a sentence and a picture. `compute(**values)` gives what `draw` makes a Picture of.

    `name` becomes the class `minimistral-NAME` of the widget, for tests. `controls`: name to ipywidget; their `.value`s are
    the keyword arguments of compute. The alternative text of the picture is the sentence that is read out.
    """

    def __init__(self, name: str, controls: dict, compute: Callable[..., object], draw: Callable[[object], Picture]):
        self.name, self.controls, self.compute, self.draw = name, controls, compute, draw
        self._image = self._said = self._box = None
        self._wanted, self._changed, self._worker = None, threading.Condition(), None

    def values(self) -> dict:
        return {name: control.value for name, control in self.controls.items()}

    def picture(self) -> Picture:
        return self.draw(self.compute(**self.values()))

    def __repr__(self) -> str:
        return repr(self.picture())

    def widget(self):
        """The box with controls, sentence and image; made once."""
        if self._box is None:
            from ipywidgets import HTML, VBox

            first = self.picture()
            self._image = HTML(value=first.html())  # ipywidgets' Image has no alternative text
            self._said = HTML(value=_status(first.alt))
            self._box = VBox([*self.controls.values(), self._said, self._image])
            self._box.add_class(f"minimistral-{self.name}").add_class("minimistral-tool")
            for control in self.controls.values():
                control.observe(self._want, "value")
        return self._box

    def _want(self, change) -> None:
        self._said.value = _status(WORKING)
        with self._changed:
            self._wanted = self.values()
            if self._worker is None or not self._worker.is_alive():
                self._worker = threading.Thread(target=self._work, daemon=True)
                self._worker.start()
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                if self._wanted is None and not self._changed.wait(timeout=5) and self._wanted is None:
                    self._worker = None
                    return  # a later change starts another
                values, self._wanted = self._wanted, None
            try:
                picture = self.draw(self.compute(**values))
                image, said = picture.html(), picture.alt
            except Exception as error:
                image, said = self._image.value, f"That did not work: {error}"
            with self._changed:
                if self._wanted is None:  # else it is stale already
                    self._image.value, self._said.value = image, _status(said)

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        bundle, metadata = self.picture()._repr_mimebundle_()
        live = self.widget()._repr_mimebundle_()
        live, live_metadata = live if isinstance(live, tuple) else (live, {})
        return {**live, **bundle}, {**(live_metadata or {}), **metadata}


def _status(text: str) -> str:
    from html import escape

    return f'<p role="status" aria-live="polite" style="margin: 0.3em 0; line-height: 1.3">{escape(text)}</p>'
