"""Chapter 10's tool: published scores as bars, with the axis, the measure, the errors and the protocols in the reader's hand."""

import math
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module

from minimistral.lab import theme
from minimistral.lab.picture import Picture, show
from minimistral.lab.tools.browser_tool import BrowserTool

TABLES = {
    "Figure 1: MMLU, six models": "mmlu.csv",
    "Figure 3: Mistral 7B and Llama": "mistral_table2.csv",
    "Figure 8: Mixtral and Llama": "mixtral_table2.csv",
    "Figure 8: Mixtral and GPT-3.5": "mixtral_table3.csv",
}
AS_DRAWN, ALL = "as in the figure", "all that is published"
Z95 = 1.96


@dataclass(frozen=True)
class Bar:
    """One result in percent of right answers; n_items is None where nobody says how many questions were asked."""

    benchmark: str
    model: str
    value: float
    protocol: str
    measured_by: str
    n_items: int | None
    drawn: bool  # stands in the figure; else the same model by another protocol or another team

    @property
    def standard_error(self) -> float | None:
        return (
            None if self.n_items is None else 100 * math.sqrt(self.value / 100 * (1 - self.value / 100) / self.n_items)
        )


@cache
def results(table: str) -> tuple[Bar, ...]:
    """The rows of a table that are shares of right answers, from figures/data."""
    from minimistral.lab.article_figures import figures

    figures()
    rows = import_module("figures.tables").scores(TABLES[table])
    return tuple(Bar(row.benchmark, row.model, row.value, row.protocol, row.measured_by, row.n_items, row.drawn == "bar")
                 for row in rows if row.unit == "percent")  # fmt: skip


@dataclass(frozen=True)
class State:
    """What the controls say: axis is where the bars begin, in percent; protocol AS_DRAWN, ALL, or one that a bar names."""

    table: str = next(iter(TABLES))
    benchmark: str = "MMLU"
    measure: str = "score"  # or "mistakes"
    axis: int = 40
    errors: bool = False
    protocol: str = AS_DRAWN


def benchmarks(table: str) -> list[str]:
    return list(dict.fromkeys(bar.benchmark for bar in results(table)))


def protocols(state: State) -> list[str]:
    """What the filter offers for this benchmark."""
    named = dict.fromkeys(bar.protocol for bar in results(state.table) if bar.benchmark == state.benchmark)
    return [AS_DRAWN, ALL, *named]


def bars(state: State) -> list[Bar]:
    """What is shown, the highest score first."""
    found = [
        bar for bar in results(state.table)
        if bar.benchmark == state.benchmark
        and (state.protocol == ALL or bar.protocol == state.protocol or (state.protocol == AS_DRAWN and bar.drawn))
    ]  # fmt: skip
    return sorted(found, key=lambda bar: -bar.value)


def furthest(state: State) -> int:
    """Where the bars may begin at most, so that the shortest keeps some length; mistakes always begin at 0."""
    if state.measure == "mistakes":
        return 0
    shortest = min(bar.value for bar in results(state.table) if bar.benchmark == state.benchmark)
    return max(0, math.floor(shortest / 5 - 0.2) * 5)


def length(bar: Bar, state: State) -> float:
    """How long a bar is drawn, in points."""
    return (bar.value if state.measure == "score" else 100 - bar.value) - state.axis


def describe(state: State) -> str:
    shown = bars(state)
    if len(shown) < 2:
        return f"Only {shown[0].model} has this protocol ({shown[0].protocol}): there is nothing to compare it with."
    a, b = shown[:2]
    first, second = called(a, shown), called(b, shown)
    if state.measure == "score":
        drawn, true = length(a, state) / length(b, state), a.value / b.value
        text = (f"The bars begin at {state.axis}: that of {first} is drawn {drawn:.2f} times as long as that of {second}; "
                f"the scores' ratio is {true:.2f}.")  # fmt: skip
    else:
        drawn = length(b, state) / length(a, state)
        text = f"{second} makes {100 - b.value:.1f} mistakes in 100 and {first} {100 - a.value:.1f}: {drawn:.2f} times as many."
    return f"{text} {gap(a, b)}"


