"""The ledger: what the article claims, and what is true. Chapters settle these claims; tests hold chapters to it."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

VERDICTS = ("correct", "misleading", "wrong", "uncheckable")
KINDS = ("measured", "counted", "documents", "uncheckable")


@dataclass(frozen=True)
class Claim:
    """One claim, paraphrased; chapters names those that settle it, sources the papers that the truth rests on."""

    id: str  # "C34"
    claim: str
    verdict: str  # one of VERDICTS
    truth: str
    kind: str  # one of KINDS: how it was settled
    known: str  # how we know: the number and its spread, or why only documents can say
    chapters: tuple[str, ...]
    sources: tuple[str, ...] = ()
    stored: tuple[
        str, ...
    ] = ()  # stored experiments that it rests on: minimistral/lab/stored/NAME.json has date, machine

    @property
    def cell(self) -> str:
        """The tag of the cells, in each of its chapters, that settle it by measuring (tested in tests/notebooks)."""
        return f"claim:{self.id}"


@cache
def claims() -> dict[str, Claim]:
    """All 70 claims by id, in order."""
    table = tomllib.loads(Path(__file__).with_name("claims.toml").read_text(encoding="utf-8"))
    lists = ("chapters", "sources", "stored")
    return {
        id: Claim(id, **entry | {name: tuple(entry.get(name, ())) for name in lists}) for id, entry in table.items()
    }
