"""Figure 9: the block of Mistral and that of Mixtral, with the weights of each part as the library counts them."""

from minimistral import ModelConfig

from .article_figure import ArticleFigure
from .look import Look

DENSE, SPARSE = "mistral-7b-v0.1", "mixtral-8x7b-v0.1"
TITLES = {DENSE: "Mistral 7B: dense", SPARSE: "Mixtral 8x7B: sparse"}
STREAM, SIDE, WIDTH = 0.75, 3.2, 3.0  # of one half: x of the residual stream, of the parts beside it, a part's width


def parts(config: ModelConfig) -> dict[str, int]:
    """Weights of one layer by part: one norm, attention, one feed-forward block or expert, the router (0: none)."""
    counted = config.count_parameters().parts
    experts = config.moe.num_experts if config.moe else 1
    return {
        "RMSNorm": config.dim,
        "attention": counted["attention"] // config.n_layers,
        "SwiGLU": counted["feed_forward"] // config.n_layers // experts,
        "router": counted["gate"] // config.n_layers,
    }


def layer(config: ModelConfig) -> tuple[int, int]:
    """Weights of one layer: stored, and used by a token."""
    count = parts(config)
    experts, chosen = (config.moe.num_experts, config.moe.num_experts_per_tok) if config.moe else (1, 1)
    rest = 2 * count["RMSNorm"] + count["attention"] + count["router"]
    return rest + experts * count["SwiGLU"], rest + chosen * count["SwiGLU"]


def draw(look: Look, dense: str = DENSE, sparse: str = SPARSE):
    if ModelConfig.preset(dense).moe or not ModelConfig.preset(sparse).moe:
        raise ValueError(f"dense={dense!r}, sparse={sparse!r}: first a preset without experts, then one with them.")
    with look.figure(1, 2, size=(7.2, 5.3)) as (figure, halves):
        for axes, name in zip(halves, (dense, sparse)):
            config = ModelConfig.preset(name)
            _stream(axes, look, TITLES.get(name, name))
            _part(axes, look, 0.9, "attention", look.sky, parts(config))
            if config.moe is None:
                _part(axes, look, 5.2, "SwiGLU", look.amber, parts(config))
            else:
                _experts(axes, look, 5.2, config)
            stored, used = layer(config)
            text = (
                f"a layer: {stored:,} weights"
                if stored == used
                else f"a layer: {stored:,} weights,\n{used:,} for a token"
            )
            axes.text(5.0, -0.45, text, ha="right", va="center", fontsize=9, fontweight="bold")
        figure.suptitle("The same block but for one part: a router and experts in place of one SwiGLU",
                        x=0.01, ha="left", fontsize=11)  # fmt: skip
        return figure


def _stream(axes, look: Look, title: str) -> None:
    _arrow(axes, look, [(STREAM, 0.1), (STREAM, 10.5)], 2.5)
    for y, name in ((0.35, "x"), (4.75, "h")):
        axes.text(STREAM - 0.28, y, name, ha="right", style="italic", fontsize=11)
    axes.text(STREAM - 0.3, 2.5, "residual stream", rotation=90, ha="right", va="center", color=look.grey, fontsize=9)
    axes.set(xlim=(0, 5), ylim=(-0.9, 10.6))
    axes.set_title(title)
    axes.axis("off")


def _part(axes, look: Look, foot: float, name: str, colour: str, count: dict[str, int]) -> None:
    """RMSNorm, the part above it, and what it writes added to the stream."""
    _norm(axes, look, foot, count)
    _arrow(axes, look, [(SIDE, foot + 1.1), (SIDE, foot + 1.65)])
    _box(axes, look, SIDE, foot + 2.05, WIDTH, f"{name}\n{count[name]:,}", colour)
    _add(axes, look, foot + 2.45, foot + 3.15)


def _norm(axes, look: Look, foot: float, count: dict[str, int]) -> None:
    _box(axes, look, SIDE, foot + 0.7, WIDTH, f"RMSNorm\n{count['RMSNorm']:,}", look.faint, dark_text=False)
    _arrow(axes, look, [(STREAM, foot), (SIDE, foot), (SIDE, foot + 0.3)])


