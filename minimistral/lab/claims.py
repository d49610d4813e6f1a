"""The ledger: what the article claims, and what is true. Chapters settle these claims; tests hold chapters to it."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

VERDICTS = ("correct", "misleading", "wrong", "uncheckable")


@dataclass(frozen=True)
class Claim:
    """One claim, paraphrased; chapters names those that settle it, sources the papers that the truth rests on."""

    id: str  # "C34"
    claim: str
    verdict: str  # one of VERDICTS
    truth: str
    chapters: tuple[str, ...]
    sources: tuple[str, ...] = ()

    @property
    def cell(self) -> str:
        """The tag of the cells, in each of its chapters, that settle it by measuring (tested in tests/notebooks)."""
        return f"claim:{self.id}"


@cache
def claims() -> dict[str, Claim]:
    """All 70 claims by id, in order."""
    table = tomllib.loads(Path(__file__).with_name("claims.toml").read_text(encoding="utf-8"))
    return {
        id: Claim(id, entry["claim"], entry["verdict"], entry["truth"], tuple(entry["chapters"]), tuple(entry.get("sources", ())))
        for id, entry in table.items()
    }  # fmt: skip
