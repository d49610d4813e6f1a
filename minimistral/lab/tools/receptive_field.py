"""Chapter 05's tool: which inputs one output can see through a stack of windows, and how much of them it uses."""

from dataclasses import asdict, dataclass

import torch

from minimistral.lab.counted import counted
from minimistral.lab.reach import input_gradient, one_thread, random_model, uniform_influence
from minimistral.lab.stored_results import stored
from minimistral.lab.tools.browser_tool import BrowserTool

MAX_LAYERS, MAX_WINDOW, MAX_TOKENS = 8, 9, 40
FLOOR = 1e-6  # of the logarithmic scales


@dataclass(frozen=True)
class State:
    """What the sliders say. token is the position of the output that is looked at, from 0."""

    n_layers: int = 4
    window: int = 4
    n_tokens: int = 17
    token: int = 16

    def __post_init__(self):
        for name, least, most in (
            ("n_layers", 1, MAX_LAYERS),
            ("window", 1, MAX_WINDOW),
            ("n_tokens", 2, MAX_TOKENS),
            ("token", 0, self.n_tokens - 1),
        ):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name}={getattr(self, name)}: the tool shows {least} to {most}.")


@dataclass(frozen=True)
class Shown:
    """For each input token: its share under uniform attention, its gradient (largest = 1), the trained model's recall."""

    reached: int
    uniform: list[float]
    gradient: list[float]
    recall: list[float | None] | None  # None where no run is stored for these layers and this window


def compute(state: State) -> Shown:
    """Everything that the tool draws, as plain numbers."""
    uniform = uniform_influence(state.n_layers, state.window, state.n_tokens)[state.token]
    recall = trained_recall().get(f"{state.n_layers},{state.window}")
    by_token = [None] * state.n_tokens
    for distance, share in enumerate(recall or []):
        if distance <= state.token:
            by_token[state.token - distance] = share
    return Shown(int((uniform > 0).sum()), uniform.tolist(), gradient(state), by_token if recall else None)


def gradient(state: State) -> list[float]:
    """Of an untrained model with these layers and this window, relative to the largest; exactly 0.0 outside the reach."""
    model = random_model(state.n_layers, state.window)
    tokens = torch.randint(16, (1, state.n_tokens), generator=torch.Generator().manual_seed(1))
    with one_thread():
        strength = input_gradient(model, tokens, state.token)
    return (strength / strength.max()).tolist()


def trained_recall() -> dict[str, list[float]]:
    """ "layers,window" to the share of texts whose first token was named, by distance: the mean over the stored seeds."""
    runs: dict[str, list] = {}
    for run in stored("window_cliff")["runs"]:
        runs.setdefault(f"{run['n_layers']},{run['window']}", []).append(run["recall"])
    return {setting: [round(sum(shares) / len(shares), 3) for shares in zip(*seeds)] for setting, seeds in runs.items()}


def describe(state: State, shown: Shown) -> str:
    formula = state.n_layers * (state.window - 1) + 1
    text = (
        f"{counted(state.n_layers, 'layer')} with a window of {state.window}: "
        f"the last layer's output at token {state.token} depends on "
        f"{counted(shown.reached, 'token')}, itself and {shown.reached - 1} before it. "
        f"{state.n_layers} x ({state.window} - 1) + 1 = {formula}"
    )
    return (
        f"{text}." if shown.reached == formula else f"{text}, but the text begins {counted(state.token, 'token')} back."
    )


