"""The course's look in two tempers: on white paper, and on the dark page of a screen. Same roles, same meaning."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

import matplotlib

from minimistral.lab import theme


@dataclass(frozen=True)
class Look:
    """A colour for each role. What is blue on paper is a lighter blue on a dark page, so that it stays as easy to see."""

    name: str  # "light" or "dark"
    ink: str
    paper: str
    grey: str  # what matters less, still readable
    faint: str  # lines and fields behind the data
    blue: str
    orange: str
    green: str
    pink: str
    sky: str
    amber: str

    @contextmanager
    def figure(self, *grid: int, size: tuple[float, float], **options) -> Iterator[tuple]:
        """`with look.figure(1, 2, size=…) as (fig, axes):` as `theme.figure`, in these colours."""
        from matplotlib.figure import Figure

        with matplotlib.rc_context(theme.SETTINGS | self.settings()):
            drawing = Figure(figsize=size)
            yield drawing, drawing.subplots(*grid, **options)

    def settings(self) -> dict:
        papers = dict.fromkeys(("figure.facecolor", "savefig.facecolor", "axes.facecolor"), self.paper)
        inks = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), self.ink)
        # One salt and no date: the same drawing gives the same bytes. Glyphs as paths look the same on every machine.
        svg = {"svg.hashsalt": "minimistral", "svg.fonttype": "path"}
        return papers | inks | svg | {"axes.edgecolor": self.grey, "hatch.linewidth": 0.8}


LIGHT = Look(
    "light", theme.INK, theme.PAPER, theme.GREY, theme.LIGHT,
    theme.BLUE, theme.ORANGE, theme.GREEN, theme.PINK, theme.SKY, theme.AMBER,
)  # fmt: skip
DARK = Look(
    "dark", "#ededed", "#111827", "#a8b0bd", "#334155",
    "#4da3e0", "#ff8b4a", "#35bd95", "#dd8fbf", "#8fd0f5", "#f2b84b",
)  # fmt: skip
LOOKS = (LIGHT, DARK)


def model_colour(look: Look, model: str) -> str:
    """The same in every figure: Mistral's models orange, Llama 2 blue (7B lighter), GPT-3.5 green, all others grey."""
    fixed = {"Mi": look.orange, "Llama 2 7B": look.sky, "Llama 2": look.blue, "GPT-3.5": look.green}
    return next((colour for name, colour in fixed.items() if model.startswith(name)), look.grey)


def legend(axes, look: Look, names: dict[str, str], places: tuple[float, ...], above: float = 1.03) -> None:
    """Name and colour of what is drawn, in a line above the axes; the words in ink, for light colours read badly."""
    for (name, colour), x in zip(names.items(), places):
        axes.text(x, above, "■", transform=axes.transAxes, color=colour, fontsize=11)
        axes.annotate(
            name, (x, above), xycoords="axes fraction", xytext=(12, 0), textcoords="offset points", fontsize=9
        )


def rounded(value: float, digits: int = 1) -> str:
    """A number as the tables print it, with a real minus sign: −3.2. A five goes up as in print: 9.95 is 10.0."""
    exact = Decimal(str(float(value))).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    return str(exact).replace("-", "−")


def signed(value: float, digits: int = 1) -> str:
    """With its sign, zero without one: +0.7, −3.2, 0.0."""
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text[1:] if float(f"{value:.{digits}f}") == 0 else text
