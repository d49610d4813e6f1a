"""The pages of the book that are computed: first page, ledger, figures, models, glossary, bibliography, reference."""

import inspect
import re
import shutil
import tomllib
from collections.abc import Iterator
from html import escape
from importlib import import_module
from pathlib import Path

import nbformat

from book.emblems import emblem
from book.live import live_html
from minimistral import lab
from minimistral.lab import Odometer
from minimistral.lab.claims import KINDS, VERDICTS, Claim, claims
from minimistral.lab.stored_results import stored

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CHAPTERS = ROOT / "chapters"
MODEL_FILES = ("config", "norm", "rope", "masks", "attention", "cache", "feed_forward", "moe", "transformer")
AROUND = (
    "tokenizer",
    "generation",
    "sampling",
    "evaluate",
    "multiple_choice",
    "statistics",
    "voting",
    "quantize",
    "ngram",
    "data",
    "train",
    "checkpoints.errors",
    "checkpoints.read",
)
AROUND += ("checkpoints.write", "checkpoints.hub", "memory", "machine", "plan", "fast", "offload", "parallel", "ranks")
LINK = re.compile(r"\[[^\]]*\]\((https?://[^)\s]+)\)|<(https?://[^>\s]+)>")


def write_all(source: Path) -> None:
    """All computed pages, into the folder that Sphinx reads."""
    (source / "index.md").write_text(index(), encoding="utf-8")
    (source / "ledger.md").write_text(ledger(), encoding="utf-8")
    (source / "glossary.md").write_text(glossary(), encoding="utf-8")
    (source / "bibliography.md").write_text(bibliography(), encoding="utf-8")
    (source / "reference.rst").write_text(reference(), encoding="utf-8")
    (source / "models").mkdir()
    for card in sorted((ROOT / "minimistral" / "pretrained").glob("tiny-m*/README.md")):
        text = card.read_text(encoding="utf-8").replace("../../texts/README.md", "texts.md")
        (source / "models" / f"{card.parent.name}.md").write_text(text, encoding="utf-8")
    shutil.copy(ROOT / "minimistral" / "texts" / "README.md", source / "models" / "texts.md")
    figures(source)


# ---- the first page -------------------------------------------------------------------------------------------------


def chapter_titles() -> dict[str, tuple[str, str, str]]:
    """File stem to title, question and minutes, as the syllabus has them."""
    rows = re.findall(
        r"^\| \[([^\]]+)\]\((\w+)\.ipynb\) \| (.+?) \| (.+?) \|$", (CHAPTERS / "README.md").read_text(), re.M
    )
    return {stem: (title, question, minutes) for title, stem, question, minutes in rows}


def index() -> str:
    cards = "".join(
        f'<a class="card" href="chapters/{stem}.html">{emblem(title[:2])}<span class="number">{escape(title[:2])}</span>'
        f"<strong>{escape(title[3:])}</strong><span>{escape(question)}</span><small>{escape(_time(minutes))}</small></a>\n"
        for stem, (title, question, minutes) in chapter_titles().items()
    )
    toc = "\n".join(f"chapters/{path.stem}" for path in sorted(CHAPTERS.glob("*.ipynb")))
    template = (HERE / "index.md").read_text(encoding="utf-8")
    filled = template.replace("CARDS", cards).replace("CHAPTERS", toc).replace("SQUARES", squares())
    for verdict, n in verdict_counts().items():
        filled = filled.replace(f"N_{verdict.upper()}", str(n))
    return filled.replace("TOOL", live_html(tool := Odometer(), _still(tool), tool.script))


def _time(minutes: str) -> str:
    """ "42 core, 20 further", as somebody reads it who has not begun."""
    core, further = re.findall(r"\d+", minutes)
    return f"{core} minutes, and {further} to go further"


def _still(tool: Odometer) -> str:
    """The tool's picture, for a page without scripts."""
    bundle, _ = tool.picture()._repr_mimebundle_()
    return bundle["text/html"]


def verdict_counts() -> dict[str, int]:
    return {verdict: sum(claim.verdict == verdict for claim in claims().values()) for verdict in VERDICTS}


def squares() -> str:
    """The claims as squares, a row for each verdict: how many, and not which."""
    rows = "".join(
        f'<span class="squares-{verdict}"><b>{n}</b> {verdict}</span><span class="squares-{verdict}" aria-hidden="true">'
        f"{'<i></i>' * n}</span>"
        for verdict, n in verdict_counts().items()
    )
    return f'<div class="squares">{rows}</div>'


