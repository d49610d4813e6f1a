"""`claims_table`: the article's 70 claims. A verdict is shown once the learner has done the core of a chapter that settles it."""

from minimistral.lab.claims import claims
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
            text = claim.claim.replace("|", "\\|").replace("$", "\\$")
            lines.append(f"| {claim.id} | {text} | {verdict} | {', '.join(claim.chapters)} |")
        return "\n".join(lines)


def finished_chapters() -> set[str]:
    """Chapters whose first exercise, the one of the core path, was passed."""
    kept = read()["exercises"]
    return {
        id.split(".")[0]
        for id, about in kept.items()
        if id.endswith(".1") and isinstance(about, dict) and about.get("passed")
    }


def claims_table(*chapters: str) -> ClaimsTable:
    """The 70 claims, or those of some chapters: claims_table("00", "05")."""
    return ClaimsTable(*chapters)
