"""What happens to learners by accident, and what check says then."""

import random
import sys
import threading
import time

import pytest
import torch

from minimistral.lab import check, exercises, hint
from minimistral.lab.checking import examine
from minimistral.lab.exercise import Exercise, normal
from minimistral.lab.progress import entry


@pytest.fixture(autouse=True)
def progress(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIMISTRAL_PROGRESS", str(tmp_path))


def doubled(x):
    return 2 * x


DOUBLE = Exercise(
    id="99.1", title="Double", minutes=1, difficulty=1, cases=lambda draw: [(normal(draw, 2, 3),), (normal(draw, 4),)],
    solution=doubled, mistakes=(), nudge="", shapes="", skeleton="", explanation="", seconds=0.5,
)  # fmt: skip


def examined(answer, exercise=DOUBLE):
    return examine(exercise, answer, random.Random(0))


def test_an_exception_names_its_line_and_its_message():
    def answer(x):
        y = x + 1
        return y.no_such_method()

    result = examined(answer)
    assert (result.passed, result.mistake) == (False, "raises")
    assert "line 3 of answer, AttributeError" in result.message and "no_such_method" in result.message


def test_an_exception_inside_torch_points_at_the_learners_own_line():
    def answer(x):
        return torch.cat([x, x[0]]).reshape(7, 7)

    assert "line 2 of answer, RuntimeError" in examined(answer).message


def test_wrong_parameters_are_an_error_like_any_other():
    assert "TypeError" in examined(lambda: 1).message


def test_exit_and_recursion_are_survived():
    def forever(x):
        return forever(x)

    assert examined(lambda x: sys.exit(3)).mistake == "raises"
    assert "RecursionError" in examined(forever).message


@pytest.mark.parametrize("body", ["while True: pass", "while True: print('x' * 1000)", "while True: x = x + 0"])
def test_an_endless_loop_is_stopped(body):
    space = {}
    exec(f"def answer(x):\n    {body}", space)
    threads, started = threading.active_count(), time.perf_counter()
    result = examined(space["answer"])
    assert result.mistake == "never-ends" and "0.5 seconds" in result.message
    assert time.perf_counter() - started < 4
    assert threading.active_count() == threads
    assert sys.stdout is not None and "ByThread" not in type(sys.stdout).__name__


def test_a_loop_that_swallows_exceptions_is_stopped_too():
    def answer(x):
        while True:
            try:  # noqa: SIM105
                x = x + 0
            except:  # noqa: E722 - what a learner may write
                pass

    threads = threading.active_count()
    assert examined(answer).mistake == "never-ends"
    assert threading.active_count() == threads


def test_a_flood_of_output_is_cut(capsys):
    def answer(x):
        for _ in range(2_000):
            print("y" * 100)
        return x

    result = examined(answer)
    assert "It printed: yyy" in result.message and len(result.message) < 3_000
    assert capsys.readouterr().out == ""


def test_inputs_changed_in_place_are_noticed_even_with_the_right_result():
    def answer(x):
        x *= 2
        return x

    result = examined(answer)
    assert (result.passed, result.mistake) == (False, "changes-its-inputs") and "clone" in result.message


@pytest.mark.parametrize(
    ("answer", "mistake"),
    [
        (lambda x: print(x.sum()), "wrong-type"),
        (lambda x: "2", "wrong-type"),
        (lambda x: [x, x], "wrong-type"),
        (lambda x: (2 * x)[None], "wrong-shape"),
        (lambda x: 2 * x.flatten()[:1], "wrong-shape"),
        (lambda x: 2 * x * float("nan"), "not-a-number"),
        (lambda x: 3 * x, None),
    ],
    ids=["none", "text", "list", "extra axis", "cut", "nan", "wrong"],
)
def test_wrong_types_shapes_and_numbers_say_so(answer, mistake):
    result = examined(answer)
    assert (result.passed, result.mistake) == (False, mistake), result.message
    assert "Your function gave:" in result.message and "hint(" in result.message


def test_a_result_with_history_or_in_another_precision_is_right():
    weight = torch.tensor(2.0, requires_grad=True)
    assert examined(lambda x: weight * x).passed
    assert examined(lambda x: 2 * x.double()).passed
    assert examined(lambda x: (2 * x).tolist()).passed


def test_something_that_is_no_function_is_explained():
    result = check("05.1", torch.ones(3, 3))
    assert not result.passed and "my_function" in result.message


def test_an_unknown_exercise_lists_those_there_are():
    for ask in (lambda: check("05.9", doubled), lambda: hint("5.1")):
        with pytest.raises(ValueError, match="05.1, 05.2"):
            ask()


def test_tries_mistakes_and_success_are_kept():
    check("05.2", lambda n_layers, window: n_layers * window)
    check("05.2", lambda n_layers, window: n_layers * window)
    assert entry("exercises", "05.2")["mistakes"] == {"layers times window": 2}
    check("05.2", lambda n_layers, window: n_layers * (window - 1) + 1)
    check("05.2", lambda n_layers, window: 1)
    kept = entry("exercises", "05.2")
    assert (kept["passed"], kept["tries"]) == (True, 4) and kept["first_passed"]


def test_an_untouched_stub_is_not_kept_as_a_try():
    def stub(n_tokens, window): ...

    assert check("05.1", stub).message == "Exercise 05.1: not attempted yet"
    assert entry("exercises", "05.1") == {}


def test_a_result_shows_itself_as_text_and_as_html_without_markup_from_the_learner():
    result = check("05.2", lambda n_layers, window: "<script>alert(1)</script>")
    assert repr(result) == result.message
    assert "<script>" not in result._repr_html_() and 'role="status"' in result._repr_html_()


def test_the_hint_ladder_climbs_and_stays_on_top():
    texts = [hint("05.1").text for _ in range(5)]
    assert [hint.split(":")[0][-6:] for hint in texts] == ["1 of 4", "2 of 4", "3 of 4", "4 of 4", "4 of 4"]
    assert "def my_window_mask" in texts[3] and "def my_window_mask" not in "".join(texts[:2])
    assert hint("05.1", 2).rung == 2
    for rung in (0, 5, "1", True):
        with pytest.raises(ValueError, match="1 \\(a nudge\\)"):
            hint("05.1", rung)


def test_the_catalogue_says_what_an_exercise_costs():
    entry = exercises()["05.3"]
    assert entry.chapter == "05" and entry.minutes > 0 and "bug" in entry.title
    assert "| 05.3 |" in exercises()._repr_markdown_()
