"""Chapter 01's explaining pictures: pieces growing merge by merge, a table of guesses, and how wrong they are."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from minimistral.lab import theme
from minimistral.lab.picture import Picture, show


def draw_merges(steps: dict[str, Sequence[str]]) -> Picture:
    """steps: a label to the pieces of one text, in order; a piece is a box as wide as its characters, the longer darker."""
    longest = max(sum(map(len, pieces)) for pieces in steps.values())
    with theme.figure(size=(7.2, 0.42 * len(steps) + 0.2)) as (figure, axes):
        for row, (label, pieces) in enumerate(steps.items()):
            left = 0
            for piece in pieces:
                grown = len(piece) > 1
                axes.barh(
                    -row, len(piece) - 0.14, left=left + 0.07, height=0.72,
                    color=theme.SKY if grown else theme.LIGHT, alpha=0.75 if grown else 1,
                )  # fmt: skip
                for place, character in enumerate(piece):
                    axes.text(left + place + 0.5, -row, character, ha="center", va="center")
                left += len(piece)
            axes.text(-0.5, -row, label, ha="right", va="center")
            axes.text(longest + 0.6, -row, f"{len(pieces)}", va="center")
        axes.text(longest + 0.2, 0.75, "tokens", va="center", fontsize=9)
        axes.set(xlim=(-5.5, longest + 3), ylim=(0.5 - len(steps), 1.1))
        axes.set_axis_off()
        counts = [str(len(pieces)) for pieces in steps.values()]
        (first, last) = (" ".join(pieces) for pieces in (list(steps.values())[0], list(steps.values())[-1]))
        alt = f"A text in boxes, a row after each merge: {', '.join(counts)} tokens. First: {first}. Last: {last}."
        return show(figure, alt)


def draw_guesses(table: Tensor, ids: Sequence[int], names: str) -> Picture:
    """table (V, V) of logits; its rows for the tokens `ids`, and their softmax, what came next framed."""
    seen, came = list(ids), list(ids[1:])  # after the last token nothing has come yet
    logits, p = table[seen], table[seen].softmax(1)
    rows = [names[i] for i in seen]
    panels = (
        ("the table", table, list(names), "{:.0f}", []),
        ("a row for each token", logits, rows, "{:.0f}", []),
        ("softmax", p, rows, "{:.2f}", came),
    )
    with theme.figure(1, 3, size=(7.2, 3.1)) as (figure, axess):
        for axes, (title, numbers, labels, form, framed) in zip(axess, panels):
            shade = numbers if framed else numbers / max(1.0, 2 * float(numbers.max()))
            axes.imshow(shade.numpy(), cmap="Blues", vmin=0, vmax=1.4, aspect="auto")
            for row, values in enumerate(numbers.tolist()):
                for column, value in enumerate(values):
                    axes.text(column, row, form.format(value), ha="center", va="center")
            for row, column in enumerate(framed):
                axes.add_patch(_frame(column, row))
            axes.set_xticks(range(len(names)), list(names))
            axes.set_yticks(range(len(labels)), labels)
            axes.set(title=title, xlabel="next piece")
        axess[0].set_ylabel("piece")
        axess[1].set_ylabel("token of the text")
        found = ", ".join(f"{p[row, column]:.2f}" for row, column in enumerate(came))
        came_names = " ".join(names[i] for i in came)
        alt = f"A table of logits, its row for each token {' '.join(rows)}, and softmax: what came next, {came_names}, had {found}."
        return show(figure, alt)


def draw_surprise(p_came: Tensor, labels: Sequence[str]) -> Picture:
    """Left, −ln p with each place's probability on it; right, the loss of each place in nats and bits, and their mean."""
    losses = (-p_came.detach().log()).tolist()
    mean = sum(losses) / len(losses)
    p = torch.linspace(0.03, 1, 200)
    high = 1.25 * max(losses)
    with theme.figure(1, 2, size=(7.2, 2.9)) as (figure, (left, right)):
        left.plot(p, -p.log(), color=theme.INK)
        for value, loss in dict(zip([round(x, 3) for x in p_came.tolist()], losses)).items():
            left.plot(value, loss, "o", color=theme.ORANGE)
            left.text(value + 0.03, loss + 0.03, f"{value:.3g}: {loss:.2f}", color=theme.ORANGE)
        left.set(xlabel="probability of what came", ylabel="loss, −ln p (nats)", title="Unlikely costs more")
        left.set(xlim=(0, 1.02), ylim=(0, 3.5))
        right.bar(range(len(losses)), losses, width=0.7, color=theme.ORANGE)
        for place, loss in enumerate(losses):
            right.text(place, loss, f"{loss:.2f}", ha="center", va="bottom")
        right.axhline(mean, color=theme.BLUE)
        right.text(len(losses) + 0.65, mean, f"mean {mean:.2f} ", color=theme.BLUE, ha="right", va="bottom")
        right.set_xticks(range(len(losses)), labels)
        right.set(xlim=(-0.6, len(losses) + 0.7), ylim=(0, high), title="The mean is the cross-entropy", ylabel="nats")
        bits = right.secondary_yaxis("right", functions=(lambda x: x / math.log(2), lambda x: x * math.log(2)))
        bits.set_ylabel("bits")
        found = "; ".join(f"{label} {loss:.2f}" for label, loss in zip(labels, losses))
        return show(
            figure, f"Minus ln p falls to 0 at p = 1. Loss at each place, in nats: {found}. Their mean: {mean:.2f}."
        )


