"""Chapter 02's tool: what happens to activations and gradients along the depth of a stack of blocks."""

from dataclasses import asdict, dataclass
from functools import lru_cache

from minimistral.lab.counted import counted
from minimistral.lab.depth import NORMS, xray
from minimistral.lab.reach import one_thread
from minimistral.lab.tools.browser_tool import BrowserTool

MAX_LAYERS, WIDTHS = 32, (16, 32, 64)
NAMES = {"pre": "norm before each part (pre-norm)", "post": "norm after each sum (post-norm)", "none": "no norm at all"}


@dataclass(frozen=True)
class State:
    """What the controls say."""

    norm: str = "pre"
    n_layers: int = 16
    dim: int = 32

    def __post_init__(self):
        for name, allowed in (("norm", NORMS), ("n_layers", range(1, MAX_LAYERS + 1)), ("dim", WIDTHS)):
            if getattr(self, name) not in allowed:
                shown = f"1 to {MAX_LAYERS}" if name == "n_layers" else ", ".join(map(str, allowed))
                raise ValueError(f"{name}={getattr(self, name)!r}: the tool shows {shown}.")


@lru_cache(maxsize=256)
def _compute(state: State) -> dict[str, tuple[float, ...]]:
    with one_thread():
        seen = xray(state.n_layers, state.norm, state.dim)
    return {name: tuple(float(f"{value:.4g}") for value in values) for name, values in seen.items()}


def compute(state: State) -> dict[str, list[float]]:
    """The size of the residual stream (L + 1 numbers) and the gradient of each layer's w2 (L numbers), to 4 digits."""
    return {name: list(values) for name, values in _compute(state).items()}


def describe(state: State, seen: dict[str, list[float]]) -> str:
    size, gradient = seen["size"], seen["gradient"]
    return (
        f"{counted(state.n_layers, 'layer')}, {NAMES[state.norm]}: from the embedding to the top the residual stream goes from "
        f"{size[0]:.3g} to {size[-1]:.3g}; the last layer's gradient is {gradient[-1]:.3g}, the first layer's {gradient[0]:.3g}."
    )


def draw(state: State, seen: dict[str, list[float]]):
    """The tool as a still picture."""
    from minimistral.lab import theme
    from minimistral.lab.picture import show

    with theme.figure(2, size=(7.2, 4.2), sharex=True) as (figure, (above, below)):
        above.plot(range(state.n_layers + 1), seen["size"], "o-", color=theme.TRAINED, ms=4)
        above.set_title("size of the residual stream (root mean square, log scale)", fontsize=10)
        below.plot(range(1, state.n_layers + 1), seen["gradient"], "s-", color=theme.GRADIENT, ms=4)
        below.set_title("gradient of each layer's w2 (length, log scale)", fontsize=10)
        for axes, values in ((above, seen["size"]), (below, seen["gradient"])):
            axes.set_yscale("log")
            axes.set_ylim(min(0.1, min(values) / 2), max(10, 2 * max(values)))
            axes.minorticks_off()
        below.set_xlabel("layer (0 is the embedding)")
        below.set_xlim(-0.5, max(state.n_layers, 4) + 0.5)
        figure.suptitle(
            f"{counted(state.n_layers, 'layer')} of width {state.dim}, {NAMES[state.norm]}",
            x=0.01,
            ha="left",
            fontsize=11,
        )
        return show(figure, describe(state, seen))


class BlockXray(BrowserTool):
    """The tool: a choice of norm, sliders for depth and width. Displayed, it is live, and a picture where no kernel runs."""

    script = "block_xray.js"
    asks = True

    def __init__(self, norm: str = "pre", n_layers: int = 16, dim: int = 32):
        self.state = State(norm, n_layers, dim)

    def __repr__(self) -> str:
        return describe(self.state, compute(self.state))

    def start(self) -> dict:
        return asdict(self.state)

    def data(self) -> dict:
        return {"max_layers": MAX_LAYERS, "widths": list(WIDTHS), "names": NAMES}

    def answer(self, state: dict) -> dict:
        return compute(State(**state))

    def picture(self):
        return draw(self.state, compute(self.state))
