"""The form of a chapter's code: as the script writes it, no solution given away, every letter of a shape explained."""

import ast
import inspect
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import nbformat
import pytest

from minimistral.lab.hints import solution_source
from minimistral.lab.quizzes import QUESTIONS
from minimistral.lab.registry import all_exercises

ROOT = Path(__file__).parents[2]
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
NOTEBOOKS = {path.stem[:2]: nbformat.read(path, 4) for path in CHAPTERS}
EXERCISES = {id: exercise for id, exercise in all_exercises().items() if exercise.chapter in NOTEBOOKS}
LETTERS = "BTSCHGDFEKNVWL"
TELLING = 25  # characters; shorter statements are anybody's


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def chapter(path):
    return NOTEBOOKS[path.stem[:2]]


def code(chapter):
    return [cell for cell in chapter.cells if cell.cell_type == "code"]


def statements(source: str) -> set[str]:
    """The simple statements of some code, all written in one way: no comments, no layout, no docstrings."""
    try:
        tree = ast.parse(textwrap.dedent(source))
    except SyntaxError:  # a cell with %magic
        return set()
    simple = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Expr)
    found = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, simple)}
    return {text for text in found if not text.startswith(("'", '"'))}


def functions(source: str) -> set[str]:
    """The bodies of the functions in some code, with the names of their variables taken away."""
    try:
        tree = ast.parse(textwrap.dedent(source))
    except SyntaxError:
        return set()
    return {nameless(node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def nameless(function: ast.FunctionDef) -> str:
    names: dict[str, str] = {argument.arg: f"v{n}" for n, argument in enumerate(function.args.args)}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.setdefault(node.id, f"v{len(names)}")
    lines = function.body[1:] if ast.get_docstring(function) else function.body
    body = ast.parse("\n".join(ast.unparse(line) for line in lines))
    for node in ast.walk(body):
        if isinstance(node, ast.Name):
            node.id = names.get(node.id, node.id)
    return ast.unparse(body)


def test_the_notebook_is_as_the_script_writes_it(path, chapter):
    """Ids from what the cells say, nothing in the metadata but tags and roles, formatted."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import notebooks as script
    finally:
        sys.path.pop(0)
    copy = nbformat.read(path, 4)
    script.name_cells(copy)
    assert [cell.id for cell in copy.cells] == [cell.id for cell in chapter.cells], "edited by hand? run the script"
    assert set(chapter.metadata) == {"kernelspec", "language_info"}
    for cell in chapter.cells:
        assert set(cell.metadata) <= {"tags", "minimistral"}, cell.metadata
    formatted = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--check", str(path)], capture_output=True, text=True
    )
    assert formatted.returncode == 0, formatted.stdout + formatted.stderr


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=lambda exercise: exercise.id)
def test_no_solution_stands_in_its_own_or_an_earlier_chapter(exercise):
    solution = statements(solution_source(exercise))
    bug = inspect.getsource(exercise.given) if exercise.given else ""  # of a bug hunt, most lines are given
    new = {text for text in solution - statements(bug) if len(text) > TELLING}
    whole = functions(solution_source(exercise)) - functions(bug)
    for number, chapter in NOTEBOOKS.items():
        if number > exercise.chapter:
            continue
        for cell in code(chapter):
            first = f"chapter {number}: {cell.source.splitlines()[0]}"
            assert solution <= statements(bug) or not solution <= statements(cell.source), (
                f"all of {exercise.id} in {first}"
            )
            assert not whole & functions(cell.source), f"{exercise.id}, other names, in {first}"
            if cell.metadata.get("minimistral") == {"exercise": exercise.id, "role": "answer"}:
                assert not new & statements(cell.source), f"a line of {exercise.id} in {first}"
        prose = " ".join("\n".join(cell.source for cell in chapter.cells if cell.cell_type == "markdown").split())
        assert not [text for text in new if text in prose], f"a line of {exercise.id} in the text of chapter {number}"


def test_every_exercise_of_the_chapter_is_in_it(path, chapter):
    number = path.stem[:2]
    asked = {cell.metadata["minimistral"]["exercise"] for cell in code(chapter) if "minimistral" in cell.metadata}
    assert asked == {id for id, exercise in EXERCISES.items() if exercise.chapter == number}
    headings = "\n".join(cell.source for cell in chapter.cells if cell.cell_type == "markdown")
    for id in asked:
        exercise = EXERCISES[id]
        [marks] = re.findall(rf"^### Exercise {id} .*· (?:core|further), (.*)$", headings, re.MULTILINE)
        assert marks == f"difficulty {exercise.difficulty}, {exercise.minutes} min", id


def test_every_prediction_is_revealed_and_the_quiz_is_asked(path, chapter):
    asked, revealed = (
        set(re.findall(rf"\b{name}\(\s*\"([^\"]+)\"", "\n".join(cell.source for cell in code(chapter))))
        for name in ("predict", "reveal")
    )
    assert asked and asked == revealed
    if (QUESTIONS / f"{path.stem[:2]}.toml").exists():
        assert any(f'quiz("{path.stem[:2]}")' in cell.source for cell in code(chapter))


def legend(chapter) -> set[str]:
    """The letters in `# Letters for shapes: T query tokens, S key tokens, …`, which stands in the first code cell."""
    text = next(cell.source for cell in code(chapter) if "Letters for shapes" in cell.source)
    return set(re.findall(r"\b([A-Z])(?=,? (?:and|[a-z(]))", text.split("Letters for shapes")[1]))


def test_every_letter_of_a_shape_is_explained(path, chapter):
    """By the chapter's legend or an earlier one's, or in words before or where it first stands."""
    explained = set().union(*(legend(other) for number, other in NOTEBOOKS.items() if number <= path.stem[:2]))
    assert legend(chapter)
    for cell in chapter.cells:
        said = cell.source if cell.cell_type == "markdown" else " ".join(re.findall("#.*", cell.source))
        explained |= set(re.findall(r"\b([A-Z])[`$*]* (?:is|are|for|the|=|[a-z]+s\b|[a-z]+ (?:of|dim))", said))
        for shape in re.findall(r"\(((?:[A-Z0-9]+, ?)+[A-Z0-9]*)\)", said):
            for letter in re.findall(r"\b[A-Z]\b", shape):
                assert letter in LETTERS, f"({shape}): {letter} is none of the course's letters {LETTERS}"
                assert letter in explained, f"({shape}): what is {letter}?"
