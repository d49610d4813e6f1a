"""Chapter 02's explaining pictures: shapes in attention, what RMSNorm keeps, what a gate does, runs compared by pairs."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimistral.lab import theme
from minimistral.lab.picture import Picture, show
from minimistral.lab.stored_results import Difference, student_quantile


def draw_attention_shapes(part: nn.Module, x: Tensor) -> Picture:
    """One text x (T, C) on its way through wq, wk, wv, wo of a single head: each side as long as its number."""
    T, C = x.shape
    with torch.no_grad():
        q, k, v = (getattr(part, name)(x) for name in ("wq", "wk", "wv"))
        D, S, out = q.shape[-1], (q @ k.mT).shape[-1], part.wo(v).shape[-1]
    unit, gap = max(T, C, D), 0.4 * max(T, C, D)
    columns = [0.0]  # the left sides of x; q, k, v; the square; the mix; the result
    for width, room in ((C, 1.5), (D, 1.3), (S, 1.3), (D, 1.5)):
        columns.append(columns[-1] + width + room * gap)
    high, low = T + gap, -T - gap
    boxes = [
        (columns[0], 0, C, "x", f"{T} × {C}", theme.GREY),
        (columns[1], high, D, "q", f"{T} × {D}", theme.QUERY),
        (columns[1], 0, D, "k", f"{T} × {D}", theme.KEY),
        (columns[1], low, D, "v", f"{T} × {D}", theme.VALUE),
        (columns[2], high / 2, S, "weights", f"{T} × {S}", theme.PINK),
        (columns[3], 0, D, "mix", f"{T} × {D}", theme.VALUE),
        (columns[4], 0, out, "result", f"{T} × {out}", theme.GREY),
    ]
    with theme.figure(size=(6.2, 3.2)) as (figure, axes):
        for left, middle, width, name, size, colour in boxes:
            axes.add_patch(_rectangle(left, middle - T / 2, width, T, colour))
            words = f"{name}\n{size}"
            axes.text(left + width / 2, middle, words, ha="center", va="center", fontsize=10.5, color=theme.INK)
        for place, name in ((high, "wq"), (0, "wk"), (low, "wv")):
            _arrow(axes, (columns[0] + C, 0.25 * place), (columns[1], place))
            axes.text(
                columns[1] - 0.3 * gap,
                place + (0.3 if place >= 0 else -0.3) * unit,
                name,
                ha="right",
                fontsize=10.5,
                va="center",
            )
        _arrow(axes, (columns[1] + D, high), (columns[2], 0.68 * high))
        _arrow(axes, (columns[1] + D, 0), (columns[2], 0.32 * high))
        _arrow(axes, (columns[2] + S, 0.4 * high), (columns[3], 0.12 * high))
        _arrow(axes, (columns[1] + D, low), (columns[3], -0.3 * T))
        _arrow(axes, (columns[3] + D, 0), (columns[4], 0))
        axes.text(columns[4] - 0.75 * gap, 0.12 * unit, "wo", ha="center", fontsize=10.5)
        axes.set(xlim=(-0.5, columns[4] + out + 0.5), ylim=(low - 0.52 * T, high + 0.52 * T), aspect="equal")
        axes.set_axis_off()
        axes.set_title("Only the weights have tokens on both sides: T × T")
        alt = (
            f"Shapes in attention, one text of {T} tokens: x is {T} by {C}; q, k and v are {T} by {D}; "
            f"the weights {T} by {S}, the only table with tokens on both sides; the mix {T} by {D}, the result {T} by {out}."
        )
        return show(figure, alt)


def draw_norm(norm: Callable[[Tensor], Tensor], x: Sequence[float], factor: float = 10.0) -> Picture:
    """The numbers of x and of factor · x as bars, before the norm and after it, with the root mean square of each."""
    short = torch.tensor(x, dtype=torch.float32)
    vectors = {"x": (short, theme.BLUE), f"{factor:g} x": (factor * short, theme.ORANGE)}
    with theme.figure(1, 2, size=(7.2, 2.6)) as (figure, (left, right)):
        for n, (name, (vector, colour)) in enumerate(vectors.items()):
            for axes, values in ((left, vector), (right, norm(vector).detach())):
                places = [place + 0.4 * n - 0.2 for place in range(len(x))]
                axes.bar(places, values.tolist(), width=0.36, color=colour)
                axes.axhline(0, color=theme.GREY, lw=0.8)
                for place, value in zip(places, values.tolist()):
                    axes.text(place, max(value, 0), f"{value:.3g}", ha="center", va="bottom", color=colour)
            size = _root_mean_square(vector)
            words = f"{name}: root mean\nsquare {size:.3g}"
            left.text(0.98, 0.82 - 0.26 * n, words, va="center", color=colour, ha="right", transform=left.transAxes)
        before, after = (
            [f"{_root_mean_square(f(vector)):.3g}" for vector, _ in vectors.values()] for f in (Tensor.clone, norm)
        )
        same = after[0] == after[1]
        words = f"both: root mean\nsquare {after[1]}" if same else f"root mean squares\n{after[0]} and {after[1]}"
        right.text(0.98, 0.82, words, ha="right", va="center", transform=right.transAxes)
        for axes, title in ((left, "before"), (right, "after the norm")):
            axes.set(title=title, xlabel="place in the vector", xticks=range(len(x)))
            axes.margins(y=0.18)
        kept = f"both are the same bars, of root mean square {after[1]}" if same else f"{after[0]} and {after[1]}"
        alt = (
            f"Bars of x and of {factor:g} times x. Their root mean squares: before the norm {before[0]} "
            f"and {before[1]}; after it {kept}."
        )
        return show(figure, alt)


def draw_gate(gates: Sequence[float] = (2.0, -3.0), up: float = 3.0) -> Picture:
    """Left, silu beside ReLU and silu of each gate; right, what the gate makes of `up`: a line of that slope."""
    z, places = torch.linspace(-5, 4, 181), torch.tensor([-4.0, 4.0])
    opened = F.silu(torch.tensor(gates)).tolist()
    with theme.figure(1, 2, size=(7.2, 2.9)) as (figure, (left, right)):
        left.plot(z, F.relu(z), ":", color=theme.GREY)
        left.plot(z, F.silu(z), color=theme.INK)
        left.text(2.2, 3.1, "ReLU (dotted)", ha="right", color=theme.GREY)
        left.text(-4.9, -0.75, "silu", color=theme.INK)
        left.set(xlabel="gate, a number of w1 x", ylabel="curve(gate)", ylim=(-1, 4.2), title="The curve")
        right.set(xlabel="up, a number of w3 x", ylabel="silu(gate) · up", title="silu(gate) is the slope")
        for gate, slope, colour in zip(gates, opened, (theme.BLUE, theme.ORANGE)):
            left.plot(gate, slope, "o", color=colour)
            left.annotate(
                f"silu({gate:g}) = {slope:.2f}".replace("-", "−"),
                (gate, slope), (-4, 10) if gate > 0 else (0, 9), ha="right" if gate > 0 else "center",
                textcoords="offset points", color=colour,
            )  # fmt: skip
            right.plot(places, slope * places, color=colour)
            right.plot(up, slope * up, "o", color=colour)
            words = f"gate {gate:g}, up {up:g}: {slope * up:.2f}".replace("-", "−")
            right.annotate(
                words, (up, slope * up), (-8, 3) if gate > 0 else (8, -16), ha="right",
                textcoords="offset points", color=colour,
            )  # fmt: skip
        right.set(xlim=(-4, 4), ylim=(-7.5, 7.5))
        found = "; ".join(
            f"silu({gate:g}) is {slope:.2f}, so up {up:g} becomes {slope * up:.2f}"
            for gate, slope in zip(gates, opened)
        )
        return show(
            figure, f"Left: silu, a soft ReLU. Right: silu of the gate is the slope of a line through 0. {found}."
        )


def draw_weights(block: nn.Module) -> Picture:
    """The matrices of a library's block with a dense feed-forward part, areas to scale, the longer side lying."""
    shapes = {name.split(".")[-2]: tuple(p.shape) for name, p in block.named_parameters() if p.dim() == 2}
    attention, feed_forward = ("wq", "wo", "wk", "wv"), ("w1", "w3", "w2")
    sizes = {name: (max(shapes[name]), min(shapes[name])) for name in (*attention, *feed_forward)}
    gap = 0.06 * max(max(size) for size in sizes.values())
    total = sum(p.numel() for p in block.parameters())
    with theme.figure(size=(6.6, 2.9)) as (figure, axes):
        start, shares = 0.0, []
        for names, title, colour in (
            (attention, "attention", theme.SKY),
            (feed_forward, "feed-forward", theme.AMBER),
        ):
            top, widest = 0.0, max(sizes[name][0] for name in names)
            for name in names:
                width, height = sizes[name]
                axes.add_patch(_rectangle(start, top - height, width, height, colour))
                words = f"{name}  {shapes[name][0]:,} × {shapes[name][1]:,}"
                axes.text(start + width + 0.2 * gap, top - height / 2, words, va="center", fontsize=10)
                top -= height + 0.35 * gap
            shares.append(sum(sizes[name][0] * sizes[name][1] for name in names) / total)
            axes.text(start, 0.4 * gap, f"{title}: {100 * shares[-1]:.0f} %")
            start += widest + 10.5 * gap
        axes.set(xlim=(-0.2 * gap, start), aspect="equal")
        axes.autoscale_view(scalex=False)
        axes.set_axis_off()
        alt = (
            f"The weight matrices of one block, areas to scale: attention has {100 * shares[0]:.1f} % of {total:,} weights, "
            f"the feed-forward part {100 * shares[1]:.1f} %. The norms are too thin to draw."
        )
        return show(figure, alt)


