"""What happens to learners by accident, and what check says then."""

import builtins
import random
import sys
import threading
import time
import warnings

import numpy as np
import pytest
import torch

from minimistral.lab import check, exercises, hint
from minimistral.lab.checking import examine
from minimistral.lab.exercise import Exercise, Mistake, normal
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


def swallow_in_a_loop(x):
    while True:
        try:  # noqa: SIM105
            x = x + 0
        except:  # noqa: E722 - what a learner may write
            pass


def swallow_a_loop(x):
    while True:
        try:
            while True:
                x = x + 0
        except BaseException:
            print("again")


def swallow_and_finally(x):
    while True:
        try:
            while True:
                x = x + 0
        finally:
            continue  # noqa: B012


def swallow_twice(x):
    while True:
        try:
            try:
                while True:
                    x = x + 0
            except BaseException:
                print("inner")
        except BaseException:
            print("outer")


@pytest.mark.parametrize("answer", [swallow_in_a_loop, swallow_a_loop, swallow_and_finally, swallow_twice])
def test_a_loop_that_swallows_everything_is_stopped_too(answer):
    threads = threading.active_count()
    for _ in range(5):
        result = examined(answer)
        assert result.mistake == "never-ends" and "still runs" not in result.message
    assert threading.active_count() == threads


def test_an_import_that_takes_long_is_not_broken_off(tmp_path, monkeypatch):
    """Broken off, it would leave its lock behind, and the next import would wait for ever."""
    (tmp_path / "slow_to_import.py").write_text("for _ in range(100):\n    __import__('time').sleep(0.01)\nten = 10\n")
    monkeypatch.syspath_prepend(tmp_path)

    def answer(x):
        import slow_to_import

        while True:
            x = x + slow_to_import.ten

    assert examined(answer).mistake == "never-ends"
    import slow_to_import

    assert slow_to_import.ten == 10


def test_what_cannot_be_stopped_is_left_behind_and_says_so(monkeypatch):
    monkeypatch.setattr("minimistral.lab.safely.GRACE", 0.1)
    before, stdout = set(threading.enumerate()), sys.stdout

    def answer(x):
        time.sleep(1.2)
        return 2 * x

    result = examined(answer)
    assert result.mistake == "never-ends" and "sleep" in result.message and "restart the kernel" in result.message
    for left in set(threading.enumerate()) - before:
        left.join(5)  # asleep it cannot be woken; awake it ends
        assert not left.is_alive()
    sys.stdout = stdout


def test_time_that_runs_out_between_two_inputs_is_not_lost(monkeypatch):
    """Each input takes its time and is right; the time ends before the second begins."""
    monkeypatch.setattr("minimistral.lab.safely.deepcopy", lambda value: (time.sleep(0.4), value)[1])
    result = examined(lambda x: 2 * x)
    assert (result.passed, result.mistake) == (False, "never-ends")


def test_input_is_refused_at_once_and_works_again_afterwards():
    ours, started = builtins.input, time.perf_counter()
    result = examined(lambda x: float(input("how much? ")) * x)
    assert result.mistake == "raises" and "nobody to ask" in result.message
    assert builtins.input is ours and time.perf_counter() - started < 0.5


def test_settings_that_the_function_changed_are_put_back():
    def settings():
        return [
            torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(), torch.initial_seed(),
            torch.are_deterministic_algorithms_enabled(), torch.get_rng_state().tolist(), random.getstate(),
            np.random.get_state()[1].tolist(), sys.getrecursionlimit(), warnings.filters[:],  # noqa: NPY002
        ]  # fmt: skip

    def answer(x):
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.set_num_threads(torch.get_num_threads() + 1)
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        sys.setrecursionlimit(5_000)
        warnings.simplefilter("ignore")
        sys.stdout = None
        return 2 * x

    torch.use_deterministic_algorithms(False)  # imports much, the first time
    before, stdout = settings(), sys.stdout
    assert examined(answer).passed
    same = [one == other for one, other in zip(settings(), before)]
    assert all(same), same
    assert sys.stdout is stdout


