"""The numbers behind the figures: small CSV files, a source in each row, and how sure a share of right answers is."""

import csv
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DATA = Path(__file__).parent / "data"


@cache
def rows(file: str) -> list[dict[str, str]]:
    """The rows of figures/data/FILE as text, as they stand there."""
    with open(DATA / file, newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@dataclass(frozen=True)
class Score:
    """One cell of a published table: a model's result on a benchmark, how it was got, by whom, and where it stands."""

    benchmark: str
    model: str
    value: float  # in `unit`
    unit: str  # "percent" of right answers, or "marks of 10"
    protocol: str  # shots, votes; "not stated"
    measured_by: str
    n_items: int | None  # questions; None where the source does not say
    verified: bool  # read in the source's own table, in two independent transcriptions or in two sources
    source_url: str
    source_table: str
    note: str
    drawn: str  # "bar", or "other": the same model by another protocol or another team

    @property
    def standard_error(self) -> float | None:
        """In points: √(p(1 − p)/n), as if the n questions were drawn at random, each on its own. None: n unknown."""
        if self.n_items is None or self.unit != "percent":
            return None
        share = self.value / 100
        return 100 * math.sqrt(share * (1 - share) / self.n_items)


@cache
def scores(file: str) -> list[Score]:
    """The rows of a CSV file of results, in its order."""
    return [
        Score(**row | dict(
            value=float(row["value"]), verified=row["verified"] == "yes", drawn=row.get("drawn", "bar"),
            n_items=int(row["n_items"]) if row["n_items"] else None,
        ))
        for row in rows(file)
    ]  # fmt: skip


def score(file: str, benchmark: str, model: str) -> Score:
    """The one drawn result of a model on a benchmark; KeyError names what is missing."""
    for found in scores(file):
        if (found.benchmark, found.model, found.drawn) == (benchmark, model, "bar"):
            return found
    raise KeyError(f"figures/data/{file} has no result of {model} on {benchmark}.")


@dataclass(frozen=True)
class Difference:
    """One model minus another on one benchmark, in points. Unpaired: which questions each got right is not published."""

    benchmark: str
    points: float
    standard_error: float | None  # None: the number of questions is unknown, or the unit is no share

    @property
    def verdict(self) -> str:
        """ "ahead" or "behind" where 1.96 standard errors do not reach zero, else "too close to call"; "n unknown"."""
        if self.standard_error is None:
            return "n unknown"
        if abs(self.points) <= 1.96 * self.standard_error:
            return "too close to call"
        return "ahead" if self.points > 0 else "behind"


def difference(a: Score, b: Score) -> Difference:
    """a − b, the errors added as for two independent samples. Shared questions make the true error smaller, if anything."""
    if a.benchmark != b.benchmark:
        raise ValueError(f"{a.benchmark} and {b.benchmark} are two benchmarks; compare scores of one.")
    points = round(a.value - b.value, 2)
    if a.standard_error is None or b.standard_error is None:
        return Difference(a.benchmark, points, None)
    return Difference(a.benchmark, points, math.hypot(a.standard_error, b.standard_error))
