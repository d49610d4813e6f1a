"""`claims_table`: the article's 70 claims. A verdict is shown once the learner has done the core of a chapter that settles it."""

from minimistral.lab.claims import VERDICTS, claims
from minimistral.lab.progress import read


class ClaimsTable:
    """Displayed, a table; printed, the count. `chapters` limits it to claims that these chapters settle."""

    def __init__(self, *chapters: str):
        self.rows = [claim for claim in claims().values() if not chapters or set(claim.chapters) & set(chapters)]
        self.done = finished_chapters()

    def is_settled(self, claim) -> bool:
        return bool(self.done & set(claim.chapters))

    def __repr__(self) -> str:
        settled = sum(map(self.is_settled, self.rows))
        return f"{settled} of {len(self.rows)} claims settled by you so far."

    def _repr_markdown_(self) -> str:
        lines = [repr(self), "", "| id | the claim, in short | verdict | chapter |", "|---|---|---|---|"]
        for claim in self.rows:
            verdict = f"**{claim.verdict}**" if self.is_settled(claim) else "open"
            lines.append(f"| {claim.id} | {_plain(claim.claim)} | {verdict} | {', '.join(claim.chapters)} |")
        return "\n".join(lines)


def _plain(text: str) -> str:
    """Neither a new column nor the beginning of a formula."""
    return text.replace("|", "\\|").replace("$", "\\$")


class FilledTable(ClaimsTable):
    """Every verdict, and what is true, whoever has settled it: for the end of the course."""

    def __repr__(self) -> str:
        verdicts = [claim.verdict for claim in self.rows]
        return f"{len(verdicts)} claims: {', '.join(f'{verdicts.count(name)} {name}' for name in VERDICTS)}."

    def _repr_markdown_(self) -> str:
        lines = [repr(self), "", "| id | the claim, in short | verdict | what is true |", "|---|---|---|---|"]
        for claim in self.rows:
            lines.append(f"| {claim.id} | {_plain(claim.claim)} | **{claim.verdict}** | {_plain(claim.truth)} |")
        return "\n".join(lines)


def finished_chapters() -> set[str]:
    """Chapters whose first exercise, the one of the core path, was passed."""
    kept = read()["exercises"]
    return {
        id.split(".")[0]
        for id, about in kept.items()
        if id.endswith(".1") and isinstance(about, dict) and about.get("passed")
    }


def claims_table(*chapters: str, filled: bool = False) -> ClaimsTable:
    """The 70 claims, or those of some chapters: claims_table("00", "05"). filled: with every verdict and what is true."""
    return FilledTable(*chapters) if filled else ClaimsTable(*chapters)
