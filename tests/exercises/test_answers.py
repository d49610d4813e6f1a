"""Every exercise against answers as people write them: right in other words, and wrong in the usual ways.

`answers/a05_1.py` belongs to exercise 05.1: RIGHT is a list of functions, WRONG maps a mistake's name to a list of functions.
"""

import random
import runpy
from pathlib import Path

import pytest

from minimistral.lab.checking import examine, not_attempted
from minimistral.lab.hints import solution_source
from minimistral.lab.registry import all_exercises


def answers_in(path: Path) -> dict:
    """RIGHT and WRONG of a file; TypeError where they are not made of lists of functions."""
    found = runpy.run_path(str(path))
    for name, answers in [("RIGHT", found["RIGHT"]), *((f"WRONG[{name!r}]", a) for name, a in found["WRONG"].items())]:
        if not isinstance(answers, list) or not answers or not all(map(callable, answers)):
            raise TypeError(
                f"{path.name}: {name} has to be a list of functions, [one] or [one, another], not {answers!r}"
            )
    return found


EXERCISES = all_exercises()
FILES = {path.stem[1:].replace("_", "."): path for path in Path(__file__).parent.glob("answers/a*.py")}
ANSWERS = {id: answers_in(path) for id, path in FILES.items()}
RIGHT = [(id, answer) for id, found in ANSWERS.items() for answer in found["RIGHT"]]
WRONG = [
    (id, name, answer)
    for id, found in ANSWERS.items()
    for name, answers in found["WRONG"].items()
    for answer in answers
]
EACH = pytest.mark.parametrize("exercise", EXERCISES.values(), ids=lambda exercise: exercise.id)
DRAWS = range(4)


def label(value):
    return value if isinstance(value, str) else value.__name__


def test_every_exercise_has_answers_and_every_answer_an_exercise():
    assert ANSWERS.keys() == EXERCISES.keys()


@EACH
def test_the_solution_passes(exercise):
    for seed in range(20):
        result = examine(exercise, exercise.solution, random.Random(seed))
        assert result.passed and result.mistake is None, result.message


@pytest.mark.parametrize(("id", "answer"), RIGHT, ids=label)
def test_other_right_answers_pass(id, answer):
    for seed in DRAWS:
        result = examine(EXERCISES[id], answer, random.Random(seed))
        assert result.passed, result.message


@pytest.mark.parametrize(("id", "mistake", "answer"), WRONG, ids=label)
def test_a_usual_mistake_gets_its_own_hint(id, mistake, answer):
    for seed in DRAWS:
        result = examine(EXERCISES[id], answer, random.Random(seed))
        assert not result.passed and result.mistake == mistake, result.message
        hints = [known.hint for known in EXERCISES[id].mistakes if known.name == mistake]
        assert any(hint in result.message for hint in hints)
        assert "Given:" in result.message and "Expected:" in result.message


@EACH
def test_there_are_enough_answers(exercise):
    found = ANSWERS[exercise.id]
    assert len(found["RIGHT"]) >= 2 and len(found["WRONG"]) >= 4
    assert set(found["WRONG"]) <= {mistake.name for mistake in exercise.mistakes}


@EACH
def test_each_known_mistake_is_told_from_the_others(exercise):
    """The mistake's own function comes out under its own name, in every draw."""
    for mistake in exercise.mistakes:
        if mistake.wrong is not None and mistake.wrong is not exercise.given:
            for seed in DRAWS:
                result = examine(exercise, mistake.wrong, random.Random(seed))
                assert not result.passed and result.mistake == mistake.name, (mistake.name, result.message)


@EACH
def test_inputs_are_drawn_anew(exercise):
    drawn = {str(exercise.cases(random.Random(seed))) for seed in range(6)}
    assert len(drawn) > 1


@EACH
def test_half_precision_arithmetic_still_passes(exercise):
    """An answer as far off as a GPU's or an Apple machine's matrix product is still right."""
    import torch

    def rounded(*inputs):
        value = exercise.solution(*inputs)
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            return value * (1 + 3e-4) + 3e-4
        return value

    assert examine(exercise, rounded, random.Random(0)).passed


@EACH
def test_the_chapters_stub_counts_as_not_attempted(exercise):
    def stub(*inputs): ...

    def raises(*inputs):
        raise NotImplementedError

    for answer in (stub, raises, *([exercise.given] if exercise.given else [])):
        assert examine(exercise, answer, random.Random(0)).message == not_attempted(exercise.id)


@EACH
def test_the_ladder_never_gives_the_solution_before_its_last_step(exercise):
    steps = {line.strip() for line in solution_source(exercise).splitlines() if "return" in line}
    earlier = "\n".join([exercise.nudge, exercise.shapes, exercise.skeleton])
    assert not any(line in earlier for line in steps)
    assert "____" in exercise.skeleton
    assert all([exercise.title, exercise.nudge.strip(), exercise.shapes.strip(), exercise.explanation.strip()])
    assert 1 <= exercise.difficulty <= 3 and exercise.minutes > 0
