"""`check`: tries a learner's function on fresh inputs and says what it found."""

import ast
import dis
import inspect
import random
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape

import torch

from minimistral.lab import describe
from minimistral.lab.compare import difference
from minimistral.lab.exercise import Exercise, Mistake
from minimistral.lab.progress import record
from minimistral.lab.registry import find
from minimistral.lab.safely import Outcome, run_safely

EMPTY_BODY = {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST", "CACHE", "POP_TOP", "COPY_FREE_VARS"}


@dataclass(frozen=True)
class Result:
    """What a check found. Displayed, it shows its message.

    mistake names what was recognised: one of the exercise's own mistakes, or "raises", "never-ends",
    "changes-its-inputs", "wrong-type", "wrong-shape", "not-a-number"; None where it passed or is just wrong.
    """

    exercise: str
    passed: bool
    mistake: str | None
    message: str
    details: str = field(default="", repr=False)

    def __repr__(self) -> str:
        return self.message

    def _repr_html_(self) -> str:
        colour = "#00664b" if self.passed else "#8a3b00"
        if self.message == not_attempted(self.exercise):
            colour = "#555555"
        return (
            f'<div role="status" style="border-left: 4px solid {colour}; padding: 0.3em 0.8em; '
            f'white-space: pre-wrap; font-family: var(--jp-code-font-family, monospace)">{escape(self.message)}</div>'
        )


def check(id: str, answer: Callable) -> Result:
    """Try `answer` on freshly drawn inputs: passed or not, the mistake if it is a known one, and what to look at next.

    Raises ValueError for an id that does not exist; whatever the learner's function does becomes part of the result.
    """
    exercise = find(id)
    if not callable(answer):
        message = (
            f'Exercise {id}: give the function itself, as in check("{id}", my_function), not {describe.short(answer)}.'
        )
        return Result(id, False, "wrong-type", message)
    result = examine(exercise, answer, random.Random())
    if result.message != not_attempted(id):
        record("exercises", id, passed=result.passed, mistake=result.mistake)
    return result


def not_attempted(id: str) -> str:
    return f"Exercise {id}: not attempted yet"


def examine(exercise: Exercise, answer: Callable, draw: random.Random) -> Result:
    """The check itself, without keeping it in the learner's progress."""
    cases = exercise.cases(draw)
    outcomes = run_safely(answer, cases, exercise.seconds)
    if is_untouched(exercise, answer, outcomes):
        return Result(exercise.id, False, None, not_attempted(exercise.id))
    for solution in (*exercise.also_right, exercise.solution):  # the chapter's own last: mistakes are told by it
        expected = [solution(*inputs) for inputs in cases]
        verdicts = [_verdict(exercise, *trio) for trio in zip(cases, outcomes, expected)]
        if len(outcomes) == len(cases) and not any(verdicts):
            return Result(exercise.id, True, None, _praise(exercise, len(cases)))
    first = next(i for i, verdict in enumerate(verdicts) if verdict)
    mistake = next((m for m in exercise.mistakes if recognised(exercise, m, cases, outcomes, expected)), None)
    if mistake:
        first = next((i for i, v in enumerate(verdicts) if v == "values"), first)
    return _report(exercise, cases[first], outcomes[first], expected[first], verdicts[first], mistake)


def is_untouched(exercise: Exercise, answer: Callable, outcomes: list[Outcome]) -> bool:
    """Whether the cell is as the chapter gave it: the given code, or a stub that returns nothing, ... or an error that says so."""
    if exercise.given and same_code(answer, exercise.given):
        return True
    if not outcomes or not outcomes[0].ended:
        return False
    if isinstance(outcomes[0].error, NotImplementedError) or outcomes[0].value is Ellipsis:
        return True
    code = getattr(answer, "__code__", None)
    if outcomes[0].error or outcomes[0].value is not None or code is None:
        return False
    return {instruction.opname for instruction in dis.get_instructions(code)} <= EMPTY_BODY


def same_code(one: Callable, other: Callable) -> bool:
    """Whether two functions have the same lines, whatever their names, annotations, docstrings and comments."""
    try:
        return _body(one) == _body(other)
    except (OSError, TypeError, SyntaxError, AttributeError):  # no source, or no function
        return False


def _body(function: Callable) -> str:
    definition = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    lines = definition.body[1:] if ast.get_docstring(definition) else definition.body
    return ast.dump(ast.Module([*lines], []))


def recognised(
    exercise: Exercise, mistake: Mistake, cases: list[tuple], outcomes: list[Outcome], expected: list
) -> bool:
    """Whether this mistake explains every value that the learner's function gave."""
    trios = [trio for trio in zip(cases, outcomes, expected) if trio[1].ended and trio[1].error is None]
    if mistake.seen and any(_seen(mistake, inputs, outcome.value, right) for inputs, outcome, right in trios):
        return True
    if mistake.wrong is None or not trios:
        return False
    wrongs = run_safely(mistake.wrong, [inputs for inputs, _, _ in trios], exercise.seconds)
    told_apart = False
    for wrong, (_, outcome, right) in zip(wrongs, trios):
        if wrong.error is not None or difference(outcome.value, wrong.value, exercise.rtol, exercise.atol):
            return False
        told_apart |= difference(outcome.value, right, exercise.rtol, exercise.atol) is not None
    return told_apart


def _seen(mistake: Mistake, inputs: tuple, got: object, right: object) -> bool:
    try:
        return bool(mistake.seen(inputs, got, right))
    except Exception:  # the learner's value is of a kind that this mistake knows nothing about
        return False


def _verdict(exercise: Exercise, inputs: tuple, outcome: Outcome, expected: object) -> str | None:
    if not outcome.ended:
        return "never-ends"
    if outcome.error is not None:
        return "raises"
    if difference(outcome.inputs, inputs, 0, 0):
        return "changes-its-inputs"
    kind = difference(outcome.value, expected, exercise.rtol, exercise.atol)
    return {"type": "wrong-type", "shape": "wrong-shape", "nan": "not-a-number"}.get(kind, kind)


def _praise(exercise: Exercise, n_cases: int) -> str:
    message = f"✓ Exercise {exercise.id}: right on all {n_cases} inputs, drawn anew for this check."
    return f"{message}\n{exercise.report}" if exercise.report else message


def _report(
    exercise: Exercise, inputs: tuple, outcome: Outcome, expected: object, verdict: str, mistake: Mistake | None
) -> Result:
    advice = mistake.hint if mistake else _advice(exercise, outcome, expected, verdict)
    lines = [f"✗ Exercise {exercise.id}: not yet.", f"Given: {describe.given(exercise.solution, inputs)}"]
    if outcome.ended and outcome.error is None:
        lines += ["Your function gave:", describe.shown(outcome.value)]
        if verdict != "changes-its-inputs":
            lines += ["Expected:", describe.shown(expected)]
        if verdict == "values":
            lines += filter(None, [describe.where_it_differs(outcome.value, expected)])
    if outcome.printed.strip():
        lines += [f"It printed: {outcome.printed.strip()[:300]}"]
    lines += ["", advice, f'Stuck? hint("{exercise.id}") gives one step at a time.']
    name = mistake.name if mistake else None if verdict == "values" else verdict
    return Result(exercise.id, False, name, "\n".join(lines))


def _advice(exercise: Exercise, outcome: Outcome, expected: object, verdict: str) -> str:
    if verdict == "never-ends":
        advice = (
            f"It did not finish within {exercise.seconds:g} seconds. Is there a loop whose condition never turns false?"
        )
        if outcome.still_running:
            advice += " It could not be stopped (a sleep?) and still runs: restart the kernel before you go on."
        return advice
    if verdict == "raises":
        return f"It stopped with {_where(outcome.error)}{type(outcome.error).__name__}: {_message(outcome.error)}"
    if verdict == "changes-its-inputs":
        return "The result may be right, but the function changed its own inputs. Work on a copy: x = x.clone()"
    if verdict == "wrong-type":
        return _about_the_type(outcome.value, expected)
    if verdict == "wrong-shape":
        return "The shape differs. Write the shape of each step beside its line, as the chapter does."
    if verdict == "not-a-number":
        return "There are NaN values (not a number): somewhere 0/0, inf - inf, or a softmax over nothing but minus infinity."
    if describe.only_one_is_infinite(outcome.value, expected):
        return "There are infinite values: somewhere a division by 0, a logarithm of 0, or a -inf that should have been hidden."
    if describe.is_text(expected):
        return "It is another text than the one expected. Take the case above, and go through it by hand."
    return "The shape is right and the numbers are not. Take the smallest case, and do it on paper."


def _about_the_type(value: object, expected: object) -> str:
    if inspect.isgenerator(value):
        return (
            "This is a generator, which has computed nothing yet: write return where it says yield, or collect a list."
        )
    if inspect.iscoroutine(value):
        value.close()  # else Python warns that nobody waited for it
        return "This is a coroutine, which has computed nothing yet: write def, not async def."
    if isinstance(value, torch.Tensor) and isinstance(expected, torch.Tensor):
        if value.is_meta:
            return "This tensor is on the device meta: it has a shape and no numbers."
        kinds = ["complex" if tensor.is_complex() else "real" for tensor in (expected, value)]
        return f"The answer has {kinds[0]} numbers, and this has {kinds[1]} ones."
    question = " Is there a return?" if value is None else ""
    return f"The answer is a {type(expected).__name__}, and this is a {type(value).__name__}.{question}"


def _message(error: BaseException) -> str:
    try:
        return str(error)[:300]
    except Exception:  # a class of the learner's own
        return "(it cannot be shown)"


def _where(error: BaseException) -> str:
    """`line 3 of my_mask, `: the last place in the learner's own file or cell, where what they called went wrong."""
    places, trace = [], error.__traceback__
    while trace:
        places.append((trace.tb_frame.f_code, trace.tb_lineno))
        trace = trace.tb_next
    own = [(code, line) for code, line in places[1:] if code.co_filename == places[1][0].co_filename]
    if not own:
        return ""
    code, line = own[-1]
    return f"line {line - code.co_firstlineno + 1} of {code.co_name}, "