def draw_pairs(pairs: dict[str, Sequence[float]], found: dict[str, Difference], unit: str) -> Picture:
    """Each difference as a dot, a row a comparison, with their mean and where the true one lies 19 times in 20."""
    with theme.figure(size=(7.2, 2.5)) as (figure, axes):
        axes.axvline(0, color=theme.GREY, lw=0.8)
        for row, (name, differences) in enumerate(pairs.items()):
            mean, error = found[name].mean, found[name].standard_error
            reach = student_quantile(0.975, found[name].n - 1)
            axes.plot(differences, [-row] * len(differences), "o", color=theme.SKY, ms=5)
            axes.errorbar(mean, -row - 0.25, xerr=reach * error, fmt="D", color=theme.BLUE, ms=4)
        axes.set_title("Dots: a pair each. Bars: the mean, and where the true one is likely (95 %)", fontsize=10)
        axes.set_yticks([-row for row in range(len(pairs))], list(pairs))
        axes.set(ylim=(0.5 - len(pairs), 0.4), xlabel=unit)
        means = "; ".join(f"{name}: {found[name].mean:+.3f}" for name in pairs)
        return show(figure, f"Differences by pairs of seeds, with means and 95 % intervals. {means} {unit}.")


def _root_mean_square(vector: Tensor) -> float:
    return float(vector.detach().pow(2).mean().sqrt())


def _rectangle(left: float, bottom: float, width: float, height: float, colour: str):
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    return Rectangle((left, bottom), width, height, facecolor=to_rgba(colour, 0.18), edgecolor=colour, lw=1.5)


def _arrow(axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", end, start, arrowprops=dict(arrowstyle="->", color=theme.GREY, lw=1.2))