# ---- the ledger -----------------------------------------------------------------------------------------------------


def ledger() -> str:
    """All claims with verdict, truth, sources, and how the course knows: the chapter's cell, or the documents."""
    cells = settling_cells()
    head = (HERE / "ledger.md").read_text(encoding="utf-8")
    counted = {
        name: sum(name in (claim.verdict, claim.kind) for claim in claims().values()) for name in VERDICTS + KINDS
    }
    verdicts, kinds = (", ".join(f"{counted[name]} {name}" for name in names) for names in (VERDICTS, KINDS))
    head = head.replace("COUNTS", verdicts).replace("KINDS", kinds).replace("BY_VERDICT", _by_verdict())
    return head + "\n".join(_claim(claim, cells) for claim in claims().values())


def _by_verdict() -> str:
    """Links to the claims, a line for each verdict."""
    lines = []
    for verdict in VERDICTS:
        links = (f"[{c.id}](#claim-{c.id.lower()})" for c in claims().values() if c.verdict == verdict)
        lines.append(f"- **{verdict}**: {' '.join(links)}")
    return "\n".join(lines)


def _claim(claim: Claim, cells: dict[str, list[str]]) -> str:
    asserted = ", ".join(f"[{stem[:2]}](chapters/{stem}.ipynb)" for stem in cells.get(claim.id, []))
    how = f"{claim.kind}, chapter {asserted}" if asserted else claim.kind
    said = " ".join([claim.known, *map(_run, claim.stored)])
    sources = ", ".join(f"[{s}]({'https://arxiv.org/abs/' + s[6:]})" for s in claim.sources if s.startswith("arXiv "))
    return (
        f"(claim-{claim.id.lower()})=\n### {claim.id} {claim.claim}\n\n"
        f"<p class='verdict {claim.verdict}'>{claim.verdict}</p>\n\n{claim.truth.removesuffix('.')}.\n\n"
        f"How we know ({how}): {said}" + (f" Sources: {sources}." if sources else "") + "\n"
    )


def _run(name: str) -> str:
    """Where and when a stored experiment ran, and how to repeat it."""
    run = stored(name)
    on = ", ".join(filter(None, (run["machine"], run.get("versions"))))
    return f"Stored runs of {run['date']}, {on}; `{run['repeat']}` repeats them."


def settling_cells() -> dict[str, list[str]]:
    """Claim id to the chapters with a cell that asserts it."""
    found: dict[str, list[str]] = {}
    for path in sorted(CHAPTERS.glob("*.ipynb")):
        for cell in nbformat.read(path, 4).cells:
            for tag in cell.metadata.get("tags", []):
                if tag.startswith("claim:") and path.stem not in found.setdefault(tag[6:], []):
                    found[tag[6:]].append(path.stem)
    return found


# ---- glossary and bibliography --------------------------------------------------------------------------------------


def glossary() -> str:
    terms = tomllib.loads((HERE / "glossary.toml").read_text(encoding="utf-8"))
    files = {path.stem[:2]: path.stem for path in CHAPTERS.glob("*.ipynb")}
    lines = ["# Glossary\n\nOne sentence a term, the chapter that teaches it, and its name in the code.\n"]
    for term, entry in sorted(terms.items(), key=lambda item: item[0].lower()):
        chapter = entry["chapter"]
        where = f"[Chapter {chapter}](chapters/{files[chapter]}.ipynb)" if chapter in files else f"Chapter {chapter}"
        code = f", {{py:obj}}`minimistral.{entry['code']}`" if "code" in entry else ""
        lines.append(f"{term}\n: {entry['says']} {where}{code}\n")
    return "\n".join(lines)


def bibliography() -> str:
    """Papers with who and when, and every other page that a chapter links to, each with the chapters that do."""
    papers = tomllib.loads((HERE / "bibliography.toml").read_text(encoding="utf-8"))
    cited = citations()
    lines = ["# Bibliography\n\n## Papers\n"]
    for key, (who, title, year) in sorted(papers.items(), key=lambda item: (item[1][2], item[1][0])):
        by = _chapters(cited.pop(key, [])) + _figures(key)
        lines.append(f"- {who} ({year}). *{title}*. [{key}]({address(key)}){by}")
    lines.append("\n## Code, reports and pages\n")
    lines += [f"- <{link}>{_chapters(by)}" for link, by in sorted(cited.items())]
    return "\n".join(lines) + "\n"


