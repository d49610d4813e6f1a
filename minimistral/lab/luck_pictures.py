"""Chapter 09's drawings: what a label tells about the expert, and what two ways to shuffle choices leave in place."""

from collections.abc import Sequence

import torch
from torch import Tensor

from minimistral.lab import theme
from minimistral.lab.counted import counted
from minimistral.lab.picture import Picture, show
from minimistral.lab.router_pictures import _square
from minimistral.lab.routing import information

MOST_TOKENS = 16  # more would not be readable side by side


def bits_told(experts: Sequence[str], labels: Sequence[str]) -> float:
    """Mutual information in bits of two rows of N names.

    >>> bits_told("ABAB", "abab"), bits_told("ABAB", "aabb")
    (1.0, 0.0)
    """
    return information(*(torch.tensor([sorted(set(row)).index(one) for one in row]) for row in (experts, labels)))


def draw_told_apart(tokens: Sequence[str], experts: Sequence[str], labels: dict[str, Sequence[str]]) -> Picture:
    """A text's tokens above their experts; then, for each way to label them, the experts of each label, and the bits told."""
    colours = dict(zip(sorted(set(experts)), theme.EXPERTS))
    with theme.figure(1, 1 + len(labels), size=(6.4, 1.9), width_ratios=[1.3, *[1] * len(labels)]) as (figure, panels):
        for at, (token, expert) in enumerate(zip(tokens, experts)):
            _square(panels[0], at, 1, expert, colours[expert])
            panels[0].text(at, 0, token, ha="center", va="center", fontsize=11)
        panels[0].text(-0.7, 1, "expert", ha="right", va="center")
        panels[0].text(-0.7, 0, "token", ha="right", va="center")
        panels[0].set(xlim=(-2.1, len(tokens) - 0.4), title="the text")
        said = []
        for axes, (name, row) in zip(panels[1:], labels.items()):
            told = round(bits_told(experts, row), 2)
            for at, label in enumerate(dict.fromkeys(row)):
                inside = [expert for expert, one in zip(experts, row) if one == label]
                axes.text(-0.7, at, label, ha="right", va="center")
                for place, expert in enumerate(inside):
                    _square(axes, place, at, expert, colours[expert])
                said.append(f"told {name} “{label}”, it is {' or '.join(sorted(set(inside)))}")
            bits = f"{told:g} {'bit' if told == 1 else 'bits'}"
            said[-1] += f": {bits}"
            axes.set(xlim=(-2.6, max(map(list(row).count, row)) - 0.4))
            axes.set_title(f"told {name}: {bits}")
        for axes in panels:
            axes.set(ylim=(1.6, -0.6))
            axes.set_axis_off()
        return show(figure, f"Tokens {' '.join(tokens)}, experts {' '.join(experts)}. {'; '.join(said)}.")


def draw_shuffles(pieces: Sequence[str], rows: dict[str, Tensor]) -> Picture:
    """The first experts (T,) of a text's tokens in each of `rows`, equal neighbours joined, and how many there are.

    Raises ValueError for more than 16 tokens, and where a row has not one expert for each piece.
    """
    if len(pieces) > MOST_TOKENS or any(len(row) != len(pieces) for row in rows.values()):
        raise ValueError(
            f"{counted(len(pieces), 'piece')}, rows of {[len(row) for row in rows.values()]} experts: give up to "
            f"{MOST_TOKENS} pieces, and an expert for each in every row."
        )
    with theme.figure(size=(7.2, 0.55 * len(rows) + 1.0)) as (figure, axes):
        said, last = [], len(pieces) - 1
        for at, (name, row) in enumerate(rows.items()):
            experts = row.tolist()
            for place, expert in enumerate(experts):
                _square(axes, place, at, str(expert), theme.EXPERTS[expert])
            pairs = [place for place in range(last) if experts[place] == experts[place + 1]]
            axes.plot(
                [[p + 0.2 for p in pairs], [p + 0.8 for p in pairs]],
                [[at + 0.5] * len(pairs)] * 2,
                color=theme.INK,
                lw=2,
            )
            axes.text(-0.8, at, name, ha="right", va="center")
            axes.text(last + 0.8, at, f"{len(pairs)} of {last} agree", va="center")
            said.append(f"{name}: {' '.join(map(str, experts))}, {len(pairs)} of {last} neighbours agree")
        for place, piece in enumerate(pieces):
            axes.text(place, -0.62, piece.replace("$", r"\$"), ha="center", va="bottom", fontsize=9, rotation=40)
        axes.set(xlim=(-5.2, last + 4.6), ylim=(len(rows) - 0.3, -1.7))
        axes.set_axis_off()
        return show(figure, f"First experts of {counted(len(pieces), 'token')}. {'; '.join(said)}.")