def draw(state: State, shown: Shown):
    """The tool as a still picture."""
    from minimistral.lab import theme
    from minimistral.lab.picture import show

    n_panels = 4 if shown.recall else 3
    heights = [0.6 + 0.32 * state.n_layers, *[0.9] * (n_panels - 1)]
    with theme.figure(
        n_panels, size=(7.2, 1.05 * sum(heights) + 0.4), sharex=True, gridspec_kw={"height_ratios": heights}
    ) as (figure, panels):
        _draw_stack(panels[0], state)
        _draw_bars(panels[1], shown.uniform, theme.THEORY, "uniform attention: share", log=True)
        _draw_bars(panels[2], shown.gradient, theme.GRADIENT, "untrained model: gradient, largest = 1", log=True)
        if shown.recall:
            _draw_bars(
                panels[3], shown.recall, theme.TRAINED, "trained models: name a first token that stands here", log=False
            )
        panels[-1].set_xticks(range(0, state.n_tokens, 1 if state.n_tokens <= 20 else 5))
        panels[-1].set_xlabel("input token (position)")
        figure.suptitle(describe(state, shown).split(": the ")[0], x=0.01, ha="left", fontsize=11)
        return show(figure, describe(state, shown))


def _draw_stack(axes, state: State) -> None:
    from minimistral.lab import theme

    for layer in range(state.n_layers + 1):
        first = max(0, state.token - (state.n_layers - layer) * (state.window - 1))
        for token in range(state.n_tokens):
            lit = first <= token <= state.token
            axes.plot(
                token, layer, "o", ms=5, mfc=theme.WINDOW if lit else theme.PAPER, mec=theme.GREY, mew=0.6, zorder=2
            )
            if lit and layer:
                for key in range(max(0, token - state.window + 1), token + 1):
                    axes.plot([token, key], [layer, layer - 1], "-", color=theme.LIGHT, lw=0.7, zorder=1)
    path = [max(0, state.token - hop * (state.window - 1)) for hop in range(state.n_layers + 1)]
    axes.plot(path, range(state.n_layers, -1, -1), "-", color=theme.ORANGE, lw=1.8, zorder=3)
    axes.set_yticks([0, state.n_layers], ["inputs", f"layer {state.n_layers}"])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)


def _draw_bars(axes, values: list, colour: str, title: str, log: bool) -> None:
    from minimistral.lab import theme

    known = [(token, value) for token, value in enumerate(values) if value is not None]
    axes.bar([t for t, v in known if v > 0], [v for t, v in known if v > 0], color=colour, width=0.7)
    axes.plot(
        [t for t, v in known if v == 0],
        [FLOOR if log else 0] * sum(v == 0 for _, v in known),
        "x",
        color=theme.GREY,
        ms=4,
    )
    axes.set_title(
        title + (" (log scale; × is exactly 0)" if log else " (share of texts; a guess gives 0.06)"), fontsize=9
    )
    if log:
        axes.set_yscale("log")
        axes.set_ylim(FLOOR / 2, 2)
        axes.set_yticks([1e-6, 1e-3, 1])
        axes.minorticks_off()
    else:
        axes.set_ylim(0, 1.1)
        axes.set_yticks([0, 1])


class ReceptiveField(BrowserTool):
    """The tool: sliders for layers, window, length and token. Displayed, it is live, and a picture where no kernel runs."""

    script = "receptive_field.js"
    asks = True
    alone = "Without Python, gradients are known for 17 tokens and the last of them; JupyterLab computes the others."

    def __init__(self, n_layers: int = 4, window: int = 4, n_tokens: int = 17, token: int | None = None):
        self.state = State(n_layers, window, n_tokens, n_tokens - 1 if token is None else token)

    def __repr__(self) -> str:
        return describe(self.state, compute(self.state))

    def start(self) -> dict:
        return asdict(self.state)

    def data(self) -> dict:
        return {"limits": dict(n_layers=MAX_LAYERS, window=MAX_WINDOW, n_tokens=MAX_TOKENS), "recall": trained_recall()}

    def answer(self, state: dict) -> dict:
        return {"gradient": gradient(State(**state))}

    def known_states(self) -> list[dict]:
        layers, windows = range(1, MAX_LAYERS + 1), range(1, MAX_WINDOW + 1)
        return [asdict(State(n_layers, window)) for n_layers in layers for window in windows]

    def picture(self):
        return draw(self.state, compute(self.state))
