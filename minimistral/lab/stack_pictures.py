"""Chapter 07's drawings: what each answer of a text cost, the stream through the whole model, and where a window shows."""

import torch
from torch import Tensor, nn

from minimistral.lab import theme
from minimistral.lab.picture import Picture, show
from minimistral.tokenizer import Tokenizer

MOST_QUESTIONS = 8  # more would not be readable side by side


def costs(model: nn.Module, ids: list[int]) -> Tensor:
    """Bits (T - 1,): −log₂ of the probability that `model` gave to each piece of `ids` but the first, when it came."""
    with torch.inference_mode():
        logits = model(torch.tensor([ids[:-1]]))[0].double()
    return -logits.log_softmax(-1)[range(len(ids) - 1), ids[1:]] / torch.tensor(2.0).log()


def draw_questions(model: nn.Module, tokenizer: Tokenizer, ids: list[int]) -> Picture:
    """What is read above what should be named, one question a column; below, what each answer cost in bits, and the mean.

    Raises ValueError for fewer than 1 or more than 8 questions: ids holds one more.
    """
    if not 1 <= len(ids) - 1 <= MOST_QUESTIONS:
        raise ValueError(f"{len(ids)} ids ask {len(ids) - 1} questions; the drawing takes 1 to {MOST_QUESTIONS}.")
    bits = costs(model, ids).tolist()
    pieces = ["(start)", *(tokenizer.decode([i]).strip() or "␣" for i in ids[1:])]
    mean, n = sum(bits) / len(bits), len(bits)
    with theme.figure(2, 1, size=(5.4, 3.6), height_ratios=(1, 1.5), sharex=True) as (figure, (text, cost)):
        for at, (read, named) in enumerate(zip(pieces, pieces[1:])):
            for y, piece, colour in ((1, read, theme.INK), (0, named, theme.BLUE)):
                piece = piece.replace("$", r"\$")  # not the beginning of a formula
                text.text(at, y, piece, ha="center", va="center", color=colour, fontsize=11, bbox=_box(colour))
            text.annotate("", (at, 0.3), (at, 0.7), arrowprops=dict(arrowstyle="->", color=theme.GREY))
        text.text(-0.6, 1, "reads", ha="right", va="center", fontsize=11)
        text.text(-0.6, 0, "should\nname", ha="right", va="center", color=theme.BLUE, fontsize=11)
        text.set(ylim=(-0.5, 1.5), title="The same text, moved by one: each column a question")
        text.set_axis_off()
        cost.bar(range(n), bits, color=theme.BLUE, width=0.6)
        for at, value in enumerate(bits):
            cost.text(at, value / 2, f"{value:.1f}", ha="center", va="center", color=theme.PAPER, fontsize=11)
        cost.axhline(mean, color=theme.INK, ls="--", lw=1.2)
        cost.text(n + 0.9, mean, f"mean {mean:.2f}", ha="right", va="bottom", fontsize=11)
        cost.set(xlim=(-0.7, n + 0.9), ylim=(0, 1.18 * max(bits)), ylabel="cost, −log₂ p\n(bits)")
        cost.set_xticks(range(n), [f"{2**-value:.2g}" for value in bits], fontsize=10)
        cost.set_xlabel("p: the probability that the piece got, of 1")
        return show(
            figure,
            f"Reads: {_quoted(pieces[:-1])}. Should name: {_quoted(pieces[1:])}. The {n} answers cost "
            f"{', '.join(f'{value:.1f}' for value in bits)} bits; the loss is their mean, {mean:.2f}.",
        )


def stations(model: nn.Module, tokens: Tensor) -> dict[str, tuple[tuple[int, ...], int]]:
    """Shape of what leaves the embeddings, each layer, the norm and the output, and the weights in it, by name.

    model: mini-Mistral or the library's Transformer; tokens (B, T). Layers are named "layer 1", "layer 2", …
    """
    parts = {"tok_embeddings": model.tok_embeddings}
    parts |= {f"layer {n}": layer for n, layer in enumerate(model.layers, start=1)}
    parts |= {"norm": model.norm, "output": model.output}
    shapes, hooks = {}, []
    for name, part in parts.items():
        hooks.append(part.register_forward_hook(lambda _, __, out, name=name: shapes.update({name: tuple(out.shape)})))
    try:
        with torch.inference_mode():
            model(tokens)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: (shapes[name], sum(weight.numel() for weight in part.parameters())) for name, part in parts.items()}


