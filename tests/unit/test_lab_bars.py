"""The progress bar of long cells: there while they run, and nothing of it in what is stored."""

from pathlib import Path
from textwrap import dedent

import nbformat
from nbclient import NotebookClient

from minimistral.lab import progress_bar

WIDGET = "application/vnd.jupyter.widget-view+json"


def test_in_a_terminal_it_is_a_line_that_goes(capsys):
    assert list(progress_bar("abc", desc="letters")) == ["a", "b", "c"]
    assert capsys.readouterr().err.endswith("\r")


def test_in_a_notebook_it_is_a_widget_without_a_text():
    source = """
        from minimistral.lab import progress_bar
        with progress_bar(total=2, unit="step") as bar:
            bar.update(2)
        print(list(progress_bar(iter("ab"), total=2)), bar.container.layout.visibility)
    """
    cell = nbformat.v4.new_code_cell(dedent(source))
    done = NotebookClient(nbformat.v4.new_notebook(cells=[cell]), kernel_name="python3").execute()
    first, second, said = done.cells[0].outputs
    assert said.text == "['a', 'b'] hidden\n"
    for bar in (first, second):
        assert bar.data.pop(WIDGET)["model_id"] and bar.data == {"text/plain": ""}


def test_the_book_leaves_out_what_a_bar_left_behind(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    from book.reading import is_bar

    shown = [
        nbformat.v4.new_output("display_data", {"text/plain": text})
        for text in ("", "0%|   | 0/8 [00:00<?, ?it/s]", "7")
    ]
    said = nbformat.v4.new_output("stream", text="done")
    assert [is_bar(output) for output in (*shown, said)] == [True, True, False, False]


def test_chapters_take_this_bar_and_keep_none_of_it():
    for path in sorted((Path(__file__).parents[2] / "chapters").glob("*.ipynb")):
        text = path.read_text(encoding="utf-8")
        assert "import tqdm" not in text, f"{path.name}: take progress_bar from minimistral.lab"
        assert "0%|" not in text, f"{path.name}: a bar was stored; run the notebook again"
