"""Figure 1: MMLU of six models. Axis from zero, protocols named, and mistakes beside right answers."""

from .article_figure import ArticleFigure
from .look import Look, model_colour, rounded
from .tables import Score, scores

FILE = "mmlu.csv"


def bars() -> list[Score]:
    return [score for score in scores(FILE) if score.drawn == "bar"]


def others(model: str) -> list[Score]:
    """The same model by another protocol, or measured by another team."""
    return [score for score in scores(FILE) if score.drawn == "other" and score.model == model]


def mistakes(score: Score) -> float:
    """Wrong answers of 100."""
    return round(100 - score.value, 2)


def ratio() -> float:
    """How many mistakes the second on the chart makes for each one of the first."""
    return mistakes(bars()[1]) / mistakes(bars()[0])


def draw(look: Look):
    with look.figure(1, 2, size=(7.2, 3.7), sharey=True, width_ratios=(2.3, 1)) as (figure, (right, wrong)):
        for y, score in enumerate(bars()):
            _bar(right, look, y, score, score.value)
            _bar(wrong, look, y, score, mistakes(score))
            _name_protocol(right, look, y, score)
            right.text(100, y, rounded(score.value), va="center", ha="right", fontweight="bold")
            wrong.text(mistakes(score) + 1.8, y, rounded(mistakes(score)), va="center", fontweight="bold")
            for other in others(score.model):
                right.plot(other.value, y + 0.43, "D", ms=5, mfc=look.paper, mec=look.ink, zorder=4)
        right.set_yticks(range(len(bars())), [score.model for score in bars()])
        right.invert_yaxis()
        right.set(xlim=(0, 100), xlabel="right answers of 100")
        wrong.set(xlim=(0, 42), xlabel="mistakes of 100")
        right.set_title(f"Second place, with {rounded(ratio(), 2)} times the mistakes", fontsize=11)
        right.plot([], [], "D", ms=5, mfc=look.paper, mec=look.ink, label="same model, other protocol or team")
        figure.legend(loc="outside lower left", fontsize=8, handletextpad=0.2)
        for axes in (right, wrong):
            axes.tick_params(axis="y", length=0)
        return figure


def _bar(axes, look: Look, y: int, score: Score, width: float) -> None:
    """Full where verified, hatched where not; the whisker is 1.96 standard errors to either side."""
    colour = model_colour(look, score.model)
    style = dict(color=colour) if score.verified else dict(facecolor=look.faint, edgecolor=colour, hatch="///")
    axes.barh(y, width, height=0.62, **style)
    axes.errorbar(width, y, xerr=1.96 * score.standard_error, color=look.ink, lw=1.2, capsize=2.5, zorder=5)


def _name_protocol(axes, look: Look, y: int, score: Score) -> None:
    if score.verified:
        axes.text(1.5, y, score.protocol, va="center", fontsize=8.5, color=look.paper)
    else:
        patch = dict(facecolor=look.paper, edgecolor="none", pad=1.5)
        axes.text(2, y, f"protocol {score.protocol}; number not verified", va="center", fontsize=8.5, bbox=patch)


def caption() -> str:
    first, second = bars()[:2]
    gemini = next(score for score in bars() if score.model.startswith("Gemini"))
    return (
        f"Figure 1, drawn anew. MMLU ({first.n_items:,} questions) from zero; the original starts at 40. "
        f"{second.model} is second with {rounded(second.value)} to {rounded(first.value)}, which is "
        f"{rounded(mistakes(second))} mistakes of 100 to {rounded(mistakes(first))}. Whiskers: 95 % of a binomial, "
        "1.96·√(p(1 − p)/n). They are short; protocols matter more: voting with chain of thought lifts "
        f"{gemini.model} from {rounded(gemini.value)} to {rounded(others(gemini.model)[0].value, 2)}. Hatched: not "
        "verified. Sources: the GPT-4 report (arXiv 2303.08774), Gemini report (arXiv 2312.11805), Llama 2 (arXiv "
        "2307.09288) and Mixtral (arXiv 2401.04088) papers, and Mistral's post of 2024-02-26."
    )


def alt() -> str:
    said = "; ".join(f"{score.model} {rounded(score.value)} ({score.protocol})" for score in bars())
    return (
        f"Bars from zero of MMLU, right answers of 100: {said}. Beside them the mistakes, "
        f"{rounded(mistakes(bars()[0]))} for {bars()[0].model} and {rounded(mistakes(bars()[1]))} for "
        f"{bars()[1].model}, whose bar is hatched: not verified."
    )


def table() -> list[dict]:
    return [
        {
            "model": score.model, "right, %": score.value, "95 % ±": rounded(1.96 * score.standard_error, 2),
            "mistakes, %": mistakes(score), "times the first's": rounded(mistakes(score) / mistakes(bars()[0]), 2),
            "protocol": score.protocol, "measured by": score.measured_by, "questions": f"{score.n_items:,}",
            "verified": "yes" if score.verified else "no", "source": f"[{score.source_table}]({score.source_url})",
        }
        for score in scores(FILE)
    ]  # fmt: skip


FIGURE = ArticleFigure(1, "mmlu", "MMLU of GPT-4, Mistral Large and four others", draw, caption, alt, table, (FILE,))
