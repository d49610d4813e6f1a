"""A loss curve that grows while a model trains, and stays as a picture when it has."""

import time
from collections.abc import Iterable
from itertools import accumulate

from minimistral.lab import theme
from minimistral.lab.counted import counted
from minimistral.lab.picture import Picture, show

SECONDS, SHARE = 0.7, 0.1  # between two drawings at least; and of the time, what drawing may take


class LiveCurve:
    """Give it to `train` and make it the last line of the cell:

        curve = LiveCurve("A model of 100,000 weights")
        train(model, tokens, config, on_step=curve)
        curve

    While the cell runs, the curve grows below it; then the finished picture takes its place. It shows the loss of every
    step (thin), its running mean (thick), and what was measured on held-out text (dots). Outside a notebook nothing is
    shown until it is asked for. `alt` says for the ear what the curve shows; by itself it says whether the loss has fallen.
    """

    def __init__(self, title: str = "Loss while training", alt: str | None = None, records: Iterable[dict] = ()):
        self.title, self.alt = title, alt
        self.records = list(records)  # a resumed run's first part can be given
        self._live, self._not_before = None, 0.0

    def __call__(self, record: dict) -> None:
        """One record of `train`, as `on_step` gets it."""
        self.records.append(record)
        started = time.monotonic()
        if started >= self._not_before and _in_a_notebook():
            self._draw()
            now = time.monotonic()
            self._not_before = now + max(SECONDS, (now - started) / SHARE)

    def picture(self) -> Picture:
        """The curve so far. ValueError before the first step."""
        if not self.records:
            raise ValueError("there is no step to draw yet: give this curve to train(..., on_step=curve) first.")
        return show(draw(self.records, self.title), self.alt or describe(self.records))

    def __repr__(self) -> str:
        return repr(self.picture()) if self.records else "LiveCurve: no step yet"

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        if not self.records:
            return {"text/plain": repr(self)}, {}
        self.close()
        return self.picture()._repr_mimebundle_(include, exclude)

    def close(self) -> None:
        """Take the growing curve away; it comes by itself where the picture is displayed."""
        if self._live is not None:
            self._live.image.close()

    def _draw(self) -> None:
        picture = self.picture()
        if self._live is None:
            from IPython.display import display

            self._live = _Live(picture)
            display(self._live)
        else:
            self._live.image.value = picture.html()


class _Live:
    """An image that grows, and leaves nothing in the stored notebook but a line of text, the same in every run."""

    def __init__(self, picture: Picture):
        from ipywidgets import HTML  # its Image takes no alternative text, and in JupyterLab breaks on a tooltip

        self.image = HTML(value=picture.html())
        self.image.add_class("minimistral-live-curve")

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        live = self.image._repr_mimebundle_()
        bundle, metadata = live if isinstance(live, tuple) else (live, {})
        return {**bundle, "text/plain": "(the curve grew here while the cell ran)"}, metadata or {}


def draw(records: list[dict], title: str):
    """A figure: loss in nats a token against the step."""
    steps, losses = [r["step"] + 1 for r in records], [r["loss"] for r in records]
    held_out = [(r["step"] + 1, r["held_out_loss"]) for r in records if "held_out_loss" in r]
    with theme.figure() as (figure, axes):
        axes.plot(steps, losses, color=theme.LIGHT, linewidth=1)
        axes.plot(steps, running_mean(losses), color=theme.TRAINED)
        axes.annotate(" training", (steps[-1], running_mean(losses)[-1]), color=theme.TRAINED, va="bottom", fontsize=9)
        if held_out:
            axes.plot(*zip(*held_out), color=theme.QUERY, marker="o", linestyle="none", markersize=4)
            axes.annotate(" held out", held_out[-1], color=theme.QUERY, va="top", fontsize=9)
        axes.set(title=title, xlabel="step", ylabel="loss, nats a token")
        axes.set_xlim(0, steps[-1] * 1.12)  # room for the names
    return figure


def running_mean(values: list[float], share: float = 0.05) -> list[float]:
    """Each value with those before it, a twentieth of all so far: smooth late, quick at the beginning.

    >>> running_mean([4.0, 2.0, 0.0], share=1.0)
    [4.0, 3.0, 2.0]
    """
    sums, means = [0.0, *accumulate(values)], []
    for end in range(1, len(sums)):
        begin = end - max(1, round(end * share))
        means.append((sums[end] - sums[begin]) / (end - begin))
    return means


def describe(records: list[dict]) -> str:
    """For the ear, and the same in every run: how many steps, and whether the last tenth lies below the first."""
    losses = [record["loss"] for record in records]
    tenth = max(1, len(losses) // 10)
    first, last = sum(losses[:tenth]), sum(losses[-tenth:])
    way = "it ends lower than it began" if last < first else "it does not end lower than it began"
    return f"The loss in nats a token against the step, over {counted(len(losses), 'step')}: {way}."


def _in_a_notebook() -> bool:
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")
