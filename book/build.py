"""Builds the book: the committed chapters with their outputs, live tools, and pages computed from the project's own tables.

    python book/build.py [--repository https://github.com/OWNER/NAME] [--output build/book]

With the address of a public repository each chapter also gets buttons that open it in Colab and on Binder.
Nothing is executed and nothing fetched: it works without a network, and takes under a minute.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from book import emblems, pages, reading  # noqa: E402
from book.live import live_html, tool_of, write_module  # noqa: E402

GITHUB = re.compile(r"(?:https://github\.com/|git@github\.com:)([\w.-]+)/([\w.-]+?)(?:\.git)?/?$")


def build(output: Path, repository: str | None = None) -> None:
    """The site in `output`/html; SystemExit with Sphinx's status where that fails."""
    source = output / "source"
    shutil.rmtree(source, ignore_errors=True)
    (source / "chapters").mkdir(parents=True)
    shutil.copytree(HERE / "_static", source / "_static")
    (source / "_static" / "tools").mkdir()
    shutil.copy(HERE / "conf.py", source)
    for path in sorted((ROOT / "chapters").glob("*.ipynb")):
        chapter = prepare(path, source / "_static" / "tools", repository)
        nbformat.write(chapter, source / "chapters" / path.name)
    pages.write_all(source)
    environment = {**os.environ, "BOOK_REPOSITORY": repository or ""}
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-d", str(output / "doctrees")]
    status = subprocess.run([*command, str(source), str(output / "html")], env=environment, check=False).returncode
    if status:
        raise SystemExit(status)


def prepare(path: Path, modules: Path, repository: str | None) -> nbformat.NotebookNode:
    """A chapter as the book shows it: tools alive, links to files of the project leading to the book's pages."""
    notebook = nbformat.read(path, 4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](README.md)", "](../index.md)")
            cell.source = re.sub(
                r"\]\(\.\./minimistral/pretrained/([\w-]+)/README\.md\)", r"](../models/\1.md)", cell.source
            )
        elif (tool := tool_of(cell.source)) is not None:
            wake(cell, tool, modules)
    notebook.cells = [shown for cell in notebook.cells for shown in reading.cells(cell)]
    title = next(cell for cell in notebook.cells if cell.cell_type == "markdown")
    heading, _, rest = title.source.partition("\n")
    rest = rest.replace("\n**", "\n{.question}\n**", 1)  # the chapter's one question stands first, and large
    rest = rest.replace("\n| | |\n", "\n{.facts}\n| | |\n", 1)
    opening = f'<div class="opening">{emblems.emblem(path.stem[:2])}</div>'
    title.source = f"{heading}\n\n{opening}\n{rest}\n\n{launch_line(path.name, repository)}"
    return notebook


def wake(cell: nbformat.NotebookNode, tool, modules: Path) -> None:
    for output in cell.outputs:
        data = output.get("data", {})
        if "text/html" in data:
            data["text/html"] = live_html(tool, data["text/html"], write_module(tool, modules))


def launch_line(name: str, repository: str | None) -> str:
    """Where to open a chapter so that its cells run. Without a public address: on the reader's own machine."""
    at_home = f"The cells are run already. To change them: `make lab`, then `{name}`"
    found = GITHUB.match(repository or "")
    if not found:
        return f"{{.launch}}\n{at_home}."
    owner, project = found.groups()
    colab = f"https://colab.research.google.com/github/{owner}/{project}/blob/main/chapters/{name}"
    binder = f"https://mybinder.org/v2/gh/{owner}/{project}/main?labpath=chapters%2F{name}"
    return f"{{.launch}}\n{at_home}; or in the browser: [open in Colab]({colab}) · [open on Binder]({binder})."


def origin() -> str | None:
    """The public address of this clone, where it has one on GitHub."""
    command = ["git", "-C", str(ROOT), "remote", "get-url", "origin"]
    found = GITHUB.match(subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip())
    return f"https://github.com/{found[1]}/{found[2]}" if found else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", default=origin(), help="where readers find the notebooks, on GitHub")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "book")
    options = parser.parse_args()
    if options.repository and not GITHUB.match(options.repository):
        parser.error(f"--repository {options.repository}: give an address such as https://github.com/OWNER/NAME.")
    build(options.output.resolve(), options.repository)
    print(f"The book: {options.output.resolve() / 'html' / 'index.html'}")


if __name__ == "__main__":
    main()
