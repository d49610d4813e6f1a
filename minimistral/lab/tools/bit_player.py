"""Chapter 11's tool: a row of weights on the grids that bits, groups and one outlier leave it, and what that costs."""

import math
import random
from dataclasses import asdict, dataclass

from minimistral.lab.stored_results import stored
from minimistral.lab.tools.browser_tool import BrowserTool

N_WEIGHTS, OUTLIER = 64, 21  # weights in the row, and the place of the one that the slider moves
GROUPS = (8, 16, 32, 64)
LEAST_BITS, MOST_BITS, LARGEST = 2, 8, 10.0
SCALE_BITS = 16


def _row() -> list[float]:
    """64 normal weights, to two decimals, their root mean square near 1; none beyond 2.5, so that the slider's stands out."""
    draw, found = random.Random(4), []
    while len(found) < N_WEIGHTS:
        weight = round(draw.gauss(0, 1), 2)
        found += [weight] if abs(weight) <= 2.5 else []
    return found


ROW = _row()


@dataclass(frozen=True)
class State:
    """What the controls say. outlier is the value of weight 21."""

    bits: int = 4
    group: int = 16
    outlier: float = 8.0

    def __post_init__(self):
        if not LEAST_BITS <= self.bits <= MOST_BITS or self.group not in GROUPS or not 0 <= self.outlier <= LARGEST:
            raise ValueError(
                f"bits={self.bits}, group={self.group}, outlier={self.outlier}: bits are {LEAST_BITS} to {MOST_BITS}, "
                f"a group is one of {GROUPS}, the outlier 0 to {LARGEST:g}."
            )


@dataclass(frozen=True)
class Shown:
    """weights and rounded (64); steps: each group's scale; ruined: the outlier's group; errors are root mean squares.

    In `error_there` the outlier itself is left out: its neighbours are what it ruins. error_elsewhere is None where there
    is no other group.
    """

    weights: list[float]
    rounded: list[float]
    steps: list[float]
    ruined: int
    error_there: float
    error_elsewhere: float | None
    bits_a_weight: float
    bits_a_byte: float


def compute(state: State) -> Shown:
    """Everything that the tool draws, as plain numbers."""
    weights = [*ROW[:OUTLIER], state.outlier, *ROW[OUTLIER + 1 :]]
    largest = 2 ** (state.bits - 1) - 1
    groups = [weights[i : i + state.group] for i in range(0, N_WEIGHTS, state.group)]
    steps = [max(map(abs, group)) / largest for group in groups]
    rounded = [
        math.floor(weight / steps[i // state.group] + 0.5) * steps[i // state.group] for i, weight in enumerate(weights)
    ]
    ruined = OUTLIER // state.group
    there = [i for i in range(N_WEIGHTS) if i // state.group == ruined and i != OUTLIER]
    elsewhere = [i for i in range(N_WEIGHTS) if i // state.group != ruined]

    def error(places: list[int]) -> float | None:
        return math.sqrt(sum((rounded[i] - weights[i]) ** 2 for i in places) / len(places)) if places else None

    stored_bits = text_bits()[f"{state.bits},{state.group}"]
    whole = state.bits + SCALE_BITS / state.group
    return Shown(weights, rounded, steps, ruined, error(there), error(elsewhere), whole, stored_bits)


def text_bits() -> dict[str, float]:
    """ "bits,group" to the bits a byte of tiny-mistral with all its matrices so rounded, from the stored runs; "16": as it is."""
    runs = stored("quantized_grid")["runs"]
    found = {f"{run['bits']},{run['group']}": run["bits_a_byte"] for run in runs if run["group"] in GROUPS}
    return {**found, "16": next(run["bits_a_byte"] for run in runs if run["bits"] == 16)}


def describe(state: State, shown: Shown) -> str:
    groups = f"groups of {state.group}" if state.group < N_WEIGHTS else "one group of 64"
    text = f"{2**state.bits - 1} codes, {groups}: the typical error is {shown.error_there:.3f} beside weight 21"
    text += f", {shown.error_elsewhere:.3f} in the other groups" if shown.error_elsewhere is not None else ""
    return (
        f"{text}. {shown.bits_a_weight:.2f} bits a weight, scales included. "
        f"All of tiny-mistral so: {shown.bits_a_byte:.3f} bits a byte, as stored {text_bits()['16']:.3f}."
    )


def draw(state: State, shown: Shown):
    """The tool as a still picture."""
    from minimistral.lab import theme
    from minimistral.lab.picture import show

    with theme.figure(2, size=(7.2, 4.4), sharex=True, gridspec_kw={"height_ratios": [3, 1]}) as (
        figure,
        (top, bottom),
    ):
        for g, step in enumerate(shown.steps):
            left, right = g * state.group - 0.4, (g + 1) * state.group - 0.6
            largest = 2 ** (state.bits - 1) - 1
            top.hlines([code * step for code in range(-largest, largest + 1)], left, right, color=theme.LIGHT, lw=0.8)
        places = range(N_WEIGHTS)
        top.vlines(places, shown.weights, shown.rounded, color=theme.ORANGE, lw=1.6)
        top.plot(places, shown.weights, "o", color=theme.BLUE, ms=3.5)
        top.plot(places, shown.rounded, "_", color=theme.INK, ms=5)
        top.set(ylabel="weight", ylim=(-LARGEST - 0.5, LARGEST + 0.5))
        top.set_title("dots: weights; dashes: rounded; grey: the grid", fontsize=9)
        errors = [abs(after - before) for before, after in zip(shown.weights, shown.rounded)]
        colours = [theme.ORANGE if i // state.group == shown.ruined else theme.SKY for i in places]
        bottom.bar(places, errors, color=colours)
        bottom.set(xlabel="weight of the row (number)", ylabel="error", xlim=(-1, N_WEIGHTS), ylim=(0, None))
        figure.suptitle(
            f"{state.bits} bits, groups of {state.group}, weight 21 is {state.outlier:g}",
            x=0.01,
            ha="left",
            fontsize=11,
        )
        return show(figure, describe(state, shown))


class BitPlayer(BrowserTool):
    """The tool: bits, group size and the size of one weight; displayed, it is live, and a picture where no kernel runs."""

    script = "bit_player.js"

    def __init__(self, bits: int = 4, group: int = 16, outlier: float = 8.0):
        self.state = State(bits, group, outlier)

    def __repr__(self) -> str:
        return describe(self.state, compute(self.state))

    def start(self) -> dict:
        return asdict(self.state)

    def data(self) -> dict:
        limits = {"bits": [LEAST_BITS, MOST_BITS], "outlier": LARGEST, "scale_bits": SCALE_BITS}
        return {"row": ROW, "place": OUTLIER, "groups": list(GROUPS), "limits": limits, "text_bits": text_bits()}

    def picture(self):
        return draw(self.state, compute(self.state))