def called(bar: Bar, shown: list[Bar]) -> str:
    """The model's name, and who asked it where it stands there more than once."""
    twice = sum(other.model == bar.model for other in shown) > 1
    return f"{bar.model} ({bar.measured_by})" if twice else bar.model


def gap(a: Bar, b: Bar) -> str:
    points = a.value - b.value
    if a.standard_error is None or b.standard_error is None:
        return f"The gap of {points:.1f} points has no error bar: how many questions were asked is not stated."
    error = math.hypot(a.standard_error, b.standard_error)
    verdict = "more than chance gives" if points > Z95 * error else "too close to call"
    text = f"The gap is {points:.1f} points, one standard error {error:.2f} ({a.n_items:,} questions, unpaired): {verdict}."
    return text if a.protocol == b.protocol else f"{text} But their protocols differ: {a.protocol}; {b.protocol}."


def draw(state: State) -> Picture:
    shown = bars(state)
    with theme.figure(size=(7.2, 0.9 + 0.38 * len(shown))) as (figure, axes):
        for row, bar in enumerate(shown):
            value = length(bar, state) + state.axis
            axes.barh(row, length(bar, state), left=state.axis, color=colour(bar.model), height=0.7)
            if state.errors and bar.standard_error is not None:
                axes.errorbar(value, row, xerr=Z95 * bar.standard_error, color=theme.INK, capsize=3)
            axes.text(state.axis + 0.3, row, f"{value:.1f}  {bar.protocol}", va="center", color=theme.PAPER, fontsize=8)
        axes.set_yticks(range(len(shown)), [called(bar, shown) for bar in shown])
        axes.invert_yaxis()
        unit = "percent of right answers" if state.measure == "score" else "percent of mistakes"
        reach = [length(bar, state) + state.errors * Z95 * (bar.standard_error or 0) for bar in shown]
        top = max(reach) + state.axis
        axes.set(xlim=(state.axis, state.axis + (top - state.axis) * 1.08), xlabel=f"{state.benchmark}: {unit}")
        where = "from 0" if state.axis == 0 else f"from {state.axis}, not from 0"
        axes.set_title(f"{state.table}; bars {where}")
        return show(figure, describe(state))


def colour(model: str) -> str:
    """Mistral's models are blue, everybody else's grey."""
    return theme.BLUE if model.startswith("Mi") else theme.GREY


class BenchmarkExplorer(BrowserTool):
    """Published bar charts with an axis that can be moved, error bars, error rates, and a filter by protocol."""

    script = "benchmark_explorer.js"

    def __init__(self, table: str = next(iter(TABLES)), benchmark: str | None = None, measure: str = "score",
                 axis: int | None = None, errors: bool = False, protocol: str = AS_DRAWN):  # fmt: skip
        if table not in TABLES:
            raise ValueError(f"table={table!r}: the tool shows {', '.join(map(repr, TABLES))}.")
        benchmark = benchmark or benchmarks(table)[0]
        if benchmark not in benchmarks(table):
            raise ValueError(f"benchmark={benchmark!r}: this table has {', '.join(benchmarks(table))}.")
        if measure not in ("score", "mistakes"):
            raise ValueError(f"measure={measure!r}: the bars show 'score' or 'mistakes'.")
        if axis is None:  # as the article's chart begins
            axis = 40 if (TABLES[table], measure) == ("mmlu.csv", "score") else 0
        self.state = State(table, benchmark, measure, axis, bool(errors), protocol)
        if axis not in range(furthest(self.state) + 1):
            raise ValueError(f"axis={axis!r}: here the bars begin at a whole number from 0 to {furthest(self.state)}.")
        if protocol not in protocols(self.state):
            offered = ", ".join(map(repr, protocols(self.state)))
            raise ValueError(f"protocol={protocol!r}: this benchmark has {offered}.")

    def __repr__(self) -> str:
        return describe(self.state)

    def start(self) -> dict:
        return asdict(self.state)

    def data(self) -> dict:
        return {"tables": {table: [asdict(bar) for bar in results(table)] for table in TABLES}}

    def picture(self) -> Picture:
        return draw(self.state)
