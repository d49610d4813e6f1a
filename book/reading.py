"""A chapter's cells as a reader meets them who cannot run them: no traces of a run, hints in place of checks, claims linked."""

import re
import textwrap
from collections.abc import Iterator
from html import escape

import nbformat
from nbformat.v4 import new_markdown_cell

from minimistral.lab.exercise import Exercise
from minimistral.lab.hints import RUNGS, solution_source
from minimistral.lab.registry import find

BAR = re.compile(r"\d+%\|.*\d+/\d+ \[")  # tqdm's bar, as text
UNTRIED = re.compile(r"Exercise (\d\d\.\d+): not attempted yet")
CODE = re.compile(r"`([^`<>]+)`")
ROW = re.compile(r"^\| (C\d\d) \|", re.M)
PATH = re.compile(r"^(#+ .*?) (· (?:core|further)\b.*)$", re.M)
ASKS = re.compile(r'^predict\(\s*"([\w.]+)"')
REVEALS = re.compile(r'\breveal\("([\w.]+)"')
OPTION = re.compile(r"<li>(.*?)</li>", re.S)
RIGHT = re.compile(r"<details>(<summary>(?:(?!</summary>).)*</summary>Yes\.)", re.S)
FOLDED = {"drawing": "The code that draws", "imports": "What this chapter imports", "question": "The cell that asks"}


def cells(cell: nbformat.NotebookNode) -> Iterator[nbformat.NotebookNode]:
    """The cell, and what the book adds below it."""
    if cell.cell_type == "markdown":
        cell.source = ROW.sub(lambda row: f"| [{row[1]}](#claim-{row[1].lower()}) |", cell.source)
        cell.source = PATH.sub(r"\1 [\2]{.path}", cell.source)
    yield cell
    if cell.cell_type != "code":
        return
    untried = [id for output in cell.outputs if (id := untried_exercise(output))]
    cell.outputs = [output for output in cell.outputs if not (is_bar(output) or untried_exercise(output))]
    for output in cell.outputs:
        without_reader(output)
    answerable(cell)
    if kind := folded(cell):
        cell.metadata.setdefault("tags", []).append("hide-input")
        cell.metadata["mystnb"] = {"code_prompt_show": f"▸ {FOLDED[kind]}"}
    for id in untried:
        yield new_markdown_cell(hints(find(id)))


def is_bar(output: nbformat.NotebookNode) -> bool:
    """Whether the output is what a progress bar left behind: its text, or of a course's own bar nothing at all."""
    return bool(BAR.search(plain(output))) or not any(output.get("data", {"": True}).values())


def untried_exercise(output: nbformat.NotebookNode) -> str | None:
    """The exercise that a check without an answer names; None for any other output."""
    found = UNTRIED.fullmatch(plain(output).strip())
    return found[1] if found else None


def plain(output: nbformat.NotebookNode) -> str:
    return output.get("text") or output.get("data", {}).get("text/plain", "")


def without_reader(output: nbformat.NotebookNode) -> None:
    """Takes out what is said to somebody who runs the cell and has answered nothing; code in a caption looks like code."""
    data = output.get("data", output)
    for kind in ("text", "text/plain", "text/markdown", "text/html"):
        if isinstance(data.get(kind), str):
            data[kind] = data[kind].replace(" (You made no prediction.)", "")
    if "<figcaption" in data.get("text/html", ""):
        head, mark, caption = data["text/html"].partition("<figcaption")
        data["text/html"] = head + mark + CODE.sub(r"<code>\1</code>", caption)


def answerable(cell: nbformat.NotebookNode) -> None:
    """Predictions and quizzes that answer without Python (`_static/page.js`)."""
    for output in cell.outputs:
        data = output.get("data", {})
        if asked := ASKS.match(cell.source):
            data["text/html"] = prediction(asked[1], data["text/html"])
        elif (revealed := REVEALS.search(cell.source)) and plain(output).startswith("Measured: "):
            data["text/html"] = (
                f'<p class="revealed" data-prediction="{revealed[1]}"><span></span>{escape(plain(output))}</p>'
            )
        elif cell.source.startswith("quiz("):
            quiz = RIGHT.sub(r'<details class="right">\1', data["text/html"])
            data["text/html"] = f'<div class="quiz">{quiz}<button type="button">Close all answers</button></div>'


def prediction(id: str, still: str) -> str:
    """The fields in which a reader commits to one of the options that `still` lists."""
    options = "".join(
        f'<label><input type="radio" name="{id}" value="{value.replace(chr(34), "&quot;")}"> {value}</label>'
        for value in OPTION.findall(still)
    )
    question = still.partition("<ul>")[0].replace("<p>", "<legend>").replace("</p>", "</legend>")
    return (
        f'<fieldset class="prediction" data-prediction="{id}">{question}{options}'
        '<button type="button">Commit</button> <output></output></fieldset>'
    )


def folded(cell: nbformat.NotebookNode) -> str | None:
    """Why a reader who cannot run the cell needs its code only on demand (a key of FOLDED); None where it is to be read."""
    if is_drawing(cell):
        return "drawing"
    if cell.source.startswith(("import ", "from ")) and "set_num_threads" in cell.source and not cell.outputs:
        return "imports"
    return "question" if cell.source.startswith(("predict(", "quiz(")) else None


def is_drawing(cell: nbformat.NotebookNode) -> bool:
    """Whether the cell's code only draws: then the picture is what a reader came for."""
    pictures = any("image/png" in output.get("data", {}) or "<img" in html(output) for output in cell.outputs)
    defined = cell.source.startswith("def draw") and not cell.outputs
    return (pictures or defined) and "theme.figure(" in cell.source


def html(output: nbformat.NotebookNode) -> str:
    return output.get("data", {}).get("text/html", "")


def hints(exercise: Exercise) -> str:
    """The four steps that `hint` gives one at a time, each folded."""
    bodies = (
        exercise.nudge,
        exercise.shapes,
        f"```python\n{textwrap.dedent(exercise.skeleton).strip()}\n```",
        f"```python\n{solution_source(exercise)}\n```\n\n{textwrap.dedent(exercise.explanation).strip()}",
    )
    return "\n\n".join(
        f'<details class="hint"><summary>Stuck? Hint {number}: {name}</summary>\n\n{textwrap.dedent(body).strip()}\n\n</details>'
        for number, (name, body) in enumerate(zip(RUNGS, bodies, strict=True), start=1)
    )
