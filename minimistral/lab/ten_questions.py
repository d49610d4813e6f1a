"""`pretest`: ten questions before the course, and the same ten after it."""

import tomllib
from functools import cache
from html import escape
from pathlib import Path

from minimistral.lab.progress import entry, record
from minimistral.lab.quizzes import Question, parse_questions


@cache
def pretest_questions() -> tuple[Question, ...]:
    entries = tomllib.loads(Path(__file__).with_name("ten_questions.toml").read_text(encoding="utf-8"))["question"]
    return parse_questions("pretest", entries)


class Pretest:
    """The ten questions. Before the course nothing says what is right; after it every option has its note."""

    def __init__(self, after: bool):
        self.after, self.prefix = after, "posttest" if after else "pretest"
        self.questions = pretest_questions()

    def answer(self, number: int, option: str) -> None:
        """Answer question `number` (from 1) without the form; ValueError lists the options."""
        question = self.questions[number - 1]
        if option not in question.options:
            raise ValueError(f"question {number}: {option!r} is not among {', '.join(question.options)}.")
        record("quiz", f"{self.prefix}.q{number}", answer=option, right=option == question.options[question.key])

    def right(self, prefix: str) -> int:
        """How many of the ten were answered rightly so far, of the first time ("pretest") or the second ("posttest")."""
        kept = [entry("quiz", f"{prefix}.q{number}").get("answer") for number in range(1, len(self.questions) + 1)]
        return sum(answer == q.options[q.key] for q, answer in zip(self.questions, kept))

    def __repr__(self) -> str:
        lines = []
        if self.after:
            lines.append(f"Before the course: {self.right('pretest')} of {len(self.questions)} right.")
        for number, question in enumerate(self.questions, 1):
            lines += [f"{number}. {question.text}", *(f"   ( ) {option}" for option in question.options)]
        return "\n".join(lines)

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        from minimistral.lab.form import Form, with_widget

        items, answers = [], {}
        for number, q in enumerate(self.questions, 1):
            id = f"{self.prefix}.q{number}"
            item = {"id": id, "text": f"{number}. {q.text}", "options": q.options}
            items.append(item | ({"notes": q.notes, "key": q.key} if self.after else {}))
            kept = entry("quiz", id).get("answer")
            if kept in q.options:
                answers[id] = q.options.index(kept)
        form = Form(items=items, answers=answers, button="Answer" if self.after else "Commit")
        form.observe(self._keep, "answers")
        page = "".join(self._page(number, q) for number, q in enumerate(self.questions, 1))
        return with_widget(form, page, repr(self))

    def _keep(self, change: dict) -> None:
        for number, question in enumerate(self.questions, 1):
            id = f"{self.prefix}.q{number}"
            chosen = change["new"].get(id)
            if chosen is not None and chosen != change["old"].get(id):
                self.answer(number, question.options[chosen])

    def _page(self, number: int, question: Question) -> str:
        options = "".join(f"<li>{escape(option)}</li>" for option in question.options)
        return f"<p><strong>{number}. {escape(question.text)}</strong></p><ul>{options}</ul>"


def pretest(after: bool = False) -> Pretest:
    """Ten questions about the whole course; after=True asks them again, explains, and counts beside the first time."""
    return Pretest(after)
