"""The example in CONTRIBUTING.md is an exercise that works, and the README's commands and links are real."""

import random
import re
import runpy
from pathlib import Path

import pytest

from minimistral.lab.checking import examine
from minimistral.lab.hints import solution_source

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = next(block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "EXERCISE = " in block)
    path = tmp_path_factory.mktemp("example") / "t02_9.py"
    path.write_text(code, encoding="utf-8")
    return runpy.run_path(str(path))["EXERCISE"]


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