def draw_row(counted: Tensor, learnt: Tensor, pieces: Sequence[str], name: str, most: int = 8) -> Picture:
    """What follows the piece `name`: counted and learnt shares (V,) of the `most` frequent, from equal shares on."""
    shares, top = counted.topk(most)
    found, start = learnt.detach()[top], 1 / len(counted)
    with theme.figure(size=(7.2, 2.7)) as (figure, axes):
        axes.bar(range(most), (100 * shares).tolist(), width=0.7, color=theme.THEORY)
        for place, share in enumerate((100 * found).tolist()):
            arrow = dict(arrowstyle="->", color=theme.GREY, lw=1.2, shrinkA=0, shrinkB=4)
            axes.annotate("", (place, share), (place, 100 * start), arrowprops=arrow)
            axes.plot(place, 100 * start, "o", mfc=theme.PAPER, color=theme.GREY, ms=5)
            axes.plot(place, share, "o", color=theme.TRAINED, ms=6)
        for n, (words, colour) in enumerate(
            (
                ("bars: counted", theme.BLUE),
                ("filled dots: learnt", theme.TRAINED),
                (f"empty dots: the\nstart, 1/{len(counted)} each", theme.GREY),
            )
        ):
            axes.text(0.99, 0.9 - 0.17 * n, words, color=colour, ha="right", va="top", transform=axes.transAxes)
        axes.set_xticks(range(most), [pieces[i] for i in top.tolist()])
        axes.set(
            xlabel=f"piece after {name}", ylabel="share (%)", title="Learning moves each share to where it is counted"
        )
        axes.set(xlim=(-0.6, 1.42 * most), ylim=(0, 110 * max(float(shares.max()), float(found.max()))))
        gap = float((shares - found).abs().max())
        alt = (
            f"Shares of the {most} pieces most frequent after {name}. All start at {100 * start:.1f} %; {pieces[int(top[0])]}, "
            f"the first, is counted {100 * shares[0]:.1f} % and learnt {100 * found[0]:.1f} %. "
            f"Learnt and counted differ by at most {100 * gap:.1f} points."
        )
        return show(figure, alt)


def _frame(column: int, row: int):
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.46, row - 0.44), 0.92, 0.88, fill=False, edgecolor=theme.ORANGE, lw=2.2)
