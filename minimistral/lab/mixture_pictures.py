"""Chapter 13's pictures: what a batch reads, neighbours beside their load, which expert a kind of text misses, what is brought."""

from collections.abc import Sequence

import torch
from torch import Tensor

from minimistral.lab import theme
from minimistral.lab.picture import Picture, show
from minimistral.offload import LRU

PAPER_LAYERS = (0, 15, 31)  # of Mixtral's 32, in its paper's Table 5


def draw_batch(
    sizes: Sequence[int], formula: Sequence[float], counted: dict[str, Tensor], timed: Sequence[int], slower: dict
) -> Picture:
    """Left: experts read, `formula` and counted (sizes, L), the last layer of it. Right: times as multiples of one token's."""
    with theme.figure(1, 2, size=(7.2, 3.1)) as (figure, (left, right)):
        left.plot(sizes, formula, color=theme.INK, ls=":")
        left.text(64, 2.2, "dotted: 8 (1 − (3/4)^B)", ha="right")
        for n, (colour, (name, found)) in enumerate(zip((theme.BLUE, theme.ORANGE), counted.items())):
            left.plot(sizes, found[:, -1].tolist(), "o-", color=colour, ms=4)
            left.text(64, 3.8 - 0.8 * n, f"{name}, last layer", color=colour, ha="right")
        left.set_xscale("log", base=2)
        left.set_xticks(sizes, sizes)
        left.set(
            xlabel="tokens in the batch (log scale)", ylabel="experts read, of 8", title="More tokens, more experts"
        )
        for colour, (name, ratios) in zip((theme.BLUE, theme.GREY), slower.items()):
            right.plot(timed, ratios, "o-", color=colour, ms=4)
            right.annotate(name, (timed[-1], ratios[-1]), (-8, 4), ha="right", textcoords="offset points", color=colour)
        right.set(
            xlabel="tokens in the batch", ylabel="time, that of one token = 1", xticks=timed, title="… and more time"
        )
        dearer = ", ".join(f"the {name} {ratios[-1]:.1f} times" for name, ratios in slower.items())
        read = "; ".join(
            f"{sizes[at]} tokens {', '.join(f'{name} {found[at, -1]:.1f}' for name, found in counted.items())}, by the "
            f"formula {formula[at]:.1f}"
            for at in (len(sizes) // 2, len(sizes) - 1)
        )
        alt = (
            f"Experts of the last layer that a batch reads, of 8: {read}. Time for {timed[-1]} tokens in place of "
            f"{timed[0]}: {dearer} as long."
        )
        return show(figure, alt)


def draw_neighbours(
    found: dict[str, tuple[Tensor, Tensor]], paper: dict[str, list[list[float]]], numbers: Sequence[int] | None = None
) -> Picture:
    """Neighbours that agree, in percent, by layer and kind of text: seen and null (layers, kinds), and the paper's points.

    numbers: None for a model's first, middle and last layer, beside which stand the paper's; where only some of Mixtral's
    layers are there, their numbers: each stands beside the paper's figures for this very layer, if it has any.
    """
    with theme.figure(1, 2, size=(7.2, 3.5)) as (figure, panels):
        said = []
        for axes, (name, (seen, null)) in zip(panels, found.items()):
            layers, beside = ("first layer", "middle", "last layer"), dict(enumerate(paper[name]))
            if len(seen) < 3:
                layers, beside = ("first layer", "last layer"), {0: paper[name][0]}
            if numbers is not None:
                layers = [f"layer {number}" for number in numbers]
                known = dict(zip(PAPER_LAYERS, paper[name]))
                beside = {at: known[number] for at, number in enumerate(numbers) if number in known}
            axes.axhline(12.5 if name == "first" else 46.4, color=theme.INK, ls=":", lw=1)
            for at, (high, low) in enumerate(zip(seen.tolist(), null.tolist())):
                places = [at - 0.3 + 0.1 * kind for kind in range(len(high))]
                axes.vlines(places, low, high, color=theme.LIGHT)
                axes.plot(places, low, "o", mfc=theme.PAPER, color=theme.GREY, ms=5)
                axes.plot(places, high, "o", color=theme.BLUE, ms=5)
            for at, points in beside.items():
                axes.plot([at + 0.3] * len(points), points, "D", color=theme.PINK, ms=3)
            axes.set_xticks(range(len(seen)), layers[: len(seen)])
            axes.set_ylabel("neighbours that agree (%)")
            title = "same first expert" if name == "first" else "one of two in common"
            axes.set_title(title)
            said.append(f"{title}: {_by_layer(layers, seen, null, beside)}")
        labels = {
            "here": theme.BLUE,
            "the load alone": theme.GREY,
            "the paper": theme.PINK,
            "dotted: even load": theme.INK,
        }
        for n, (word, colour) in enumerate(labels.items()):
            panels[0].text(0.03, 0.93 - 0.08 * n, word, color=colour, transform=panels[0].transAxes)
        return show(figure, f"Neighbours that agree, in percent, five kinds of text: {' '.join(said)}")


def _by_layer(layers: Sequence[str], seen: Tensor, null: Tensor, paper: dict[int, list[float]]) -> str:
    """first layer 12 to 18, 14 to 18 from the load alone, 14 to 15 in the paper; last layer …"""

    def span(values: Sequence[float]) -> str:
        return f"{min(values):.0f} to {max(values):.0f}"

    said = []
    for at, (high, low) in enumerate(zip(seen.tolist(), null.tolist())):
        words = f"{layers[at]} {span(high)}, {span(low)} from the load alone"
        said.append(words + (f", {span(paper[at])} in the paper" if at in paper else ""))
    return f"{'; '.join(said)}."


def draw_missed(shares: Tensor, lost: Tensor | None, kinds: Sequence[str]) -> Picture:
    """Two tables (kinds, E): the share of first choices, and the bits a token lost without the expert, if measured."""
    tables = [(100 * shares, "{:.0f}", "first choices (%)")]
    most, favourite = shares.max(1)
    busiest = ", ".join(
        f"{kind} {e} ({100 * share:.0f} %)" for kind, e, share in zip(kinds, favourite.tolist(), most.tolist())
    )
    alt = f"The expert of the last layer that gets most first choices, by kind of text: {busiest}."
    if lost is not None:
        tables.append((lost, "{:.2f}", "bits a token lost without it"))
        cost, dearest = lost.max(1)
        worst = ", ".join(f"{kind} {e} ({bits:.2f})" for kind, e, bits in zip(kinds, dearest.tolist(), cost.tolist()))
        alt += f" The one that is missed most, in bits a token lost without it: {worst}."
    with theme.figure(1, len(tables), size=(3.6 * len(tables), 2.9), sharey=True, squeeze=False) as (figure, [panels]):
        for axes, (table, form, title) in zip(panels, tables):
            largest = float(table.max()) or 1.0
            axes.imshow(table.numpy(), cmap="Blues", vmin=0, vmax=largest, aspect="auto")
            for row, values in enumerate(table.tolist()):
                for e, value in enumerate(values):
                    colour = theme.PAPER if value > 0.6 * largest else theme.INK
                    word = form.format(value).replace("-0.00", "0.00")
                    axes.text(e, row, word, ha="center", va="center", color=colour, fontsize=8)
            axes.set_xticks(range(table.shape[1]), range(table.shape[1]))
            axes.set(xlabel="expert of the last layer", title=title)
        panels[0].set_yticks(range(len(kinds)), kinds)
        return show(figure, alt)


def trace_slots(steps: Sequence[set[tuple[int, int]]], n_layers: int, n_experts: int, capacity: int) -> Tensor:
    """What a store of `capacity` experts does along a text, (L · E, T): 0 not in place, 1 in place, 2 found, 3 brought.

    steps: as `expert_steps` gives them, one set of (layer, expert) a layer, layer after layer. A layer that used an expert
    and lost it again before the step's last layer was through keeps the colour of its use.
    """
    held, columns = LRU(capacity), []
    for start in range(0, len(steps), n_layers):
        used = {key: 2 if held.use(key)[1] else 3 for step in steps[start : start + n_layers] for key in sorted(step)}
        column = torch.zeros(n_layers, n_experts, dtype=torch.uint8)
        for layer, expert in held.keys:
            column[layer, expert] = 1
        for (layer, expert), state in used.items():
            column[layer, expert] = state
        columns.append(column.flatten())
    return torch.stack(columns, 1)


def draw_slots(steps: Sequence[set[tuple[int, int]]], n_layers: int, n_experts: int, capacity: int) -> Picture:
    """The same as a picture: a row for each expert of each layer, a column for the prompt and for each token after it."""
    from matplotlib.colors import ListedColormap

    states = trace_slots(steps, n_layers, n_experts, capacity)
    found, brought = int((states == 2).sum()), int((states == 3).sum())
    with theme.figure(size=(7.2, 3.4)) as (figure, axes):
        colours = ListedColormap([theme.PAPER, theme.LIGHT, theme.BLUE, theme.ORANGE])
        axes.imshow(states.numpy(), cmap=colours, vmin=0, vmax=3, aspect="auto", interpolation="nearest")
        for layer in range(1, n_layers):
            axes.axhline(layer * n_experts - 0.5, color=theme.GREY, lw=0.6)
        middle = [layer * n_experts + (n_experts - 1) / 2 for layer in range(n_layers)]
        axes.set_yticks(middle, [f"layer {layer + 1}" for layer in range(n_layers)])
        axes.tick_params(axis="y", length=0)
        axes.set_xticks([0, *range(10, states.shape[1], 10)], ["prompt", *range(10, states.shape[1], 10)])
        axes.set_xlabel(f"tokens that were written; each layer has rows for its {n_experts} experts")
        words = ((0.0, "brought", theme.ORANGE), (0.16, "found in place", theme.BLUE))
        words += ((0.41, "in place, not used", theme.GREY), (0.73, "white: elsewhere", theme.INK))
        for x, word, colour in words:
            axes.text(x, 1.03, word, color=colour, weight="bold", transform=axes.transAxes)
        axes.set_title(f"{found} times an expert was there, {brought} times it had to come", pad=20)
        alt = (
            f"Which {capacity} of {n_layers * n_experts} experts are in place along a text of {states.shape[1] - 1} tokens after "
            f"its prompt. {found} uses find their expert in place, {brought} have it brought, the prompt's "
            f"{int((states[:, 0] == 3).sum())} among them."
        )
        return show(figure, alt)
