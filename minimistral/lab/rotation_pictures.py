"""Chapter 03's explaining pictures: one pair turned, a clock of pairs, scores by distance, two ways to pair."""

from collections.abc import Sequence

import torch
from torch import Tensor

from minimistral.lab import theme
from minimistral.lab.picture import Picture, show
from minimistral.rope import rotate_pairs


def draw_turn(pair: tuple[float, float] = (2.0, 1.0), angle: float = 0.5) -> Picture:
    """Left, the hands (1, 0) and (0, 1) turned by `angle` (radians); right, `pair` as so much of each turned hand."""
    a, b = pair = tuple(map(float, pair))
    cos, sin = torch.tensor([angle]).cos(), torch.tensor([angle]).sin()
    one, other, tip = (rotate_pairs(torch.tensor(hand), cos, sin).tolist() for hand in ((1.0, 0.0), (0.0, 1.0), pair))
    reach = (a * a + b * b) ** 0.5
    with theme.figure(1, 2, size=(7.2, 3.1)) as (figure, (left, right)):
        left.plot(*_circle(1.0), color=theme.LIGHT, lw=1)
        for hand, turned, name, colour in (
            ((1, 0), one, f"(cos a, sin a)\n= {_pair(one)}", theme.BLUE),
            ((0, 1), other, f"(−sin a, cos a)\n= {_pair(other)}", theme.PINK),
        ):
            _hand(left, (0, 0), hand, theme.GREY, 1.2)
            _hand(left, (0, 0), turned, colour)
            side = "left" if hand[0] else "center"
            left.text(1.1 * turned[0], 1.07 * turned[1], name, color=colour, ha=side, va="bottom")
        arc = torch.linspace(0, angle, 20)
        left.plot(0.45 * arc.cos(), 0.45 * arc.sin(), color=theme.INK, lw=1)
        left.text(0.5, 0.09, "a", color=theme.INK)
        left.set(xlim=(-1.1, 1.81), ylim=(-0.25, 1.85), title=f"two hands, turned by a = {angle:g}")
        right.plot(*_circle(reach), color=theme.LIGHT, lw=1)
        corner = (a * one[0], a * one[1])
        _hand(right, (0, 0), pair, theme.GREY, 1.2)
        _hand(right, (0, 0), corner, theme.BLUE)
        _hand(right, corner, tip, theme.PINK)
        _hand(right, (0, 0), tip, theme.INK)
        right.text(1.05 * a, b, f"({a:g}, {b:g})", color=theme.GREY, va="center")
        right.text(corner[0] + 0.12, corner[1] - 0.1, f"{a:g} × (cos a, sin a)", color=theme.BLUE, va="top")
        right.text(
            (corner[0] + tip[0]) / 2 + 0.12, (corner[1] + tip[1]) / 2, f"{b:g} × (−sin a, cos a)", color=theme.PINK
        )
        right.text(tip[0] - 0.1, tip[1] + 0.1, _pair(tip), ha="right", va="bottom")
        right.set(xlim=(-0.3, 1.83 * reach), ylim=(-0.2, 1.2 * reach), title=f"the pair ({a:g}, {b:g}), made of them")
        for axes in (left, right):
            axes.set_aspect("equal")
            axes.set_axis_off()
        alt = (
            f"Turned by {angle:g} radians, (1, 0) comes to {_pair(one)} and (0, 1) to {_pair(other)}. The pair "
            f"({a:g}, {b:g}) is {a:g} times the first and {b:g} times the second, and comes to {_pair(tip)}."
        )
        return show(figure, alt)


def draw_clock(angles: Tensor) -> Picture:
    """angles (T, pairs), radians: a row of dials a pair, a column a position; hands start to the right, anticlockwise."""
    n_positions, n_pairs = angles.shape
    with theme.figure(n_pairs, n_positions, size=(7.2, 1.05 * n_pairs + 0.3), squeeze=False) as (figure, panels):
        for m, column in enumerate(angles.double().tolist()):
            for i, angle in enumerate(column):
                axes, passed = panels[i][m], torch.linspace(0, angle, 90)
                axes.plot(*_circle(1.0), color=theme.LIGHT, lw=1)
                axes.plot(passed.cos(), passed.sin(), color=theme.SKY, lw=2.5)
                _hand(axes, (0, 0), (float(passed[-1].cos()), float(passed[-1].sin())), theme.BLUE, 1.8)
                axes.set(xlim=(-1.15, 1.15), ylim=(-1.6, 1.15), aspect="equal", xticks=[], yticks=[])
                axes.text(0, -1.2, f"{angle:.1f}", ha="center", va="top")
                axes.spines[:].set_visible(False)
                if i == 0:
                    axes.set_title(f"m = {m}", loc="center", fontsize=10)
                if m == 0:
                    axes.set_ylabel(f"pair {i}", fontsize=10)
        last = "; ".join(f"pair {i} by {angle:.1f}" for i, angle in enumerate(angles[-1].tolist()))
        return show(
            figure, f"Dials of {n_pairs} pairs, in radians. At position {n_positions - 1} they have turned: {last}."
        )


