"""Figure 3: Mistral 7B against Llama. The groups of the article, and below them each benchmark with its uncertainty."""

import math

from .article_figure import ArticleFigure
from .look import Look, legend, model_colour, rounded, signed
from .tables import Difference, difference, score, scores

FILE, BY_EYE = "mistral_table2.csv", "mistral_figure4.csv"
MODELS = ("Mistral 7B", "Llama 2 13B", "Llama 2 7B", "Llama 1 34B")  # Llama 1 34B: 32.5 billion, "33B" elsewhere
BENCHMARKS = tuple(dict.fromkeys(found.benchmark for found in scores(FILE)))
GROUPS = {"MMLU": ("MMLU",), "Knowledge": ("NQ", "TriviaQA"), "Math": ("MATH", "GSM8K"), "Code": ("HumanEval", "MBPP")}
FROM_BARS = ("Reasoning", "BBH", "Comprehension")  # groups of which the paper prints no number


def group_value(group: str, model: str) -> tuple[float, bool] | None:
    """The mean of a group and whether its numbers are printed; None: neither a number nor a bar that was read."""
    for found in scores(BY_EYE):
        if (found.benchmark, found.model) == (group, model):
            return found.value, False
    if group not in GROUPS or not any(found.model == model for found in scores(FILE)):
        return None
    values = [score(FILE, benchmark, model).value for benchmark in GROUPS[group]]
    return round(sum(values) / len(values), 2), True


def group_error(group: str, model: str) -> float | None:
    """Standard error of a group's mean, in points; None where a number is read off a bar, or a number of questions unknown."""
    if not group_value(group, model)[1]:
        return None
    errors = [score(FILE, benchmark, model).standard_error for benchmark in GROUPS[group]]
    return None if None in errors else math.hypot(*errors) / len(errors)


def differences() -> list[Difference]:
    """Mistral 7B minus Llama 2 13B, in the order of the paper's table."""
    return [difference(score(FILE, name, MODELS[0]), score(FILE, name, MODELS[1])) for name in BENCHMARKS]


def wins() -> int:
    return sum(found.points > 0 for found in differences())


def clear() -> list[str]:
    """The benchmarks on which Mistral 7B is ahead by more than 1.96 standard errors."""
    return [found.benchmark for found in differences() if found.verdict == "ahead"]


def draw(look: Look):
    with look.figure(2, 1, size=(7.2, 6.2), height_ratios=(1, 1.4)) as (figure, (above, below)):
        _groups(above, look)
        _differences(below, look)
        return figure


def _groups(axes, look: Look) -> None:
    colours = {model: model_colour(look, model) for model in MODELS}
    places, at = {}, 0.0
    for group in (*GROUPS, *FROM_BARS):
        found = [(model, group_value(group, model)) for model in MODELS]
        found = [(model, *value) for model, value in found if value]
        places[group] = at + (len(found) - 1) / 2
        for model, value, printed in found:
            style = (
                dict(color=colours[model])
                if printed
                else dict(facecolor=look.faint, edgecolor=colours[model], hatch="////")
            )
            half = 1.96 * error if (error := group_error(group, model)) else 0
            axes.bar(at, value, width=0.92, **style)
            axes.errorbar(at, value, yerr=half or None, color=look.ink, lw=1, capsize=2)
            axes.text(at, value + half + 1.5, rounded(value), ha="center", fontsize=7)
            at += 1
        at += 0.8
    legend(axes, look, colours, (0.0, 0.16, 0.34, 0.5))
    axes.text(
        1, 1.03, "hatched: read off a bar by eye", transform=axes.transAxes, fontsize=8, ha="right", color=look.grey
    )
    axes.set_xticks(list(places.values()), list(places), fontsize=8.5)
    axes.set(xlim=(-0.9, at), ylim=(0, 85), ylabel="percent")
    axes.tick_params(axis="x", length=0)


