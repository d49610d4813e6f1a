"""Figure 8: Mixtral 8x7B, Llama 2 70B and GPT-3.5 on seven tests, with what chance allows and who measured."""

from .article_figure import ArticleFigure
from .look import Look, legend, model_colour, rounded, signed
from .tables import Difference, difference, score, scores

FILE, TABLE2 = "mixtral_table3.csv", "mixtral_table2.csv"
MIXTRAL, RIVALS = "Mixtral 8x7B", ("Llama 2 70B", "GPT-3.5")
TESTS = tuple(dict.fromkeys(found.benchmark for found in scores(FILE)))
SHARES = TESTS[:-1]  # MT-Bench gives marks, not a share of right answers


def differences(rival: str) -> list[Difference]:
    """Mixtral minus the rival, on all seven tests."""
    return [difference(score(FILE, test, MIXTRAL), score(FILE, test, rival)) for test in TESTS]


def wins(rival: str) -> int:
    return sum(found.points > 0 for found in differences(rival))


def known_leads() -> tuple[int, int]:
    """Over both rivals: the leads whose standard error is known, and those of them beyond 1.96 of it."""
    leads = [found for rival in RIVALS for found in differences(rival) if found.points > 0 and found.standard_error]
    return len(leads), sum(found.verdict == "ahead" for found in leads)


def table2_record() -> tuple[list[str], int]:
    """In the paper's other table: on which benchmarks Mixtral is behind Llama 2 70B, and of how many."""
    names = dict.fromkeys(found.benchmark for found in scores(TABLE2))
    behind = [name for name in names if score(TABLE2, name, MIXTRAL).value < score(TABLE2, name, RIVALS[0]).value]
    return behind, len(names)


def draw(look: Look):
    colours = {model: model_colour(look, model) for model in (MIXTRAL, *RIVALS)}
    with look.figure(1, 2, size=(7.2, 4.4), width_ratios=(1.25, 1)) as (figure, (left, right)):
        _scores(left, look, colours)
        _differences(right, look, colours)
        leads, clear = known_leads()
        ahead = " and ".join(dict.fromkeys(str(wins(rival)) for rival in RIVALS))
        figure.suptitle(
            f"Mixtral is ahead on {ahead} of {len(TESTS)} tests against each; of {leads} leads whose error is known, "
            f"{clear} are clear",
            x=0.01, ha="left", fontsize=11,
        )  # fmt: skip
        return figure


def _scores(axes, look: Look, colours: dict[str, str]) -> None:
    """Six shares from 0 to 100 percent; MT-Bench's marks of 10 on a scale of their own, below a line."""
    for y, test in enumerate(TESTS):
        for i, model in enumerate((MIXTRAL, *RIVALS)):
            found = score(FILE, test, model)
            width = found.value * (1 if found.unit == "percent" else 10)
            hollow = not found.verified or (found.measured_by != "Mistral AI")
            style = (
                dict(facecolor=look.faint, edgecolor=colours[model], hatch="////")
                if hollow
                else dict(color=colours[model])
            )
            at = y + (i - 1) * 0.26
            axes.barh(at, width, height=0.23, **style)
            half = 1.96 * found.standard_error if found.standard_error else 0
            axes.errorbar(width, at, xerr=half or None, color=look.ink, lw=1, capsize=2)
            digits = 1 if found.unit == "percent" else 2
            axes.text(width + half + 2, at, rounded(found.value, digits), va="center", fontsize=8)
    axes.axhline(len(SHARES) - 0.5, color=look.grey, lw=0.8, ls=":")
    mbpp = TESTS.index("MBPP")  # the shortest bars leave room
    axes.text(102, mbpp, "hatched: quoted,\nor not verified", va="center", ha="right", fontsize=8, color=look.grey)
    names = [f"{test}\n{_short(score(FILE, test, MIXTRAL).protocol)}" for test in TESTS]
    axes.set_yticks(range(len(TESTS)), names, fontsize=8)
    axes.set(xlim=(0, 103), ylim=(len(TESTS) - 0.5, -0.5), xlabel="percent; MT-Bench: marks, 100 is 10")
    axes.tick_params(axis="y", length=0)
    legend(axes, look, colours, (-0.12, 0.26, 0.62), above=1.02)


def _short(protocol: str) -> str:
    return protocol.replace("57 subjects, shots not stated", "shots not stated")


