"""Chapter 08's tool: from the logits of 8 experts to the weights of the k chosen ones, and to an output that can jump."""

import math
import random
from dataclasses import dataclass

from minimistral.lab.tools.browser_tool import BrowserTool

N_EXPERTS, LOWEST, HIGHEST = 8, -4.0, 4.0
ORDERS = ("after", "before")
OUTPUTS = (1.0, -2.0, 3.0, -1.0, 2.0, -3.0, 0.5, -0.5)  # what each expert says about this token: one number each
OWN = "your own"


def normal_draw(seed: int) -> list[float]:
    """8 standard normal numbers, to one decimal: the logits of a token, or the noise on them."""
    draw = random.Random(seed)
    return [round(draw.gauss(0, 1), 1) for _ in range(N_EXPERTS)]


PRESETS = {
    "worked example": [2.0, 1.0, 0.0, -1.0, -1.0, -2.0, -2.0, -3.0],
    "two nearly alike": [2.0, 1.0, 0.9, -1.0, -1.0, -2.0, -2.0, -3.0],
    "all alike": [0.0] * N_EXPERTS,
    "one far ahead": [4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    **{f"random draw {seed}": normal_draw(seed) for seed in (1, 2, 3)},
}
NOISE = [normal_draw(100 + seed) for seed in range(5)]


@dataclass(frozen=True)
class State:
    """What the controls say: `logits` of the 8 experts, `noise` times draw number `draw` on top, k, and how weights are made."""

    logits: tuple[float, ...] = tuple(PRESETS["two nearly alike"])
    expert: int = 1  # the one whose logit the slider moves
    k: int = 2
    noise: float = 0.0
    draw: int = 0
    order: str = "after"  # softmax after or before the choice
    renormalise: bool = True  # only matters before

    def __post_init__(self):
        if len(self.logits) != N_EXPERTS or not all(LOWEST <= logit <= HIGHEST for logit in self.logits):
            raise ValueError(
                f"logits={self.logits}: give {N_EXPERTS} numbers from {LOWEST:g} to {HIGHEST:g}, one an expert."
            )
        if not 1 <= self.k <= N_EXPERTS or not 0 <= self.expert < N_EXPERTS:
            raise ValueError(
                f"k={self.k}, expert={self.expert}: k is 1 to {N_EXPERTS}, the expert 0 to {N_EXPERTS - 1}."
            )
        if self.order not in ORDERS or not 0 <= self.noise <= 2 or not 0 <= self.draw < len(NOISE):
            raise ValueError(
                f"order={self.order!r}, noise={self.noise}, draw={self.draw}: the order is 'after' or 'before', "
                f"noise 0 to 2, draw 0 to {len(NOISE) - 1}."
            )

    def routed(self, own: float | None = None) -> list[float]:
        """The logits that the router sees, with their noise; `own` in place of the moved expert's logit."""
        logits = list(self.logits)
        if own is not None:
            logits[self.expert] = own
        return [logit + self.noise * draw for logit, draw in zip(logits, NOISE[self.draw])]


@dataclass(frozen=True)
class Shown:
    """chosen: ids, the largest first; weights and mass (softmax over all 8), one an expert; dropped: mass of the others.

    edge: where the moved expert's logit meets its rival's, and the output just below and just above; None where k = 8.
    """

    chosen: list[int]
    weights: list[float]
    mass: list[float]
    dropped: float
    output: float
    rival: int | None
    edge: tuple[float, float, float] | None


def softmax(logits: list[float]) -> list[float]:
    powers = [math.exp(logit - max(logits)) for logit in logits]
    return [power / sum(powers) for power in powers]


def weigh(logits: list[float], chosen: list[int], order: str, renormalise: bool) -> list[float]:
    """The weights of all 8 experts, 0.0 for those that are not chosen."""
    mass = softmax(logits)
    total = sum(mass[e] for e in chosen) if order == "after" or renormalise else 1.0
    return [mass[e] / total if e in chosen else 0.0 for e in range(N_EXPERTS)]


def ranked(logits: list[float]) -> list[int]:
    """Expert ids, the largest logit first; of equal ones the lower id, as in the chapter."""
    return sorted(range(len(logits)), key=lambda e: -logits[e])


def compute(state: State) -> Shown:
    """Everything that the tool draws, as plain numbers."""
    logits = state.routed()
    chosen = ranked(logits)[: state.k]
    weights, mass = weigh(logits, chosen, state.order, state.renormalise), softmax(logits)
    output = sum(weight * said for weight, said in zip(weights, OUTPUTS))
    rival, edge = _edge(state)
    return Shown(chosen, weights, mass, sum(mass[e] for e in range(N_EXPERTS) if e not in chosen), output, rival, edge)


def _edge(state: State) -> tuple[int | None, tuple[float, float, float] | None]:
    if state.k == N_EXPERTS:
        return None, None
    others = [e for e in ranked(state.routed()) if e != state.expert]
    rival = others[state.k - 1]
    place = state.routed()[rival] - state.noise * NOISE[state.draw][state.expert]
    logits = state.routed(place)
    sides = [others[: state.k], [*others[: state.k - 1], state.expert]]  # just below, and just above
    outputs = [
        sum(w * said for w, said in zip(weigh(logits, chosen, state.order, state.renormalise), OUTPUTS))
        for chosen in sides
    ]
    return rival, (place, *outputs)


def curve(state: State, points: int = 161) -> list[tuple[float, float, bool]]:
    """(the moved expert's logit, the output, is it chosen) over the slider's range."""
    found = []
    for i in range(points):
        own = LOWEST + (HIGHEST - LOWEST) * i / (points - 1)
        logits = state.routed(own)
        chosen = ranked(logits)[: state.k]
        weights = weigh(logits, chosen, state.order, state.renormalise)
        found.append((own, sum(w * said for w, said in zip(weights, OUTPUTS)), state.expert in chosen))
    return found


def describe(state: State, shown: Shown) -> str:
    ids = sorted(shown.chosen)
    weights = " and ".join([", ".join(f"{shown.weights[e]:.2f}" for e in ids[:-1]), f"{shown.weights[ids[-1]]:.2f}"])
    names = " and ".join([", ".join(map(str, ids[:-1])), str(ids[-1])])
    text = (
        f"{'Experts' if state.k > 1 else 'Expert'} {names.removeprefix(' and ')} of 8 run{'' if state.k > 1 else 's'}, "
        f"weight {weights.removeprefix(' and ')}, sum {sum(shown.weights):.2f}. "
        f"The others held {shown.dropped:.0%} of the softmax over all 8. Output {shown.output:.2f}."
    )
    if shown.edge and LOWEST <= shown.edge[0] <= HIGHEST:
        place, below, above = shown.edge
        text += (
            f" Where expert {state.expert}'s logit passes {place:.1f}, expert {shown.rival}'s place, "
            f"the output jumps from {below:.2f} to {above:.2f}."
        )
    return text


def draw(state: State, shown: Shown):
    """The tool as a still picture."""
    from minimistral.lab import theme
    from minimistral.lab.picture import show

    with theme.figure(1, 3, size=(7.2, 3.0), gridspec_kw={"width_ratios": [1, 1, 1.5]}) as (figure, panels):
        colours = [theme.EXPERTS[e] if e in shown.chosen else theme.LIGHT for e in range(N_EXPERTS)]
        panels[0].bar(range(N_EXPERTS), state.routed(), color=colours)
        panels[0].axhline(0, color=theme.GREY, lw=0.8)
        panels[0].set(title="logits", ylim=(LOWEST - 0.5, HIGHEST + 0.5))
        panels[1].bar(range(N_EXPERTS), shown.mass, color=theme.PAPER, edgecolor=theme.GREY)
        panels[1].bar(range(N_EXPERTS), shown.weights, color=colours, width=0.5)
        panels[1].set(title="weights (outline:\nsoftmax over all 8)", ylim=(0, 1.05))
        for axes in panels[:2]:
            axes.set(xlabel="expert", xticks=range(N_EXPERTS))
        _draw_curve(panels[2], state, shown)
        return show(figure, describe(state, shown))


def _draw_curve(axes, state: State, shown: Shown) -> None:
    from minimistral.lab import theme

    points = curve(state)
    for chosen in (False, True):
        part = [(own, output) for own, output, is_chosen in points if is_chosen is chosen]
        axes.plot(*zip(*part), color=theme.EXPERTS[state.expert] if chosen else theme.GREY) if part else None
    axes.plot(state.logits[state.expert], shown.output, "o", color=theme.INK)
    axes.set(title="output", xlabel=f"logit of expert {state.expert}", ylim=(-3.2, 3.2), xlim=(LOWEST, HIGHEST))


class Router(BrowserTool):
    """The tool: logits of 8 experts by preset and slider, k, noise, softmax before or after, renormalised or not."""

    script = "router.js"

    def __init__(self, logits=None, k: int = 2, expert: int = 1, **others):
        self.state = State(tuple(PRESETS["two nearly alike"] if logits is None else logits), expert, k, **others)

    def __repr__(self) -> str:
        return describe(self.state, compute(self.state))

    def start(self) -> dict:
        logits = list(self.state.logits)
        preset = next((name for name, known in PRESETS.items() if known == logits), OWN)
        rest = {name: getattr(self.state, name) for name in ("expert", "k", "noise", "draw", "order", "renormalise")}
        return {"preset": preset, "logits": logits, "logit": logits[self.state.expert], **rest}

    def data(self) -> dict:
        return {"presets": PRESETS, "own": OWN, "noise": NOISE, "outputs": OUTPUTS, "limits": [LOWEST, HIGHEST]}

    def picture(self):
        return draw(self.state, compute(self.state))
