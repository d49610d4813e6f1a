"""Chapter 10's drawings: which row scores which token, windows over a text, and two models' answers to the same questions."""

from collections.abc import Sequence

from minimistral.lab import theme
from minimistral.lab.picture import Picture, show
from minimistral.statistics import Paired


def draw_rows(given: Sequence[str], scored: Sequence[str], log_p: Sequence[float]) -> Picture:
    """The last pieces of a prompt, the pieces of a choice, and log p of each of these, said by the row before it.

    Raises ValueError unless there are as many log p as scored pieces, and a given piece before them.
    """
    if len(scored) != len(log_p) or not given or not scored:
        raise ValueError(
            f"{len(given)} given, {len(scored)} scored pieces, {len(log_p)} log p: give one for each scored."
        )
    pieces, first = [*given, *scored], len(given)
    widths = [max(0.75, 0.17 * len(piece) + 0.3) for piece in pieces]
    lefts = [sum(widths[:i]) + 0.12 * i for i in range(len(pieces))]
    middles = [left + width / 2 for left, width in zip(lefts, widths)]
    with theme.figure(size=(7.2, 1.75)) as (figure, axes):
        for i, (piece, left, width) in enumerate(zip(pieces, lefts, widths)):
            is_scored = i >= first
            colour = theme.ORANGE if is_scored else theme.LIGHT
            axes.barh(0, width, left=left, height=0.6, color=colour, edgecolor=theme.GREY, lw=0.6)
            ink = theme.PAPER if is_scored else theme.INK
            axes.text(middles[i], -0.02, piece, ha="center", va="center", color=ink, fontsize=10)
        for i, value in enumerate(log_p, start=first):
            axes.annotate(
                "", (middles[i], 0.34), (middles[i - 1], 0.34),
                arrowprops=dict(arrowstyle="->", color=theme.INK, lw=1.2, connectionstyle="arc3,rad=-0.5"),
            )  # fmt: skip
            axes.text(middles[i], -0.62, f"{value:.1f}".replace("-", "−"), ha="center", va="center", fontsize=10)
        total = f"{sum(log_p):.1f}".replace("-", "−")
        axes.text(lefts[0], -0.62, "log p (nats)", va="center", fontsize=9, color=theme.GREY)
        axes.text(lefts[0], 0.75, "prompt …", va="center", fontsize=9, color=theme.GREY)
        axes.text(lefts[-1] + widths[-1] + 0.15, -0.62, f"sum {total}", va="center", fontsize=10, weight="bold")
        axes.set(xlim=(-0.1, lefts[-1] + widths[-1] + 1.5), ylim=(-0.95, 1.1))
        axes.set_axis_off()
        axes.set_title("Each row scores the next token: the prompt's last one the first of the choice")
        told = ", ".join(f"“{piece}” {value:.1f}" for piece, value in zip(scored, log_p))
        alt = f"After the prompt's last piece “{given[-1]}” come {told}: sum {sum(log_p):.1f}. "
        return show(figure, alt + "An arrow leads to each from the piece before it, whose row scores it.")


def counted(n_tokens: int, window: int, stride: int) -> list[tuple[int, int, int]]:
    """(begin, first counted, end) of each window of `evaluate.windowed_perplexity`, over the n_tokens that it guesses.

    A window guesses its tokens begin to end − 1, and counts those that no window before it has counted.
    """
    found, done = [], 0
    while done < n_tokens:
        end = min(n_tokens, done + (stride if done else window))
        found.append((max(0, end - window), done, end))
        done = end
    return found


def draw_windows(n_tokens: int, settings: Sequence[tuple[int, int]]) -> Picture:
    """Windows over a text, a panel for each (window, stride): tokens that are counted, and those that are only read."""
    told = []
    plans = [counted(n_tokens, *setting) for setting in settings]
    with theme.figure(
        len(settings), 1, size=(7.2, 0.55 * len(settings) + 0.17 * sum(map(len, plans))), squeeze=False,
        gridspec_kw=dict(height_ratios=[len(plan) + 1 for plan in plans]), sharex=True,
    ) as (figure, panels):  # fmt: skip
        for axes, plan, (window, stride) in zip(panels[:, 0], plans, settings):
            for row, (begin, new, end) in enumerate(plan):
                axes.barh(-row, new - begin, left=begin, height=0.7, color=theme.LIGHT, edgecolor=theme.GREY, lw=0.6)
                axes.barh(-row, end - new, left=new, height=0.7, color=theme.BLUE)
            sees = min([new - begin + 1 for begin, new, _ in plan[1:]], default=1)
            axes.set(xlim=(0, n_tokens), ylim=(0.6 - len(plan), 0.6), yticks=[])
            axes.spines["left"].set_visible(False)
            what = f"window {window}, stride {stride}: the first counted guess of a window sees {sees} token{'s' * (sees > 1)}"
            axes.set_title(what, fontsize=10)
            told.append(f"{what}, {len(plan)} windows")
        panels[-1, 0].set_xlabel("token of the text (blue: counted; pale: read once more, not counted)")
        return show(figure, f"Windows over {n_tokens} tokens. " + "; ".join(told) + ".")


def draw_pairs(both: int, neither: int, found: Paired, names: tuple[str, str]) -> Picture:
    """Above, all questions: both models right, both wrong, only one right. Below, only the last, and the fair coin's half."""
    n = both + neither + found.only_a + found.only_b
    differ = found.only_a + found.only_b
    if not differ:
        raise ValueError("the models agree on every question: there is no split to draw.")
    with theme.figure(2, 1, size=(7.2, 2.5)) as (figure, (above, below)):
        left = 0
        parts = (("both right", both, theme.LIGHT), ("", found.only_a, theme.ORANGE), ("", found.only_b, theme.BLUE))
        for name, width, colour in (*parts, ("both wrong", neither, theme.LIGHT)):
            above.barh(0, width, left=left, height=0.7, color=colour, edgecolor=theme.GREY, lw=0.6)
            if name:
                above.text(left + width / 2, 0, f"{name}: {width:,}", ha="center", va="center")
            left += width
        above.set(xlim=(0, n), ylim=(-0.5, 0.5))
        above.set_title(
            f"{n:,} questions: on {n - differ:,} the two agree, which is no news of a difference", fontsize=10
        )
        for left, width, colour, name in (
            (0, found.only_a, theme.ORANGE, names[0]),
            (found.only_a, found.only_b, theme.BLUE, names[1]),
        ):
            below.barh(0, width, left=left, height=0.7, color=colour, edgecolor=theme.PAPER)
            below.text(left + width / 2, 0, f"only {name}: {width}", ha="center", va="center", color=theme.PAPER)
        below.plot([differ / 2] * 2, [-0.48, 0.48], color=theme.INK, lw=1.5, ls="--")
        below.text(differ / 2, -0.56, "half: a fair coin", ha="center", va="top", fontsize=9)
        below.set(xlim=(0, differ), ylim=(-0.85, 0.5))
        below.set_title(f"The {differ} others, larger", fontsize=10)
        for axes in (above, below):
            axes.set_axis_off()
        alt = f"Of {n:,} questions both are right in {both:,} and both wrong in {neither:,}. Of the {differ} others "
        return show(figure, alt + f"only {names[0]} is right in {found.only_a}, only {names[1]} in {found.only_b}.")
