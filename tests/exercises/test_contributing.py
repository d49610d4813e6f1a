"""The example in CONTRIBUTING.md is an exercise that passes every rule, and the README's commands and links are real."""

import importlib.util
import random
import re
import runpy
from pathlib import Path

import pytest

from minimistral.lab.checking import examine
from minimistral.lab.hints import solution_source

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("rules_for_answers", Path(__file__).with_name("test_answers.py"))
RULES = importlib.util.module_from_spec(SPEC)  # a copy of its own: the example is put among its exercises
SPEC.loader.exec_module(RULES)


def block(words: str) -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return next(code for code in re.findall(r"```python\n(.*?)```", text, re.S) if words in code)


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    path = tmp_path_factory.mktemp("example") / "t02_9.py"
    path.write_text(block("EXERCISE = "), encoding="utf-8")
    return runpy.run_path(str(path))["EXERCISE"]


@pytest.fixture
def answers(tmp_path, monkeypatch, example):
    path = tmp_path / "a02_9.py"
    path.write_text(block("WRONG = "), encoding="utf-8")
    monkeypatch.setitem(RULES.EXERCISES, "02.9", example)
    monkeypatch.setitem(RULES.ANSWERS, "02.9", RULES.answers_in(path))
    return RULES.ANSWERS["02.9"]


@pytest.mark.parametrize(
    ("answer", "mistake"),
    [
        (lambda x: (x * x).sum(-1) / x.shape[-1], None),
        (lambda x: x.mean(-1) ** 2, "mean before the square"),
        (lambda x: (x * x).mean(0), "mean over tokens"),
    ],
)
def test_the_example_exercise_works(example, answer, mistake):
    result = examine(example, answer, random.Random(0))
    assert result.passed == (mistake is None) and result.mistake == mistake, result.message
    assert "def mean_square" in solution_source(example)


def test_the_examples_answers_pass_the_rules_for_all(example, answers):
    for rule in vars(RULES).values():
        if any(mark.args[0] == "exercise" for mark in getattr(rule, "pytestmark", [])):
            rule(example)
    for answer in answers["RIGHT"]:
        RULES.test_other_right_answers_pass("02.9", answer)
    for mistake, functions in answers["WRONG"].items():
        for answer in functions:
            RULES.test_a_usual_mistake_gets_its_own_hint("02.9", mistake, answer)
    assert answers["WRONG"].keys() == {mistake.name for mistake in example.mistakes}


@pytest.mark.parametrize("wrong", ["len", "[]", "[len, 3]"])
def test_answers_that_are_no_lists_are_named(tmp_path, wrong):
    path = tmp_path / "a02_9.py"
    path.write_text(f"RIGHT = [len]\nWRONG = {{'sum': {wrong}}}", encoding="utf-8")
    with pytest.raises(TypeError, match=r"a02_9.py: WRONG\['sum'\] has to be a list of functions"):
        RULES.answers_in(path)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "chapters/README.md"])
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)", text)
    for link in links:
        if "://" not in link:
            assert ((ROOT / page).parent / link).exists(), link


def test_every_chapter_stands_in_both_lists():
    for page in ("README.md", "chapters/README.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        for chapter in (ROOT / "chapters").glob("[0-9]*.ipynb"):
            assert chapter.name in text, f"{page} does not name {chapter.name}"
