"""`predict` asks before the measurement, `reveal` shows the prediction beside the result and asks why."""

from html import escape

from minimistral.lab.progress import entry, record


class Prediction:
    """A question to commit to. Displayed, it is a form; the answer is kept in the learner's progress."""

    def __init__(self, id: str, question: str, options: list[str]):
        self.id, self.question, self.options = id, question, [str(option) for option in options]
        if len(self.options) < 2:
            raise ValueError(f"prediction {id}: give at least two options to choose from.")

    def answer(self, option: str) -> None:
        """Commit to an option without the form, by its text."""
        if str(option) not in self.options:
            raise ValueError(f"prediction {self.id}: {option!r} is not among {', '.join(self.options)}.")
        record("predictions", self.id, answer=str(option))

    def __repr__(self) -> str:
        return "\n".join([f"Predict: {self.question}", *(f"  ( ) {option}" for option in self.options)])

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        from minimistral.lab.form import Form, with_widget

        form = Form(items=[{"id": self.id, "text": self.question, "options": self.options}], button="Commit")
        earlier = entry("predictions", self.id).get("answer")
        if earlier in self.options:
            form.answers = {self.id: self.options.index(earlier)}
        form.observe(lambda change: self.answer(self.options[change["new"][self.id]]), "answers")
        options = "".join(f"<li>{escape(option)}</li>" for option in self.options)
        html = f"<p><strong>Predict:</strong> {escape(self.question)}</p><ul>{options}</ul>"
        return with_widget(form, html, repr(self))


def predict(id: str, question: str, options: list[str]) -> Prediction:
    """Ask for a prediction; `predict(...).answer("13")` commits without the form."""
    return Prediction(id, question, options)


class Reveal:
    """What was predicted beside what was measured."""

    def __init__(self, id: str, measured: object, why: str | None):
        self.id, self.measured = id, str(measured)
        if why is not None:
            record("predictions", id, why=str(why))
        kept = entry("predictions", id)
        self.predicted, self.why = kept.get("answer"), kept.get("why")

    def __repr__(self) -> str:
        if self.predicted is None:
            return f"Measured: {self.measured}. (You made no prediction.)"
        lines = [f"You predicted {self.predicted}. Measured: {self.measured}."]
        if self.why:
            lines.append(f"Your sentence: {self.why}")
        else:
            lines.append(f'Why? One sentence in your own words: reveal("{self.id}", {self.measured!r}, why="…")')
        return "\n".join(lines)


def reveal(id: str, measured: object, why: str | None = None) -> Reveal:
    """Show the prediction of this id beside the measured value; `why` keeps one sentence of explanation."""
    return Reveal(id, measured, why)