def _experts(axes, look: Look, foot: float, config: ModelConfig) -> None:
    """The router and its experts: the first ones stand for those that it might choose."""
    count, n, chosen = parts(config), config.moe.num_experts, config.moe.num_experts_per_tok
    _norm(axes, look, foot, count)
    _arrow(axes, look, [(SIDE, foot + 1.1), (SIDE, foot + 1.65)])
    _box(
        axes,
        look,
        SIDE,
        foot + 2.05,
        WIDTH,
        f"router: {chosen} of {n}\n{count['router']:,}",
        look.faint,
        dark_text=False,
    )
    picked = {(3 * i + 1) % n for i in range(chosen)} if n > chosen else set(range(n))
    for expert in range(n):
        x = SIDE + (expert - (n - 1) / 2) * WIDTH / n
        there = expert in picked
        for line in ([(SIDE, foot + 2.45), (x, foot + 2.85)], [(x, foot + 3.35), (SIDE, foot + 3.75)]):
            axes.plot(*zip(*line), color=look.ink if there else look.faint, lw=1.2, zorder=2 + there / 2)
        _box(
            axes,
            look,
            x,
            foot + 3.1,
            WIDTH / n * 0.84,
            str(expert + 1),
            look.amber if there else look.paper,
            0.5,
            there,
        )
    axes.text(SIDE + 0.12, foot + 4.1, f"{n} SwiGLU,\n{count['SwiGLU']:,} each", fontsize=8, va="center")
    _add(axes, look, foot + 3.75, foot + 4.55)


def _add(axes, look: Look, start: float, y: float) -> None:
    _arrow(axes, look, [(SIDE, start), (SIDE, y), (STREAM + 0.27, y)])
    axes.plot(STREAM, y, "o", ms=16, mfc=look.paper, mec=look.ink, zorder=5)
    axes.plot(STREAM, y, "+", ms=9, color=look.ink, zorder=6)


def _box(
    axes,
    look: Look,
    x: float,
    y: float,
    width: float,
    text: str,
    colour: str,
    height: float = 0.8,
    dark_text: bool = True,
) -> None:
    from matplotlib.patches import Rectangle

    corner = (x - width / 2, y - height / 2)
    axes.add_patch(Rectangle(corner, width, height, facecolor=colour, edgecolor=look.ink, lw=1, zorder=3))
    axes.text(x, y, text, ha="center", va="center", zorder=4, fontsize=9, color="#1a1a1a" if dark_text else look.ink)


def _arrow(axes, look: Look, points: list[tuple[float, float]], width: float = 1.2) -> None:
    axes.plot(*zip(*points[:-1]), color=look.ink, lw=width, zorder=2)
    style = dict(arrowstyle="-|>", color=look.ink, lw=width, shrinkA=0, shrinkB=0)
    axes.annotate("", points[-1], points[-2], arrowprops=style)


def caption(dense: str = DENSE, sparse: str = SPARSE) -> str:
    one, many = ModelConfig.preset(dense), ModelConfig.preset(sparse)
    stored, used = layer(many)
    return (
        "Figure 9, drawn anew, with the weights that `count_parameters` counts. Only the feed-forward block "
        f"changes: one SwiGLU of {parts(one)['SwiGLU']:,} weights becomes {many.moe.num_experts} and a router of "
        f"{parts(many)['router']:,}. A layer grows from {layer(one)[0]:,} to {stored:,} weights, of which a token "
        f"uses {used:,}. Sources: arXiv 2310.06825, 2401.04088."
    )


def alt(dense: str = DENSE, sparse: str = SPARSE) -> str:
    one, many = ModelConfig.preset(dense), ModelConfig.preset(sparse)
    return (
        f"The block, from below. The residual stream runs straight up. Beside it: RMSNorm ({parts(one)['RMSNorm']:,} "
        f"weights), then attention ({parts(one)['attention']:,}), added back; RMSNorm, then in the dense model one "
        f"SwiGLU ({parts(one)['SwiGLU']:,}), in the sparse one a router ({parts(many)['router']:,}) that sends the "
        f"token to {many.moe.num_experts_per_tok} of {many.moe.num_experts} SwiGLU experts, added back."
    )


def table(dense: str = DENSE, sparse: str = SPARSE) -> list[dict]:
    one, many = ModelConfig.preset(dense), ModelConfig.preset(sparse)

    def row(what: str, first: int, second: int) -> dict:
        return {"weights of one layer": what, dense: f"{first:,}", sparse: f"{second:,}"}

    listed = [row(what, parts(one)[what], parts(many)[what]) for what in parts(one)]
    listed.append(row("number of SwiGLU", 1, many.moe.num_experts))
    listed.append(row("SwiGLU that a token uses", 1, many.moe.num_experts_per_tok))
    return [
        *listed,
        row("stored", layer(one)[0], layer(many)[0]),
        row("used by a token", layer(one)[1], layer(many)[1]),
    ]


FIGURE = ArticleFigure(
    9, "block", "The block, dense and with experts", draw, caption, alt, table,
    ("minimistral.ModelConfig.count_parameters",),
)  # fmt: skip
