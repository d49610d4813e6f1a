"""The block, drawn: Mistral's on the left, Mixtral's on the right. The article's Figure 9, drawn anew."""

from minimistral.lab import theme
from minimistral.lab.picture import Picture, show

MIDDLE, SIDE, WIDTH = (
    1.0,
    3.35,
    2.5,
)  # of one half: x of the residual stream, of the parts beside it, and a part's width


def draw_block() -> Picture:
    """Two columns, to be read from below: a residual stream, and two parts beside it that read from it and add to it."""
    with theme.figure(1, 2, size=(7.2, 4.6)) as (figure, halves):
        for axes, title, part in zip(halves, ("Mistral 7B: dense", "Mixtral 8x7B: sparse"), (_dense, _experts)):
            _stream(axes, title)
            _beside(axes, 1.0, "attention", theme.SKY)
            _norms(axes, 5.2)
            part(axes)
        alt = (
            "The block, from below. The residual stream runs straight up. Beside it: RMSNorm, then attention, added back; RMSNorm, "
            "then in Mistral one SwiGLU, in Mixtral a router that sends the token to 2 of 8 SwiGLU experts, added back."
        )
        return show(figure, alt)


def _stream(axes, title: str) -> None:
    axes.annotate("", (MIDDLE, 9.7), (MIDDLE, 0.1), arrowprops=dict(arrowstyle="-|>", color=theme.INK, lw=2.5))
    axes.text(MIDDLE - 0.2, 0.3, "x", ha="right", style="italic")
    axes.text(MIDDLE - 0.32, 5.0, "h", ha="right", style="italic")
    axes.text(MIDDLE - 0.3, 2.6, "residual stream", rotation=90, ha="right", va="center", color=theme.GREY, fontsize=9)
    axes.set(xlim=(0, 5), ylim=(0, 10), title=title)
    axes.axis("off")


def _norms(axes, foot: float) -> None:
    _box(axes, SIDE, foot + 0.6, WIDTH, "RMSNorm", theme.LIGHT)
    _line(axes, [(MIDDLE, foot), (SIDE, foot), (SIDE, foot + 0.35)])


def _beside(axes, foot: float, name: str, colour: str) -> None:
    _norms(axes, foot)
    _line(axes, [(SIDE, foot + 0.95), (SIDE, foot + 1.5)])
    _box(axes, SIDE, foot + 1.9, WIDTH, name, colour)
    _line(axes, [(SIDE, foot + 2.2), (SIDE, foot + 3.2), (MIDDLE + 0.28, foot + 3.2)])
    _plus(axes, foot + 3.2)


def _dense(axes) -> None:
    _line(axes, [(SIDE, 6.15), (SIDE, 6.7)])
    _box(axes, SIDE, 7.1, WIDTH, "SwiGLU", theme.AMBER)
    _line(axes, [(SIDE, 7.4), (SIDE, 8.9), (MIDDLE + 0.28, 8.9)])
    _plus(axes, 8.9)


def _experts(axes) -> None:
    _box(axes, SIDE, 6.55, WIDTH, "router: 2 of 8", theme.LIGHT)
    for expert in range(8):
        chosen = expert in (2, 5)
        x = SIDE - 1.4 + 0.4 * expert
        axes.plot([SIDE, x], [6.8, 7.35], color=theme.INK if chosen else theme.LIGHT, lw=1.2)
        _box(axes, x, 7.65, 0.34, str(expert + 1), theme.AMBER if chosen else theme.PAPER)
        if chosen:
            axes.plot([x, SIDE], [7.95, 8.4], color=theme.INK, lw=1.2)
    axes.text(SIDE + 0.15, 8.45, "8 SwiGLU experts", fontsize=8, color=theme.GREY)
    _line(axes, [(SIDE, 8.4), (SIDE, 8.9), (MIDDLE + 0.28, 8.9)])
    _plus(axes, 8.9)


def _box(axes, x: float, y: float, width: float, text: str, colour: str) -> None:
    axes.text(x, y, text, ha="center", va="center", zorder=4, fontsize=9)
    axes.add_patch(_patch((x - width / 2, y - 0.3), width, 0.6, colour))


def _patch(corner: tuple[float, float], width: float, height: float, colour: str):
    from matplotlib.patches import Rectangle

    return Rectangle(corner, width, height, facecolor=colour, edgecolor=theme.INK, lw=1, zorder=3)


def _line(axes, points: list[tuple[float, float]]) -> None:
    axes.plot(*zip(*points[:-1]), color=theme.INK, lw=1.2, zorder=2)
    axes.annotate(
        "", points[-1], points[-2], arrowprops=dict(arrowstyle="-|>", color=theme.INK, lw=1.2, shrinkA=0, shrinkB=0)
    )


def _plus(axes, y: float) -> None:
    axes.plot(MIDDLE, y, "o", ms=15, mfc=theme.PAPER, mec=theme.INK, zorder=5)
    axes.text(MIDDLE, y - 0.02, "+", ha="center", va="center", zorder=6, fontsize=13)
