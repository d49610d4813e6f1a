"""A question with choices, drawn in the browser with plain radio buttons; without a running kernel, a list."""

from pathlib import Path

import anywidget
import traitlets


class Form(anywidget.AnyWidget):
    """items: one dictionary a question {id, text, options, notes, key}; key and notes are absent in a prediction.

    answers: id to the chosen option's index, as the learner gives them.
    """

    _esm = Path(__file__).with_name("form.js")
    items = traitlets.List().tag(sync=True)
    answers = traitlets.Dict().tag(sync=True)
    button = traitlets.Unicode("Answer").tag(sync=True)


def with_widget(widget: anywidget.AnyWidget, html: str, text: str) -> tuple[dict, dict]:
    """An output's forms: the live widget where a kernel runs, else the page, else the text."""
    bundle, metadata = widget._repr_mimebundle_()
    return {**bundle, "text/html": html, "text/plain": text}, metadata or {}