def test_the_answer_is_still_right_where_the_default_dtype_was_changed():
    """What is expected is computed with the settings of before: 1/3 in float32 is not 1/3 in float64."""
    thirds = Exercise(**{**vars(DOUBLE), "solution": lambda x: torch.tensor(1 / 3) * x, "rtol": 0, "atol": 0})

    def answer(x):
        third = torch.tensor(1 / 3)
        torch.set_default_dtype(torch.float64)
        return third * x

    assert examined(answer, thirds).passed


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


class Odd:
    """A learner's class in which nothing works."""

    def __repr__(self):
        raise RuntimeError("repr")

    __eq__ = __deepcopy__ = __repr__


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
        (lambda x: x / 0, None),
        (lambda x: torch.complex(x, x), "wrong-type"),
        (lambda x: (2 * x).to("meta"), "wrong-type"),
        (lambda x: torch.nn.Linear(1, 1), "wrong-type"),
        (lambda x: Odd(), "wrong-type"),
    ],
    ids=["none", "text", "list", "extra axis", "cut", "nan", "wrong", "inf", "complex", "meta", "module", "odd"],
)
def test_wrong_types_shapes_and_numbers_say_so(answer, mistake):
    result = examined(answer)
    assert (result.passed, result.mistake) == (False, mistake), result.message
    assert "Your function gave:" in result.message and "hint(" in result.message


class Mine(torch.Tensor):
    pass


def test_what_has_computed_nothing_yet_says_so():
    def yields(x):
        yield 2 * x

    async def waits(x):
        return 2 * x

    assert "write return where it says yield" in examined(yields).message
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nobody waits for it: that is the mistake
        assert "not async def" in examined(waits).message
    holds_itself = []
    holds_itself.append(holds_itself)
    assert examined(lambda x: holds_itself).mistake == "wrong-type"


def test_a_learners_own_kind_of_tensor_is_a_tensor():
    for answer in (
        lambda x: (2 * x).as_subclass(Mine),
        lambda x: torch.nn.Parameter(2 * x),
        lambda x: (2 * x).numpy(),
        lambda x: (2 * x).to_sparse(),
    ):
        assert examined(answer).passed


def test_an_error_that_cannot_be_shown_is_named():
    class Silent(Exception):
        def __str__(self):
            raise RuntimeError

    def answer(x):
        raise Silent

    assert "Silent: (it cannot be shown)" in examined(answer).message


def test_a_mistake_that_does_not_understand_the_value_is_passed_over():
    knows_tensors = Mistake("sum", "h", seen=lambda inputs, got, right: bool((got > 9).all()))
    exercise = Exercise(**{**vars(DOUBLE), "mistakes": (knows_tensors,)})
    assert examined(lambda x: "2", exercise).mistake == "wrong-type"
    assert examined(lambda x: 0 * x + 10, exercise).mistake == "sum"


def test_infinities_are_named():
    assert "infinite" in examined(lambda x: 2 * x / 0).message


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
    check("05.2", lambda distance, window: distance // (window - 1))
    check("05.2", lambda distance, window: distance // (window - 1))
    assert entry("exercises", "05.2")["mistakes"] == {"rounded down": 2}
    check("05.2", lambda distance, window: -(-distance // (window - 1)))
    check("05.2", lambda distance, window: 1)
    kept = entry("exercises", "05.2")
    assert (kept["passed"], kept["tries"]) == (True, 4) and kept["first_passed"]


def test_an_untouched_stub_is_not_kept_as_a_try():
    def stub(n_tokens, window): ...

    assert check("05.1", stub).message == "Exercise 05.1: not attempted yet"
    assert entry("exercises", "05.1") == {}


def test_a_result_shows_itself_as_text_and_as_html_without_markup_from_the_learner():
    result = check("05.2", lambda distance, window: "<script>alert(1)</script>")
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


def test_a_wrong_text_is_not_told_about_numbers():
    verdict = check("00.3", lambda claimed, measured, spread: "perhaps")
    assert not verdict.passed and verdict.mistake is None
    assert "another text" in verdict.message and "numbers" not in verdict.message
    assert "numbers are not" in examined(lambda x: x + 17).message