def draw_score_tables(tables: dict[str, Tensor], starts: Sequence[int]) -> Picture:
    """tables: title to scores (T, S) of queries and keys at positions from each of `starts` on, with one colour scale."""
    largest = max(float(table.abs().max()) for table in tables.values())
    with theme.figure(1, len(tables), size=(7.2, 3.3)) as (figure, panels):
        for axes, start, (title, table) in zip(panels, starts, tables.items()):
            axes.imshow(table.numpy(), cmap="RdBu", vmin=-1.6 * largest, vmax=1.6 * largest)
            for m, row in enumerate(table.tolist()):
                for n, score in enumerate(row):
                    axes.text(n, m, f"{score:.0f}".replace("-", "−"), ha="center", va="center")
            axes.set_xticks(range(table.shape[1]), [f"+{n}" for n in range(table.shape[1])])
            axes.set_yticks(range(table.shape[0]), [f"+{m}" for m in range(table.shape[0])])
            axes.set(title=title, xlabel=f"key's position, from {start:,}")
            axes.set_ylabel(f"query's position, from {start:,}")
        apart = max(float((table - next(iter(tables.values()))).abs().max()) for table in tables.values())
        same = "the same table" if apart < 1e-6 else f"tables up to {apart:.2g} apart"
        uneven = max(float((table[1:, 1:] - table[:-1, :-1]).abs().max()) for table in tables.values())
        along = f"{'equal' if uneven < 1e-4 else 'not equal'} along each diagonal"
        return show(figure, f"Scores by the positions of query and key: {along}; {same} at each start.")


def draw_same_distance(scores: dict[str, Sequence[float]], distance: int) -> Picture:
    """name to scores of one query and one key, always `distance` apart, by the position of the key."""
    colours = dict(zip(scores, (theme.AMBER, theme.BLUE)))
    with theme.figure(size=(7.2, 2.5)) as (figure, axes):
        for name, values in scores.items():
            axes.plot(values, "o-", color=colours[name], ms=3.5)
            axes.text(len(values) - 0.2, values[-1], name, va="center")
        longest = max(map(len, scores.values()))
        axes.set(xlim=(-0.8, 1.15 * longest), xlabel=f"position of the key; the query stands {distance} further on")
        axes.set(ylabel="score", title="The same two words, the same distance, other places")
        spread = {name: max(values) - min(values) for name, values in scores.items()}
        words = "; ".join(
            f"{name}: {'always the same' if s < 1e-6 else 'from place to place'}" for name, s in spread.items()
        )
        words = words.replace("from place", "changes from place")
        return show(figure, f"Score of one query and key {distance} apart, along the text. {words}.")


def draw_pairings(order: Sequence[int]) -> Picture:
    """Rows of one head, paired as neighbours; below, in the `order` they are moved to, where halves are paired."""
    D = len(order)
    with theme.figure(size=(7.2, 2.4)) as (figure, axes):
        for high, rows in ((1.0, range(D)), (0.0, order)):
            for place, row in enumerate(rows):
                colour = theme.EXPERTS[row // 2 % len(theme.EXPERTS)]
                axes.text(
                    place, high, str(row), ha="center", va="center", fontsize=11,
                    bbox=dict(boxstyle="square,pad=0.55", facecolor=theme.PAPER, edgecolor=colour, lw=2.5),
                )  # fmt: skip
        for place, row in enumerate(order):
            arrow = dict(arrowstyle="->", color=theme.EXPERTS[row // 2 % len(theme.EXPERTS)], lw=1.2)
            axes.annotate("", (place, 0.22), (row, 0.78), arrowprops=arrow)
        axes.text(D - 0.4, 1.0, "as trained: neighbours\nmake a pair", va="center")
        axes.text(D - 0.4, 0.0, f"moved: row i and\nrow i + {D // 2} make a pair", va="center")
        axes.set(xlim=(-0.6, 1.45 * D), ylim=(-0.4, 1.4))
        axes.set_axis_off()
        words = ", ".join(map(str, order))
        return show(
            figure,
            f"The {D} rows of a head, a colour a pair. Moved to the order {words}, pairs stand half a head apart.",
        )


def _pair(values: Sequence[float]) -> str:
    return f"({values[0]:.2f}, {values[1]:.2f})".replace("-", "−")


def _circle(radius: float) -> tuple[Tensor, Tensor]:
    around = torch.linspace(0, 2 * torch.pi, 90)
    return radius * around.cos(), radius * around.sin()


def _hand(axes, start: Sequence[float], end: Sequence[float], colour: str, width: float = 2.2) -> None:
    arrow = dict(arrowstyle="->", color=colour, lw=width, shrinkA=0, shrinkB=0)
    axes.annotate("", tuple(end), tuple(start), arrowprops=arrow)