def draw_stream(model: nn.Module, tokens: Tensor) -> Picture:
    """The residual stream from tokens (B, T) to logits (B, T, V): shapes below it, weights beside each part."""
    found, layers = stations(model, tokens), list(model.layers)
    (wide, looked_up), (out, compared) = found["tok_embeddings"], found["output"]
    attention, forward = (
        sum(weight.numel() for weight in part.parameters()) for part in (layers[0].attention, layers[0].feed_forward)
    )
    n, total = len(layers), sum(weights for _, weights in found.values())
    with theme.figure(size=(5.5, 2.7)) as (figure, axes):
        end = 2.3 + n  # where the last layer ends
        axes.plot([1.1, end + 1.2], [0, 0], color=theme.INK, lw=4, solid_capstyle="butt")
        for at in range(n):
            left = 2.0 + at
            for x, colour in ((left, theme.SKY), (left + 0.5, theme.AMBER)):
                axes.plot([x, x, x + 0.34, x + 0.34], [0, 0.75, 0.75, 0.1], color=theme.INK, lw=1)
                axes.plot(x + 0.34, 0.1, "v", color=theme.INK, ms=5)
                axes.add_patch(_patch((x - 0.02, 0.55), 0.38, 0.42, colour))
            axes.text(left + 0.42, 1.06, str(at + 1), ha="center", fontsize=10, color=theme.GREY)
        for x, name, weights in ((1.1, "embeddings", looked_up), (end + 1.2, "output", compared)):
            axes.add_patch(_patch((x - 0.3, -0.3), 0.6, 0.6, theme.LIGHT))
            axes.text(x - 0.15, 0.4, f"{name}\n{weights:,}", ha="center", va="bottom", fontsize=10)
        axes.plot([end + 0.35] * 2, [-0.16, 0.16], color=theme.INK, lw=2)
        axes.text(end + 0.35, -0.26, "norm", ha="center", va="top", fontsize=10)
        for x, name, shape in ((0.3, "tokens", tuple(tokens.shape)), (end + 1.3, "logits", out)):
            axes.text(x, -0.55, f"{name}\n{shape}", ha="center", va="top", fontsize=10.5, color=theme.PINK)
        axes.annotate("", (0.78, 0), (0.1, 0), arrowprops=dict(arrowstyle="->", color=theme.INK))
        middle = 2.0 + n / 2
        axes.text(
            middle - 0.3, -0.55, f"stream\n{wide} all along", ha="center", va="top", fontsize=10.5, color=theme.PINK
        )
        for side, words, colour in (
            ("right", f"left: attention\n{attention:,} weights a layer", theme.SKY),
            ("left", f"right: feed-forward\n{forward:,} weights a layer", theme.AMBER),
        ):
            x = middle + {"right": -0.2, "left": 0.2}[side]
            axes.text(x, 1.6, words, ha=side, fontsize=10, bbox=dict(facecolor=colour, edgecolor="none", pad=3))
        axes.set(xlim=(-0.5, end + 2.1), ylim=(-1.35, 2.3))
        axes.set_axis_off()
        axes.set_title("Every layer adds to one stream; only the ends reshape it")
        return show(
            figure,
            f"From tokens {tuple(tokens.shape)} to logits {out}. The embeddings ({looked_up:,} weights) make the stream, "
            f"{wide}; {n} layers read it and add to it, attention ({attention:,} weights a layer), then feed-forward "
            f"({forward:,}); the output ({compared:,}) reads it. Together {total:,} weights, the norms' included.",
        )


def draw_parting(gap: Tensor, window: int) -> Picture:
    """The largest difference of two models' logits at each position, gap (T,): one has a window of that many tokens."""
    with theme.figure(size=(5.4, 2.4)) as (figure, axes):
        axes.axvspan(-0.5, window - 0.5, color=theme.LIGHT)
        axes.bar(range(len(gap)), gap.tolist(), color=theme.BLUE, width=0.8)
        axes.text(
            window / 2 - 0.5, 0.55 * float(gap.max()), "the window still\nholds every token", ha="center", va="center"
        )
        axes.set(xlim=(-1, len(gap)), xlabel="position in the text", ylabel="largest difference\n(logits)")
        axes.set_xticks(sorted({0, window // 2, window, len(gap) - 1}))
        axes.set_title("A window shows only where it forgets")
        largest = float(gap[:window].max())
        return show(
            figure,
            f"Difference with and without a window, by position: below {'0.001' if largest < 1e-3 else f'{largest:.2f}'} "
            f"up to position {window - 1}, where the window holds every token; then up to {float(gap.max()):.1f}.",
        )


def _quoted(pieces: list[str]) -> str:
    return " ".join(f"“{piece}”" for piece in pieces)


def _patch(corner: tuple[float, float], width: float, height: float, colour: str):
    from matplotlib.patches import Rectangle

    return Rectangle(corner, width, height, facecolor=colour, edgecolor=theme.INK, zorder=3)


def _box(colour: str) -> dict:
    return dict(boxstyle="round,pad=0.3", facecolor=theme.PAPER, edgecolor=colour)
