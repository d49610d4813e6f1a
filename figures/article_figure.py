"""What each of the nine figures offers: a drawing, a caption, an alternative text, a table; and how they are stored."""

import hashlib
import inspect
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path

import matplotlib

from minimistral.lab.picture import Picture, show

from .look import LIGHT, LOOKS, Look

DRAWN = Path(__file__).parent / "drawn"
SHARED = ("article_figure.py", "look.py", "tables.py")  # what every figure is drawn with


CODE = re.compile(r"`([^`]+)`")


class CaptionedPicture(Picture):
    """A picture with its caption below. `names` stand in the caption as in Markdown: code in HTML, plain words in text."""

    def __init__(self, picture: Picture, caption: str):
        super().__init__(picture.png, picture.alt)
        self.caption = caption

    def __repr__(self) -> str:
        plain = CODE.sub(r"\1", self.caption)
        return f"{super().__repr__()}\n{plain}"

    def html(self) -> str:
        said = CODE.sub(r"<code>\1</code>", escape(self.caption))
        words = f'<figcaption style="max-width: 60em">{said}</figcaption>'
        return f'<figure style="margin: 0">{super().html()}{words}</figure>'


@dataclass(frozen=True)
class ArticleFigure:
    """One figure of the article, drawn anew. The four functions take the same options, if the figure has any."""

    number: int
    name: str
    title: str  # what the article showed
    draw: Callable  # (look, **options) → matplotlib Figure
    caption: Callable[..., str]
    alt: Callable[..., str]
    table: Callable[..., list[dict]]  # rows: every number that the picture, its caption and its alternative text give
    sources: tuple[str, ...]  # CSV files in figures/data, or "minimistral.masks.window_mask": what it is drawn from

    def show(self, look: Look = LIGHT, **options) -> Picture:
        """The picture for a notebook, with its alternative text and caption. TypeError lists the options."""
        known = list(inspect.signature(self.draw).parameters)[1:]
        if unknown := sorted(set(options) - set(known)):
            allowed = f"It takes {', '.join(known)}." if known else "It takes no options."
            raise TypeError(f"figure {self.number}, {self.name}, has no option {', '.join(unknown)}. {allowed}")
        return CaptionedPicture(show(self.draw(look, **options), self.alt(**options)), self.caption(**options))

    def svg(self, look: Look) -> str:
        """As SVG that reads its alternative text aloud; the same text each time."""
        file = io.StringIO()
        with matplotlib.rc_context(look.settings()):
            self.draw(look).savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        opening, rest = file.getvalue().split("<svg ", 1)
        attributes, body = rest.split(">", 1)
        spoken = f"<title>{escape(self.title)}</title><desc>{escape(self.alt())}</desc>"
        return f'{opening}<svg role="img" {attributes}>{spoken}{body}'

    def png(self, look: Look) -> bytes:
        """As PNG of at most 60 kB."""
        return show(self.draw(look), self.alt()).png

    def page(self) -> str:
        """Picture, caption, alternative text and data table as one Markdown page."""
        picture = (
            f'<picture><source media="(prefers-color-scheme: dark)" srcset="{self.name}.dark.svg">'
            f'<img alt="{escape(self.alt())}" src="{self.name}.light.svg"></picture>'
        )
        sources = ", ".join(
            f"[{source}](../data/{source})" if source.endswith(".csv") else f"`{source}`" for source in self.sources
        )
        parts = [
            f"# Figure {self.number}. {self.title}", picture, self.caption(), f"**In words.** {self.alt()}",
            markdown(self.table()), f"Drawn from {sources} by `figures/fig{self.number}_{self.name}.py`.",
        ]  # fmt: skip
        return "\n\n".join(parts) + "\n"

    def fingerprint(self) -> str:
        """Of all that it is made from: its module, what all share, and what its functions say. A change makes it stale."""
        here = Path(__file__).parent
        sources = [(here / name).read_bytes() for name in (*SHARED, f"fig{self.number}_{self.name}.py")]
        said = json.dumps([self.table(), self.caption(), self.alt()], ensure_ascii=False)
        return hashlib.sha256(b"\n".join([*sources, said.encode()])).hexdigest()

    def store(self, folder: Path = DRAWN) -> dict:
        """Write SVG, PNG and page into the folder; what the manifest keeps about them."""
        files = {f"{self.name}.md": self.page().encode()}
        for look in LOOKS:
            files[f"{self.name}.{look.name}.svg"] = self.svg(look).encode()
            files[f"{self.name}.{look.name}.png"] = self.png(look)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
        return {"made_from": self.fingerprint(), "files": digests}


def markdown(table: list[dict]) -> str:
    """Rows as a Markdown table, with the columns of the first row."""
    columns = list(table[0])
    lines = [columns, ["---"] * len(columns), *([str(row[column]) for column in columns] for row in table)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