def _differences(axes, look: Look, colours: dict[str, str]) -> None:
    for rival, shift in zip(RIVALS, (-0.13, 0.13)):
        for y, found in enumerate(differences(rival)[:-1]):
            half = 1.96 * found.standard_error if found.standard_error else 0
            axes.errorbar(found.points, y + shift, xerr=half or None, fmt="o", ms=5, color=colours[rival], capsize=2.5, lw=1.4,
                          mfc=colours[rival] if half else look.paper)  # fmt: skip
            axes.text(14.6, y + shift, signed(found.points), va="center", ha="right", fontsize=8, color=colours[rival])
    marks = "\n".join(f"{signed(differences(rival)[-1].points, 2)} marks to {rival}" for rival in RIVALS)
    axes.text(0.4, len(SHARES), marks, va="center", fontsize=8)
    axes.axvline(0, color=look.ink, lw=1)
    axes.set_yticks(range(len(TESTS)), [])
    axes.set(xlim=(-5.5, 15), ylim=(len(TESTS) - 0.5, -0.5), xlabel="Mixtral minus rival, points")
    axes.text(
        -0.05, 1.02, "whisker: 95 %, unpaired; hollow: n unknown", transform=axes.transAxes, fontsize=8, color=look.grey
    )
    axes.tick_params(axis="y", length=0)


def caption() -> str:
    behind, n = table2_record()
    clear = {rival: [found.benchmark for found in differences(rival) if found.verdict == "ahead"] for rival in RIVALS}
    lost = {rival: [found.benchmark for found in differences(rival) if found.points < 0] for rival in RIVALS}
    said = "; ".join(
        f"against {rival} ahead on {wins(rival)} of {len(TESTS)}, clearly on {_list(clear[rival])}, behind on "
        f"{_list(lost[rival])}"
        for rival in RIVALS
    )
    return (
        f"Figure 8, drawn anew from arXiv 2401.04088, Table 3: {said}. Whiskers: 95 % of a binomial; MT-Bench gives "
        "marks, and how many problems MBPP had is not said. Hatched: not measured by the authors (five of GPT-3.5's "
        "numbers are those of arXiv 2303.08774, Table 2) or not verified. The paper's Table 2, with other shots, "
        f"has Mixtral behind Llama 2 70B on {len(behind)} of {n}: {_list(behind)}."
    )


def _list(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) or "none"


def alt() -> str:
    said = "; ".join(
        f"{test} "
        f"{', '.join(rounded(score(FILE, test, model).value, 2 if test == 'MT-Bench' else 1) for model in (MIXTRAL, *RIVALS))}"
        for test in TESTS
    )
    return (
        f"Left, bars from zero on seven tests, {MIXTRAL}, {RIVALS[0]} and {RIVALS[1]} in this order: {said}. "
        "GPT-3.5's bars are hatched: quoted, or by whom they were measured is not said. Right, the differences with "
        f"their 95 % whiskers: of {known_leads()[0]} leads whose error is known, {known_leads()[1]} are clear of "
        "zero."
    )


def table() -> list[dict]:
    listed = []
    for i, test in enumerate(TESTS):
        row = {
            "test": test,
            "protocol": score(FILE, test, MIXTRAL).protocol,
            "questions": score(FILE, test, MIXTRAL).n_items or "not stated",
        }
        for model in (MIXTRAL, *RIVALS):
            row[model] = rounded(score(FILE, test, model).value, 2 if test == "MT-Bench" else 1)
        for rival in RIVALS:
            found = differences(rival)[i]
            half = f" ± {rounded(1.96 * found.standard_error, 2)}" if found.standard_error else ""
            row[f"minus {rival} (95 %)"] = signed(found.points, 2 if test == "MT-Bench" else 1) + half
            row[f"to {rival}"] = "no share of right answers" if test == "MT-Bench" else found.verdict
        row["not measured by the authors, or not verified"] = ", ".join(
            f"{found.model} ({found.measured_by if found.verified else 'not verified'})" for found in scores(FILE)
            if found.benchmark == test and (not found.verified or found.measured_by != "Mistral AI")
        )  # fmt: skip
        listed.append(row)
    return listed


FIGURE = ArticleFigure(
    8,
    "mixtral_benchmarks",
    "Mixtral 8x7B, Llama 2 70B and GPT-3.5 on benchmarks",
    draw,
    caption,
    alt,
    table,
    (FILE, TABLE2),
)
