"""What a learner has done so far, chapter by chapter: `minimistral progress`, and a panel in a notebook."""

from dataclasses import dataclass

from minimistral.lab.counted import counted
from minimistral.lab.progress import path, read
from minimistral.lab.quizzes import QUESTIONS, questions
from minimistral.lab.registry import all_exercises


@dataclass(frozen=True)
class ChapterProgress:
    """One chapter: how many of its exercises were passed and of its questions answered rightly, and what was tried."""

    chapter: str
    passed: int
    exercises: int
    tries: int
    hints: int  # rungs of the hint ladders that were looked at
    predictions: int
    right: int
    questions: int
    next_exercise: str | None  # the first that was not passed yet


class Overview(list):
    """A list of ChapterProgress. Displayed, a table; printed, lines of text."""

    def __repr__(self) -> str:
        lines = [
            f"chapter {c.chapter}: {c.passed} of {c.exercises} exercises "
            f"({c.tries} {'try' if c.tries == 1 else 'tries'}, {counted(c.hints, 'hint')}), "
            f"{counted(c.predictions, 'prediction')}, {c.right} of {c.questions} questions right"
            + (f"; next: exercise {c.next_exercise}" if c.next_exercise else "; all exercises passed")
            for c in self
        ]
        return "\n".join([*lines, f"kept in {path()}"])

    def _repr_markdown_(self) -> str:
        head = ["| chapter | exercises | tries | hints | predictions | quiz | next |", "|---|---|---|---|---|---|---|"]
        rows = [
            f"| {c.chapter} | {'●' * c.passed}{'○' * (c.exercises - c.passed)} {c.passed} of {c.exercises} | {c.tries} "
            f"| {c.hints} | {c.predictions} | {c.right} of {c.questions} | {c.next_exercise or 'done'} |"
            for c in self
        ]
        return "\n".join([*head, *rows])


def my_progress() -> Overview:
    """Every chapter that has exercises or a quiz, with what is kept about it."""
    kept, known = read(), all_exercises()
    with_quiz = {file.stem for file in QUESTIONS.glob("[0-9][0-9].toml")}  # a mixed review is no chapter
    chapters = sorted({exercise.chapter for exercise in known.values()} | with_quiz)
    return Overview(_chapter(chapter, kept, known, chapter in with_quiz) for chapter in chapters)


def _chapter(chapter: str, kept: dict, known: dict, has_quiz: bool) -> ChapterProgress:
    def entries(section: str) -> dict[str, dict]:
        return {id: e for id, e in kept[section].items() if id.startswith(f"{chapter}.") and isinstance(e, dict)}

    ids = [id for id, exercise in known.items() if exercise.chapter == chapter]
    about = {id: entry for id, entry in entries("exercises").items() if id in ids}
    unfinished = [id for id in ids if not about.get(id, {}).get("passed")]
    asked = questions(chapter) if has_quiz else ()
    answers = entries("quiz")
    return ChapterProgress(
        chapter=chapter,
        passed=len(ids) - len(unfinished),
        exercises=len(ids),
        tries=sum(entry.get("tries", 0) for entry in about.values()),
        hints=sum(entry.get("hints", 0) for entry in about.values()),
        predictions=sum("answer" in entry for entry in entries("predictions").values()),
        right=sum(answers.get(q.id, {}).get("answer") == q.options[q.key] for q in asked),
        questions=len(asked),
        next_exercise=unfinished[0] if unfinished else None,
    )
