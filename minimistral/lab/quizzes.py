"""`quiz`: a chapter's questions, with an explanation for every option."""

import tomllib
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

from minimistral.lab.progress import entry, record

QUESTIONS = Path(__file__).parent / "questions"


@dataclass(frozen=True)
class Question:
    """One question; options and their notes stand in the same order, key is the right option's index."""

    id: str  # "05.q1"
    text: str
    options: tuple[str, ...]
    notes: tuple[str, ...]
    key: int
    returns_to: str | None = None  # the earlier chapter that it comes back to


@cache
def questions(chapter: str) -> tuple[Question, ...]:
    """The questions of a chapter, from questions/CHAPTER.toml; ValueError for a chapter without."""
    path = QUESTIONS / f"{chapter}.toml"
    if not path.exists():
        there = ", ".join(sorted(file.stem for file in QUESTIONS.glob("*.toml")))
        raise ValueError(f"there is no quiz for chapter {chapter!r}. There is one for: {there}.")
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["question"]
    return parse_questions(chapter, entries)


def parse_questions(chapter: str, entries: list[dict]) -> tuple[Question, ...]:
    """Questions as they stand in a file, with ids such as "05.q1"; ValueError where not exactly one option is right."""
    return tuple(_question(chapter, number, entry) for number, entry in enumerate(entries, 1))


def _question(chapter: str, number: int, entry: dict) -> Question:
    options = entry["options"]
    keys = [index for index, option in enumerate(options) if option.get("right")]
    if len(keys) != 1:
        raise ValueError(f"question {number} of chapter {chapter} has {len(keys)} right options; mark exactly one.")
    return Question(
        id=f"{chapter}.q{number}",
        text=entry["text"],
        options=tuple(option["text"] for option in options),
        notes=tuple(option["note"] for option in options),
        key=keys[0],
        returns_to=entry.get("returns_to"),
    )


class Quiz:
    """A chapter's questions. Displayed, a form; without a kernel, a page whose explanations unfold."""

    def __init__(self, chapter: str):
        self.chapter, self.questions = chapter, questions(chapter)

    def __repr__(self) -> str:
        lines = []
        for number, question in enumerate(self.questions, 1):
            lines += [f"{number}. {question.text}", *(f"   ( ) {option}" for option in question.options)]
        return "\n".join(lines)

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        from minimistral.lab.form import Form, with_widget

        items = [
            {"id": q.id, "text": f"{number}. {q.text}", "options": q.options, "notes": q.notes, "key": q.key}
            for number, q in enumerate(self.questions, 1)
        ]
        kept = {q.id: entry("quiz", q.id).get("answer") for q in self.questions}
        answers = {q.id: q.options.index(kept[q.id]) for q in self.questions if kept[q.id] in q.options}
        form = Form(items=items, answers=answers, button="Answer")
        form.observe(self._keep, "answers")
        return with_widget(form, "".join(_page(n, q) for n, q in enumerate(self.questions, 1)), repr(self))

    def _keep(self, change: dict) -> None:
        for question in self.questions:
            chosen = change["new"].get(question.id)
            if chosen is not None and chosen != change["old"].get(question.id):
                record("quiz", question.id, answer=question.options[chosen], right=chosen == question.key)


def quiz(chapter: str) -> Quiz:
    """The questions at the end of a chapter, such as quiz("05")."""
    return Quiz(chapter)


def _page(number: int, question: Question) -> str:
    options = ""
    for index, (option, note) in enumerate(zip(question.options, question.notes)):
        verdict = "Yes." if index == question.key else "Not quite."
        options += f"<li><details><summary>{escape(option)}</summary>{verdict} {escape(note)}</details></li>"
    return f"<p><strong>{number}. {escape(question.text)}</strong></p><ul>{options}</ul>"
