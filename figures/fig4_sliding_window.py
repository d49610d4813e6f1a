"""Figure 4: full attention beside a sliding window. The masks drawn are those of the library, and so is the reach."""

import torch
from torch import Tensor

from minimistral.lab.reach import reachable
from minimistral.masks import window_mask

from .article_figure import ArticleFigure
from .look import Look

WORDS = ("The", "cat", "sat", "on", "the")
MOST_WORDS, MOST_LAYERS, MOST_INPUTS = 12, 8, 400  # that can still be seen


def checked(window: int, n_layers: int, words: tuple[str, ...]) -> None:
    """ValueError where the three cannot be drawn."""
    if not isinstance(window, int) or window < 1:
        raise ValueError(f"window={window!r}: a whole number from 1 up; a token sees itself at least.")
    if not 1 <= len(words) <= MOST_WORDS:
        raise ValueError(f"{len(words)} words: the grid shows 1 to {MOST_WORDS}.")
    if not isinstance(n_layers, int) or not 1 <= n_layers <= MOST_LAYERS:
        raise ValueError(f"n_layers={n_layers!r}: a whole number from 1 to {MOST_LAYERS}.")
    if n_layers * (window - 1) + 1 > MOST_INPUTS:
        raise ValueError(
            f"{n_layers} layers with a window of {window} reach {n_layers * (window - 1) + 1:,} inputs; the picture "
            f"shows {MOST_INPUTS}. Take a smaller window, or fewer layers."
        )


def masks(window: int, words: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Full and sliding, (T, T) bool each."""
    return window_mask(len(words), None), window_mask(len(words), window)


def reach(window: int, n_layers: int) -> Tensor:
    """Row l: the positions that the last one depends on after l layers, 0 to n_layers; one column more than the reach."""
    n_tokens = n_layers * (window - 1) + 2
    return torch.stack([reachable(layers, window, n_tokens)[-1] for layers in range(n_layers + 1)])


def draw(look: Look, window: int = 3, n_layers: int = 4, words: tuple[str, ...] = WORDS):
    checked(window, n_layers, words)
    full, sliding = masks(window, words)
    with look.figure(1, 3, size=(7.2, 2.6), width_ratios=(1, 1, 1.45)) as (figure, (left, middle, right)):
        _mask(left, look, full, words, f"full: {full.sum()} scores")
        _mask(middle, look, sliding, words, f"window of {window}: {sliding.sum()}")
        _reach(right, look, reach(window, n_layers))
        title = "A window drops scores; depth brings back reach, but not a whole window a layer"
        if window >= len(words):
            title = "A window as wide as the text drops nothing"
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        return figure


def _mask(axes, look: Look, mask: Tensor, words: tuple[str, ...], title: str) -> None:
    """Query words down, key words across; the number of keys behind each row."""
    n = len(words)
    for i in range(n):
        for j in range(n):
            _cell(axes, j, i, look.sky if mask[i, j] else look.paper, look.faint)
        axes.text(n - 0.3, i, int(mask[i].sum()), va="center", fontsize=9, fontweight="bold")
    axes.set_xticks(range(n), words, rotation=45, fontsize=8)
    axes.set_yticks(range(n), words, fontsize=8)
    axes.set(xlim=(-0.6, n + 0.3), ylim=(n - 0.4, -0.6), aspect="equal", xlabel="key")
    axes.set_ylabel("query", labelpad=1)
    axes.set_title(title, fontsize=10)
    _bare(axes)


def _reach(axes, look: Look, reached: Tensor) -> None:
    n_layers, n_tokens = len(reached) - 1, reached.shape[1]
    for layer in range(n_layers + 1):
        for position in range(n_tokens):
            last = layer == n_layers and position == n_tokens - 1
            colour = look.blue if last else look.sky if reached[n_layers - layer, position] else look.paper
            _cell(axes, position, layer, colour, look.faint if n_tokens <= 60 else colour)
    axes.set_yticks(range(n_layers + 1), ["input", *(f"layer {layer}" for layer in range(1, n_layers + 1))], fontsize=8)
    axes.set_xticks([0, n_tokens - 1], ["", "last token"], fontsize=8)
    wide = n_tokens > 3 * (n_layers + 1)  # square cells would leave no room for the layers' names
    axes.set(xlim=(-0.6, n_tokens - 0.4), ylim=(-0.6, n_layers + 0.6), aspect="auto" if wide else "equal")
    axes.set_title(f"{n_layers} layers reach {int(reached[-1].sum())} inputs", fontsize=10)
    _bare(axes)


def _cell(axes, x: float, y: float, colour: str, edge: str) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor=edge, lw=0.8))


def _bare(axes) -> None:
    axes.tick_params(length=0, pad=2)
    axes.spines[:].set_visible(False)


def caption(window: int = 3, n_layers: int = 4, words: tuple[str, ...] = WORDS) -> str:
    full, sliding = masks(window, words)
    reached, product = int(reach(window, n_layers)[-1].sum()), n_layers * window
    return (
        f"Figure 4, drawn anew from the masks that the library uses (`minimistral.masks`). With {len(words)} words "
        f"full attention takes {full.sum()} scores, a window of {window}, the word itself included, takes "
        f"{sliding.sum()}. {n_layers} layers of it reach {n_layers} · ({window} − 1) + 1 = "
        f"{reached} inputs{f', not {product}' if product != reached else ''}. Convention: arXiv 2310.06825, Figure 1."
    )


def alt(window: int = 3, n_layers: int = 4, words: tuple[str, ...] = WORDS) -> str:
    full, sliding = masks(window, words)
    return (
        f"Two grids of query words down and key words across, for “{' '.join(words)}”. Full: a triangle of "
        f"{full.sum()} scores. Window of {window}: a band of {sliding.sum()}. Right: the last token of layer "
        f"{n_layers} reaches {int(reach(window, n_layers)[-1].sum())} inputs through {n_layers} layers, {window - 1} "
        "more in each."
    )


def table(window: int = 3, n_layers: int = 4, words: tuple[str, ...] = WORDS) -> list[dict]:
    full, sliding = masks(window, words)
    queries = [
        {
            "row": f"query {i + 1}, “{word}”",
            "keys, full": int(full[i].sum()),
            f"keys, window {window}": int(sliding[i].sum()),
        }
        for i, word in enumerate(words)
    ]
    sums = {"row": f"all {len(words)}", "keys, full": int(full.sum()), f"keys, window {window}": int(sliding.sum())}
    reached = [
        {"row": f"inputs reached through {layers} layers", "keys, full": "", f"keys, window {window}": int(row.sum())}
        for layers, row in enumerate(reach(window, n_layers))
    ]
    return [*queries, sums, *reached]


FIGURE = ArticleFigure(
    4, "sliding_window", "Full attention and a sliding window", draw, caption, alt, table,
    ("minimistral.masks.window_mask", "minimistral.lab.reach.reachable"),
)  # fmt: skip