def citations() -> dict[str, list[str]]:
    """What the chapters link to: a paper's key or another address, and the chapters that do."""
    found: dict[str, list[str]] = {}
    for path in sorted(CHAPTERS.glob("*.ipynb")):
        for link in _links(path):
            if path.stem not in found.setdefault(paper_key(link), []):
                found[paper_key(link)].append(path.stem)
    return found


def _links(path: Path) -> Iterator[str]:
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "markdown":
            for in_brackets, bare in LINK.findall(cell.source):
                yield (in_brackets or bare).split("#")[0]


def paper_key(link: str) -> str:
    if found := re.match(r"https?://arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})", link):
        return f"arXiv:{found[1]}"
    if found := re.match(r"https?://(?:dx\.)?doi\.org/(.+)", link):
        return f"doi:{found[1]}"
    return link


def address(key: str) -> str:
    kind, _, number = key.partition(":")
    return {"arXiv": "https://arxiv.org/abs/", "doi": "https://doi.org/"}[kind] + number


def _chapters(stems: list[str]) -> str:
    return " Chapter " + ", ".join(f"[{stem[:2]}](chapters/{stem}.ipynb)" for stem in stems) if stems else ""


def _figures(key: str) -> str:
    """The page of the figures, where a number in one of their tables comes from this paper."""
    number = key.partition(":")[2]
    tables = (ROOT / "figures" / "data").glob("*.csv")
    return " [Figures](figures.md)" if any(number in table.read_text(encoding="utf-8") for table in tables) else ""


# ---- reference ------------------------------------------------------------------------------------------------------


def reference() -> str:
    """The public names of the library's modules, from their docstrings."""
    parts = ["Reference\n=========\n", "The library, from its docstrings. Shapes are named as in the chapters.\n"]
    for heading, modules in (("The model", MODEL_FILES), ("Around the model", AROUND), ("For the notebooks", ("lab",))):
        parts.append(f"{heading}\n{'-' * len(heading)}\n")
        for name in modules:
            if _is_there(name):
                parts.append(_module(name))
    return "\n".join(parts)


def _is_there(name: str) -> bool:
    return (ROOT / "minimistral" / Path(*name.split("."))).with_suffix(".py").exists() or name == "lab"


def _module(name: str) -> str:
    title = f"``minimistral.{name}``"
    module = import_module(f"minimistral.{name}")
    text = f"{title}\n{'^' * len(title)}\n\n.. automodule:: minimistral.{name}\n"
    if name == "lab":
        return text + "\n" + "\n".join(_lab_name(own) for own in module.__all__)
    own = [n for n, value in vars(module).items() if _is_public(n, value, module.__name__)]
    return text + f"   :members: {', '.join(own)}\n\n" if own else text + "\n"


def _lab_name(name: str) -> str:
    """A tool or function of the notebooks, documented where it is defined."""
    value = getattr(lab, name)
    kind = "class" if inspect.isclass(value) else "function"
    return f".. auto{kind}:: {value.__module__}.{name}\n"


def _is_public(name: str, value: object, module: str) -> bool:
    is_code = inspect.isclass(value) or inspect.isfunction(value)
    return is_code and not name.startswith("_") and value.__module__ == module and bool(value.__doc__)


# ---- figures --------------------------------------------------------------------------------------------------------


def figures(source: Path) -> None:
    """The article's nine figures, drawn anew, light and dark, each with its caption and its table."""
    from figures import article_figures
    from figures.article_figure import DRAWN, markdown

    place = source / "_static" / "figures"
    place.mkdir()
    parts = [(HERE / "figures.md").read_text(encoding="utf-8")]
    for figure in article_figures():
        parts.append(f"## Figure {figure.number}: {figure.title}\n")
        parts.append('<div class="figure-scroll">')
        for look in ("light", "dark"):
            name = f"{figure.name}.{look}.svg"
            shutil.copy(DRAWN / name, place)
            parts.append(
                f'<img class="figure-{look}" alt="{escape(figure.alt())}" src="_static/figures/{name}" loading="lazy">'
            )
        parts.append("</div>\n")
        parts.append(f"{{.caption}}\n{figure.caption()}\n")
        parts.append(f"<details><summary>The numbers</summary>\n\n{markdown(figure.table())}\n\n</details>\n")
    (source / "figures.md").write_text("\n".join(parts), encoding="utf-8")
