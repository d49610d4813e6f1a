"""Quizzes: one right option, a note for each, and keys that are computed where they can be."""

import re
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from minimistral.lab import quizzes
from minimistral.lab.reach import input_gradient, random_model, reachable, uniform_influence
from minimistral.masks import window_mask

CHAPTERS = sorted(path.stem for path in quizzes.QUESTIONS.glob("*.toml"))
ROOT = Path(__file__).parents[2]
TESTS = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))


def key(chapter, number):
    question = quizzes.questions(chapter)[number - 1]
    return question.options[question.key]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_option_has_its_note_and_one_is_right(chapter):
    questions = quizzes.questions(chapter)
    assert 4 <= len(questions) <= 7
    for question in questions:
        assert len(set(question.options)) == len(question.options) >= 3
        assert all(len(note) > 10 for note in question.notes)
    assert len({question.key for question in questions}) > 1, "always the same place"
    returns = [question.returns_to for question in questions if question.returns_to]
    assert chapter == "00" or len(returns) >= 2
    assert all(earlier < chapter for earlier in returns), "a question returns to what has been"


FINISHED = [name for name in CHAPTERS if list((ROOT / "chapters").glob(f"{name[:2]}_*.ipynb"))]


@pytest.mark.parametrize("chapter", FINISHED)
def test_the_file_says_which_keys_are_computed_and_a_test_computes_them(chapter):
    """The file begins `# Chapter 05. The keys of q1, q2 and q4 are computed by a test.`; that test asks for its questions."""
    text = (quizzes.QUESTIONS / f"{chapter}.toml").read_text(encoding="utf-8")
    said = "".join(line for line in text.splitlines() if line.startswith("#"))
    assert "comput" in said and re.findall(r"\bq\d", said)
    assert re.search(rf'(key|questions)\("{chapter}"', TESTS), "no test computes them"


def test_chapter_05_keys_are_what_the_library_computes():
    assert key("05", 1) == str(int(reachable(6, 5, 60)[-1].sum()))
    queries, keys = window_mask(9000, 4096).nonzero(as_tuple=True)
    assert key("05", 2) == f"{(queries - keys).min()} to {(queries - keys).max():,}"
    assert torch.equal(window_mask(900, 4096), window_mask(900, None)) and key("05", 3).startswith("Nothing")
    tokens = torch.randint(16, (1, 20), generator=torch.Generator().manual_seed(0))
    gradient = input_gradient(random_model(4, 4), tokens, 19)
    assert gradient[19 - 13] == 0 and gradient[19 - 12] > 0 and key("05", 4).startswith("No")
    share = uniform_influence(2, 3, 9)[8]
    assert key("05", 5) == str(Fraction(float(share[share > 0][0])).limit_denominator(99))


def test_a_question_without_one_right_option_is_refused(tmp_path, monkeypatch):
    text = '[[question]]\ntext = "?"\noptions = [{text = "a", note = "n"}, {text = "b", note = "n"}]\n'
    (tmp_path / "98.toml").write_text(text)
    monkeypatch.setattr(quizzes, "QUESTIONS", Path(tmp_path))
    with pytest.raises(ValueError, match="exactly one"):
        quizzes.questions("98")
    with pytest.raises(ValueError, match="98"):
        quizzes.questions("97")
