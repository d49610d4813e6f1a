"""A learner's progress: whole after a crash, right with two writers, never a reason for a chapter to stop."""

import json
import multiprocessing
import os
import subprocess
import sys
import time

import pytest

from minimistral.lab import keep, kept, predict, progress, quiz, reveal


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIMISTRAL_PROGRESS", str(tmp_path / "progress"))
    return tmp_path / "progress"


def test_it_begins_empty_and_keeps_what_is_recorded(folder):
    assert progress.read() == {"exercises": {}, "predictions": {}, "quiz": {}}
    assert not folder.exists(), "reading must not write"
    progress.record("predictions", "05.a", answer="ñ")
    assert progress.entry("predictions", "05.a")["answer"] == "ñ"
    assert json.loads((folder / "progress.json").read_text(encoding="utf-8"))["predictions"]["05.a"]["when"]


def test_hints_only_grow_and_other_entries_stay():
    progress.record("exercises", "05.1", hints=3)
    progress.record("exercises", "05.1", hints=1)
    progress.record("exercises", "05.2", passed=True, mistake=None)
    assert progress.entry("exercises", "05.1")["hints"] == 3


@pytest.mark.parametrize("damage", ["", "{", "[1, 2]", '{"exercises": 3}', "\x00\x01"])
def test_a_damaged_file_is_set_aside_and_never_lost(folder, damage):
    folder.mkdir()
    (folder / "progress.json").write_text(damage)
    with pytest.warns(UserWarning, match="kept as"):
        progress.record("quiz", "05.q1", answer="x")
    assert progress.entry("quiz", "05.q1")["answer"] == "x"
    [aside] = folder.glob("progress.damaged-*.json")
    assert aside.read_text() == damage


def test_a_crash_while_writing_leaves_the_old_file(folder, monkeypatch):
    progress.record("quiz", "05.q1", answer="old")
    before = (folder / "progress.json").read_bytes()

    def crash(*paths):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        progress.record("quiz", "05.q1", answer="new")
    assert (folder / "progress.json").read_bytes() == before


WRITER = """
from minimistral.lab import progress
print("ready", flush=True)
number = 0
while True:
    progress.record("quiz", f"05.q{number}", answer="x" * 2_000)
    number += 1
"""


def test_a_notebook_killed_in_the_middle_of_writing_leaves_a_whole_file_and_no_lock(folder):
    """Killed by the system, not by an exception: no cleaning up happens. Each time the next one can go on."""
    progress.record("exercises", "05.1", passed=True)
    kept = 0
    for milliseconds in (20, 50, 90, 140, 30, 70):
        writer = subprocess.Popen([sys.executable, "-c", WRITER], stdout=subprocess.PIPE)
        assert writer.stdout.readline().strip() == b"ready"
        time.sleep(milliseconds / 1000)
        writer.kill()
        writer.wait()
        writer.stdout.close()
        found = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
        assert found["exercises"]["05.1"]["passed"] and len(found["quiz"]) >= kept
        kept = len(found["quiz"])
        started = time.perf_counter()
        progress.record("exercises", "05.1", hints=1)
        assert time.perf_counter() - started < 5, "the lock was left behind"
    assert kept and not list(folder.glob("*damaged*")) and not list(folder.glob("*.part"))


def _write_many(writer):
    for number in range(25):
        progress.record("quiz", f"{writer}.q{number}", answer=str(number))


def test_two_notebooks_lose_nothing():
    context = multiprocessing.get_context("fork" if hasattr(os, "fork") else "spawn")
    writers = [context.Process(target=_write_many, args=(name,)) for name in ("01", "02", "03")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(progress.read()["quiz"]) == 75


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINIMISTRAL_PROGRESS", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="could not be kept|cannot be read"):
        progress.record("quiz", "05.q1", answer="x")


def test_a_prediction_stands_beside_its_result_and_asks_why_once():
    assert "no prediction" in repr(reveal("05.a", 13))
    question = predict("05.a", "How far?", ["12", 13])
    assert "( ) 13" in repr(question)
    question.answer(13)
    assert repr(reveal("05.a", 13)).startswith("You predicted 13. Measured: 13.")
    assert "why=" in repr(reveal("05.a", 13))
    assert "each hop" in repr(reveal("05.a", 13, why="each hop adds 3"))
    assert "each hop" in repr(reveal("05.a", 13))
    with pytest.raises(ValueError, match="12, 13"):
        question.answer("14")
    with pytest.raises(ValueError, match="two options"):
        predict("05.b", "?", ["only"])


def test_answers_of_the_form_are_kept_and_come_back():
    bundle, _ = quiz("05")._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle and "<details>" in bundle["text/html"]
    ours = quiz("05")
    ours._keep({"old": {}, "new": {"05.q1": 2}})
    assert progress.entry("quiz", "05.q1")["answer"] == ours.questions[0].options[2]


def test_a_kept_part_is_used_and_one_that_fails_is_not(capsys, folder):
    def library(x):
        return x

    assert kept("part", otherwise=library) is library
    (folder / "kept").mkdir(parents=True)
    (folder / "kept" / "part.json").write_text(
        json.dumps({"name": "mine", "source": "def mine(x):\n    return torch.ones(x)"})
    )
    assert kept("part", otherwise=library)(2).tolist() == [1, 1]
    (folder / "kept" / "part.json").write_text(json.dumps({"name": "mine", "source": "def mine(x:"}))
    assert kept("part", otherwise=library) is library
    assert "SyntaxError" in capsys.readouterr().out
    keep("own", library)
    assert kept("own", otherwise=print)(5) == 5
    with pytest.raises(ValueError, match="cell"):
        keep("own", 3)


def test_the_overview_counts_what_was_done():
    from minimistral.lab import check, my_progress

    check("05.2", lambda distance, window: -(-distance // (window - 1)))
    check("05.1", lambda n_tokens, window: 3)
    predict("05.a", "How far?", ["12", "13"]).answer("12")
    right = quiz("05").questions[0]
    progress.record("quiz", right.id, answer=right.options[right.key])
    progress.record("quiz", "05.q2", answer="an option that has since been reworded")
    [chapter] = [c for c in my_progress() if c.chapter == "05"]
    assert (chapter.passed, chapter.exercises, chapter.tries, chapter.predictions) == (1, 5, 2, 1)
    assert (chapter.right, chapter.questions, chapter.next_exercise) == (1, 6, "05.1")
    assert "●○○○○ 1 of 5" in my_progress()._repr_markdown_() and "next: exercise 05.1" in repr(my_progress())
