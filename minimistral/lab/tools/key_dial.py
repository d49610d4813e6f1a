"""Chapter 02's small tool: turn one key toward the query, and watch the softmax move its weight."""

import math
from dataclasses import asdict, dataclass

import torch

from minimistral.lab.tools.browser_tool import BrowserTool

WORDS = ("The", "cat", "sat", "on")
MOVED = 1  # the key that the sliders move
QUERY = (2.0, 0.0)
FIXED = {0: (1.5, 110), 2: (1.2, -80), 3: (1.0, 160)}  # length, angle from the query in degrees


@dataclass(frozen=True)
class State:
    """What the controls say: the moved key's angle from the query, in degrees, its length, and whether it is hidden."""

    angle: int = 60
    length: float = 2.0
    hidden: bool = False

    def __post_init__(self):
        for name, least, most in (("angle", -180, 180), ("length", 0, 4)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name}={getattr(self, name)}: the tool shows {least} to {most}.")


def keys(state: State) -> list[tuple[float, float]]:
    """The four keys as points in the plane."""
    polar = {**FIXED, MOVED: (state.length, state.angle)}
    return [
        (length * math.cos(math.radians(angle)), length * math.sin(math.radians(angle)))
        for length, angle in (polar[i] for i in range(len(WORDS)))
    ]


def compute(state: State) -> tuple[list[float], list[float]]:
    """The four scores, minus infinity where hidden, and the weights that softmax makes of them."""
    scores = torch.tensor(keys(state)) @ torch.tensor(QUERY) / math.sqrt(2)  # (S,)
    if state.hidden:
        scores[MOVED] = float("-inf")
    return scores.tolist(), scores.softmax(0).tolist()


def describe(state: State, weights: list[float]) -> str:
    place = "hidden" if state.hidden else f"{state.angle} degrees from the query"
    return f"The key of “{WORDS[MOVED]}” is {place}: its weight is {weights[MOVED]:.2f}, and the four add up to 1."


def draw(state: State):
    """The tool as a still picture."""
    from minimistral.lab import theme
    from minimistral.lab.picture import show

    scores, weights = compute(state)
    with theme.figure(1, 2, size=(7.2, 3.2), gridspec_kw={"width_ratios": [1.2, 1]}) as (figure, (plane, bars)):
        arrow = dict(arrowstyle="-|>", lw=2, shrinkA=0, shrinkB=0)
        plane.annotate("", QUERY, (0, 0), arrowprops={**arrow, "color": theme.QUERY, "lw": 4})
        plane.text(1.3, -0.3, "query", color=theme.QUERY, ha="center")
        for i, (x, y) in enumerate(keys(state)):
            colour = theme.KEY if i == MOVED else theme.GREY
            plane.annotate("", (x, y), (0, 0), arrowprops={**arrow, "color": colour})
            plane.text(1.12 * x, 1.12 * y, WORDS[i], color=colour, ha="center", va="center")
        plane.set(xlim=(-2.4, 2.8), ylim=(-1.9, 2.2), aspect="equal", xlabel="first number", ylabel="second number")
        bars.barh(range(4), weights, color=[theme.KEY if i == MOVED else theme.GREY for i in range(4)])
        for i, weight in enumerate(weights):
            score = "hidden" if scores[i] == float("-inf") else f"score {scores[i]:+.2f}"
            bars.text(weight + 0.02, i, f"{weight:.2f} ({score})", va="center", fontsize=9)
        bars.set(yticks=range(4), yticklabels=WORDS, xlim=(0, 1.45), xticks=[0, 0.5, 1], xlabel="weight of each key")
        bars.invert_yaxis()
        return show(figure, describe(state, weights))


class KeyDial(BrowserTool):
    """The tool: turn, stretch or hide one of four keys."""

    script = "key_dial.js"

    def __init__(self, angle: int = 60, length: float = 2.0, hidden: bool = False):
        self.state = State(angle, length, hidden)

    def __repr__(self) -> str:
        return describe(self.state, compute(self.state)[1])

    def start(self) -> dict:
        return asdict(self.state)

    def data(self) -> dict:
        fixed = [None if i == MOVED else list(FIXED[i]) for i in range(len(WORDS))]
        return {"words": list(WORDS), "fixed": fixed, "query": list(QUERY)}

    def picture(self):
        return draw(self.state)