def _differences(axes, look: Look) -> None:
    for y, found in enumerate(differences()):
        colour = {"ahead": look.orange, "behind": look.blue}.get(found.verdict, look.grey)
        half = 1.96 * found.standard_error if found.standard_error else 0
        axes.errorbar(found.points, y, xerr=half or None, fmt="o", ms=6, color=colour, capsize=3, lw=1.6,
                      mfc=colour if half else look.paper)  # fmt: skip
        axes.text(found.points + half + 0.6, y, signed(found.points), va="center", fontsize=9, fontweight="bold")
        protocol = score(FILE, found.benchmark, MODELS[0]).protocol
        axes.text(29.6, y, protocol, va="center", ha="right", fontsize=8, color=look.grey)
    axes.axvline(0, color=look.ink, lw=1)
    axes.set_yticks(range(len(BENCHMARKS)), BENCHMARKS)
    axes.set(xlim=(-3.5, 30), ylim=(len(BENCHMARKS) - 0.4, -0.6),
             xlabel="Mistral 7B minus Llama 2 13B, points")  # fmt: skip
    axes.tick_params(axis="y", length=0)
    axes.set_title(f"Ahead on {wins()} of {len(BENCHMARKS)}, on {len(clear())} of them by more than chance allows")
    axes.text(13, 0.9, "whisker: 95 %, unpaired\nhollow: number of questions unknown\n"
              "maj@k: vote of k samples", fontsize=8, color=look.grey, va="center")  # fmt: skip


def caption() -> str:
    nq = next(found for found in differences() if found.benchmark == "NQ")
    close = ", ".join(found.benchmark for found in differences() if found.verdict == "too close to call")
    unknown = " and ".join(found.benchmark for found in differences() if found.verdict == "n unknown")
    return (
        "Figure 3, drawn anew from arXiv 2310.06825, Table 2 (its Figure 4 prints no numbers; bars read by eye are "
        f"hatched, within 0.5). Mistral 7B is ahead of Llama 2 13B on {wins()} of {len(BENCHMARKS)}, behind on NQ by "
        f"{rounded(-nq.points)} with a standard error of {rounded(nq.standard_error, 2)} (unpaired). Too close to "
        f"call: {close}. Number of questions unknown: {unknown}. Mistral's GSM8K is a vote of 8 samples, MATH of 4; "
        "whether Llama's are is not said. Whiskers: 95 % of a binomial. All measured by Mistral AI."
    )


def alt() -> str:
    said = ", ".join(f"{found.benchmark} {signed(found.points)}" for found in differences())
    means = "; ".join(
        f"{group} " + ", ".join(rounded(value[0], 2) for model in MODELS if (value := group_value(group, model)))
        for group in GROUPS
    )
    return (
        f"Above, bars from zero for groups of benchmarks, {MODELS[0]} first, then {', '.join(MODELS[1:])} where "
        f"known: {means}; three more groups are hatched, read by eye. Below, points with 95 % whiskers, Mistral 7B "
        f"minus Llama 2 13B: {said}."
    )


def table() -> list[dict]:
    listed = []
    for found in differences():
        ours, theirs = (score(FILE, found.benchmark, model) for model in MODELS[:2])
        listed.append(_row(
            found.benchmark, ours.value, theirs.value, score(FILE, found.benchmark, MODELS[2]).value, "", signed(found.points),
            found, ours.protocol, f"{ours.n_items:,}" if ours.n_items else "not stated", _verified(found.benchmark),
        ))  # fmt: skip
    for group in (*GROUPS, *FROM_BARS):
        values = [group_value(group, model) for model in MODELS]
        by_eye = ", ".join(model for model, value in zip(MODELS, values) if value and not value[1])
        cells = ["" if value is None else value[0] for value in values]
        verified = f"no: {by_eye}" if by_eye else "yes"
        errors = [group_error(group, model) for model, value in zip(MODELS, values) if value]
        halves = ", ".join(rounded(1.96 * error, 2) for error in errors if error)
        row = _row(f"group {group}", *cells, "", None, "mean of the group", "", verified)
        listed.append(row | {"the bars' 95 % ±": halves})
    return listed


def _verified(benchmark: str) -> str:
    doubtful = [model for model in MODELS[:3] if not score(FILE, benchmark, model).verified]
    return f"no: {', '.join(doubtful)}" if doubtful else "yes"


def _row(name, mistral, llama13, llama7, llama34, points, found, protocol, n, verified) -> dict:
    half = rounded(1.96 * found.standard_error, 2) if found and found.standard_error else ""
    return {
        "benchmark": name, MODELS[0]: mistral, MODELS[1]: llama13, MODELS[2]: llama7, MODELS[3]: llama34,
        "difference": points, "its 95 % ±": half, "verdict": found.verdict if found else "",
        "its standard error": rounded(found.standard_error, 2) if half else "", "the bars' 95 % ±": "",
        "protocol": protocol, "questions": n, "verified": verified,
    }  # fmt: skip


FIGURE = ArticleFigure(
    3, "llama_benchmarks", "Mistral 7B and Llama on benchmarks", draw, caption, alt, table, (FILE, BY_EYE)
)
