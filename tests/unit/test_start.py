"""start.py: what it says when something is missing, what it passes on, and how answers survive an update."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def start(tmp_path, monkeypatch):
    """start.py as a module, pointed at a folder of its own."""
    spec = importlib.util.spec_from_file_location("start", ROOT / "start.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "ENVIRONMENT", tmp_path / ".venv")
    monkeypatch.setattr(module, "COURSE", tmp_path / "my-course")
    (tmp_path / "chapters").mkdir()
    return module


def notebook(path: Path, *cells: tuple[str, dict]) -> None:
    made = [{"cell_type": "code", "source": text, "metadata": meta, "outputs": []} for text, meta in cells]
    path.write_text(json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))


def answer(exercise: str) -> dict:
    return {"minimistral": {"exercise": exercise, "role": "answer"}}


@pytest.mark.parametrize("version", [(3, 8), (3, 10), (3, 15)])
def test_another_python_gets_one_line(start, version):
    with pytest.raises(start.Stop, match="3.11 to 3.14") as stop:
        start.check_python(version)
    assert "\n" not in str(stop.value)


def test_a_full_disk_gets_one_line(start, monkeypatch):
    usage = shutil.disk_usage(ROOT)._replace(free=10**8)
    monkeypatch.setattr(start.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(start.Stop, match="0.1 GB free") as stop:
        start.make_environment("lab")
    assert "\n" not in str(stop.value)
    assert "full" in start.explain(OSError(28, "No space left on device"))


def test_a_missing_venv_module_gets_one_line(start, monkeypatch):
    monkeypatch.setitem(start.sys.modules, "ensurepip", None)
    with pytest.raises(start.Stop, match="python3-venv"):
        start.need_modules()


def whole_environment(start) -> Path:
    python = start.environment_python()
    python.parent.mkdir(parents=True)
    python.touch()
    (start.ENVIRONMENT / "ready-lab.txt").write_text(start.recipe("lab"))
    return python


def test_a_second_run_installs_nothing(start, monkeypatch):
    monkeypatch.setattr(start.subprocess, "run", lambda *a, **k: pytest.fail("something was run"))
    assert whole_environment(start) == start.make_environment("lab")


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_changed_recipe_installs_again(start, monkeypatch, name):
    whole_environment(start)
    with (start.ROOT / name).open("a") as file:
        file.write("\n# newer\n")
    monkeypatch.setattr(start, "need_space", lambda: (_ for _ in ()).throw(start.Stop("installs")))
    with pytest.raises(start.Stop, match="installs"):
        start.make_environment("lab")


def test_an_environment_without_its_stamp_is_not_taken_for_whole(start, monkeypatch):
    whole_environment(start)
    (start.ENVIRONMENT / "ready-lab.txt").unlink()
    commands = []
    monkeypatch.setattr(start.subprocess, "run", lambda command, **k: commands.append(command) or Done(1, ""))
    with pytest.raises(start.Stop):
        start.make_environment("lab")
    assert any("venv" in command for command in commands)


class Done:
    def __init__(self, returncode: int, stdout: str):
        self.returncode, self.stdout = returncode, stdout


@pytest.mark.parametrize(
    ("requires", "expected"), [(["nvidia-cublas-cu12; platform_system == 'Linux'"], True), (["numpy"], False)]
)
def test_the_index_is_asked_whether_torch_brings_cuda(start, monkeypatch, requires, expected):
    report = json.dumps({"install": [{"metadata": {"requires_dist": requires}}]})
    monkeypatch.setattr(start.subprocess, "run", lambda *a, **k: Done(0, report))
    assert start.brings_cuda(Path("python"), "torch==2.13.0") is expected


@pytest.mark.parametrize(
    ("system", "nvidia", "cuda", "index"),
    [
        ("Linux", False, True, "cpu"),
        ("Linux", False, False, None),
        ("Linux", True, True, None),
        ("Windows", True, False, "cu128"),
        ("Windows", False, False, None),
        ("Darwin", False, False, None),
    ],
)
def test_each_machine_gets_its_build_of_torch(start, monkeypatch, system, nvidia, cuda, index):
    commands = []
    monkeypatch.setattr(start.platform, "system", lambda: system)
    monkeypatch.setattr(start, "has_nvidia", lambda: nvidia)
    monkeypatch.setattr(start, "brings_cuda", lambda *a: cuda)
    monkeypatch.setattr(start.subprocess, "run", lambda command, **k: commands.append(command) or Done(0, ""))
    start.install_torch(Path("python"))
    assert len(commands) == 1
    assert commands[0][-1].startswith("torch==")
    assert [part.rsplit("/", 1)[1] for part in commands[0] if part.startswith("https")] == ([index] if index else [])


def test_an_index_out_of_reach_falls_back_to_the_plain_build(start, monkeypatch):
    commands = []
    monkeypatch.setattr(start.platform, "system", lambda: "Linux")
    monkeypatch.setattr(start, "has_nvidia", lambda: False)
    monkeypatch.setattr(start, "brings_cuda", lambda *a: True)
    monkeypatch.setattr(
        start.subprocess, "run", lambda command, **k: commands.append(command) or Done("--index-url" in command, "")
    )
    start.install_torch(Path("python"))
    assert len(commands) == 2
    assert "--index-url" not in commands[1]


def test_lab_args_and_the_command_line_pass_through(start, monkeypatch):
    monkeypatch.setenv("LAB_ARGS", "--no-browser --port 8899 --notebook-dir 'my folder'")
    given = start.lab_arguments(["--debug"])
    assert given[:6] == ["--no-browser", "--port", "8899", "--notebook-dir", "my folder", "--debug"]


def test_the_course_is_copied_once_and_edits_stay(start):
    notebook(start.ROOT / "chapters" / "05.ipynb", ("1", {}))
    start.copy_course()
    notebook(start.COURSE / "05.ipynb", ("mine", {}))
    start.copy_course()
    assert "mine" in (start.COURSE / "05.ipynb").read_text()


def test_update_replaces_an_untouched_chapter_even_if_it_was_run(start):
    chapter = start.ROOT / "chapters" / "05.ipynb"
    notebook(chapter, ("1", {}))
    start.copy_course()
    mine = json.loads((start.COURSE / "05.ipynb").read_text())
    mine["cells"][0]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "ran"}]
    (start.COURSE / "05.ipynb").write_text(json.dumps(mine))
    notebook(chapter, ("2", {}))
    start.update_course()
    assert (start.COURSE / "05.ipynb").read_text() == chapter.read_text()
    assert len(list(start.COURSE.glob("*.ipynb"))) == 1


def test_update_carries_answers_over_and_keeps_the_old_file(start):
    chapter = start.ROOT / "chapters" / "05.ipynb"
    notebook(chapter, ("text", {}), ("def f(): ...", answer("05.1")), ("def g(): ...", answer("05.2")))
    start.copy_course()
    notebook(
        start.COURSE / "05.ipynb",
        ("my note", {}),
        ("def f(): return 1", answer("05.1")),
        ("def g(): ...", answer("05.2")),
    )
    notebook(chapter, ("new text", {}), ("def g(): ...", answer("05.2")), ("def f(): ...", answer("05.1")), ("end", {}))
    start.update_course()
    cells = ["".join(cell["source"]) for cell in json.loads((start.COURSE / "05.ipynb").read_text())["cells"]]
    assert cells == ["new text", "def g(): ...", "def f(): return 1", "end"]
    kept = [path for path in start.COURSE.glob("*.mine-*.ipynb") if "my note" in path.read_text()]
    assert len(kept) == 1


def test_update_without_news_changes_nothing(start):
    notebook(start.ROOT / "chapters" / "05.ipynb", ("1", {}))
    start.copy_course()
    notebook(start.COURSE / "05.ipynb", ("mine", {}))
    start.update_course()
    assert [path.name for path in start.COURSE.glob("*.ipynb")] == ["05.ipynb"]
    assert "mine" in (start.COURSE / "05.ipynb").read_text()


def test_tests_report_the_suites_that_failed(start, monkeypatch, capsys):
    for suite in ("unit", "browser"):
        (start.ROOT / "tests" / suite).mkdir(parents=True)
    ran = []

    def call(command, **more):
        ran.append(command[3] if command[2] == "ruff" else command[4])
        return int("tests/unit" in command)

    monkeypatch.setattr(start.subprocess, "call", call)
    assert start.run_tests(Path("python"), fast=False) == 1
    assert ran == ["check", "format", "tests/unit", "tests/browser"]
    assert "Failed: unit" in capsys.readouterr().out
    assert start.run_tests(Path("python"), fast=True) == 1
    assert ran[4:] == ["check", "format", "tests/unit"]
