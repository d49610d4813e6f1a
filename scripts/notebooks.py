"""The only writer of notebooks: text in, a fresh kernel, outputs out, nothing in them that should not be committed.

    python scripts/notebooks.py text chapters/05_sliding_window.ipynb   a .py file beside it, to edit (git ignores it)
    python scripts/notebooks.py run chapters/05_sliding_window.py       build the notebook from the text, and run it
    python scripts/notebooks.py run chapters/*.ipynb                    run notebooks again as they are

In the text a cell begins with `# %%` or `# %% [markdown]`; tags and the exercise's id stand behind it:
`# %% tags=["core"]`, `# %% minimistral={"exercise": "05.1", "role": "answer"}`.
"""

import argparse
import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from tqdm import tqdm

WIDGET = "application/vnd.jupyter.widget-view+json"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
SILENT_SECONDS = 20  # a learner who sees nothing for longer thinks that it hangs


def to_text(path: Path) -> Path:
    text = path.with_suffix(".py")
    jupytext.write(nbformat.read(path, 4), text, fmt="py:percent")
    return text


def from_text(path: Path) -> nbformat.NotebookNode:
    notebook = jupytext.read(path, fmt="py:percent")
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    name_cells(notebook)
    return notebook


def name_cells(notebook: nbformat.NotebookNode) -> None:
    """Ids from what the cells say, so that an unchanged cell keeps its id and differences stay small."""
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        digest = hashlib.sha256(cell.source.encode()).hexdigest()[:10]
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = f"{digest}-{seen[digest]}"


def execute(notebook: nbformat.NotebookNode, folder: Path) -> float:
    """Run all cells in a fresh kernel with an empty progress folder; the seconds it took."""
    with tempfile.TemporaryDirectory() as progress, tqdm(total=len(notebook.cells), unit="cell", leave=False) as bar:
        os.environ["MINIMISTRAL_PROGRESS"] = progress
        client = NotebookClient(
            notebook, timeout=300, kernel_name="python3", store_widget_state=False, resources={"metadata": {"path": folder}}
        )  # fmt: skip
        client.on_cell_executed = lambda cell, cell_index, execute_reply: bar.update()
        started = time.perf_counter()
        client.execute()
        return time.perf_counter() - started


def strip(notebook: nbformat.NotebookNode) -> None:
    """Take out what belongs to one run: widget ids (the picture beside them stays), times, state, traceback colours."""
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for key in ("lines_to_next_cell", "lines_to_end_of_cell_marker"):
            cell.metadata.pop(key, None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
            output.get("metadata", {}).pop(WIDGET, None)
        if cell.cell_type == "code":
            cell.outputs = merge_streams(cell.outputs)


def merge_streams(outputs: list) -> list:
    """Text that arrived in pieces becomes one piece: how it was cut depends on the machine's mood."""
    merged: list = []
    for output in outputs:
        if output.output_type == "stream" and merged and merged[-1].get("name") == output.name:
            merged[-1].text += output.text
        else:
            merged.append(output)
    return merged


def run(path: Path) -> None:
    notebook = from_text(path) if path.suffix == ".py" else nbformat.read(path, 4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    slow = time_cells(notebook)
    seconds = execute(notebook, path.parent)
    for source, cell_seconds in slow():
        print(f"  {cell_seconds:5.1f} s  {source}")
    strip(notebook)
    nbformat.validate(notebook)
    target = path.with_suffix(".ipynb")
    draft = target.with_suffix(".part")
    nbformat.write(notebook, draft)
    draft.replace(target)
    print(f"{target.name}: {len(notebook.cells)} cells, {seconds:.0f} s, {target.stat().st_size / 1000:.0f} kB")


def time_cells(notebook: nbformat.NotebookNode):
    """A function that lists, after the run, the cells that took longer than a learner likes to wait."""

    def slow() -> list[tuple[str, float]]:
        found = []
        for cell in notebook.cells:
            times = cell.metadata.get("execution", {})
            if "iopub.execute_input" in times and "shell.execute_reply" in times:
                begin, end = (
                    time.mktime(time.strptime(str(times[key])[:19].replace(" ", "T"), "%Y-%m-%dT%H:%M:%S"))
                    for key in ("iopub.execute_input", "shell.execute_reply")
                )
                if end - begin >= SILENT_SECONDS / 4:
                    found.append((cell.source.split("\n")[0], end - begin))
        return found

    return slow


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["text", "run"])
    parser.add_argument("files", nargs="+", type=Path)
    options = parser.parse_args()
    for path in options.files:
        if not path.exists():
            print(f"{path} does not exist.", file=sys.stderr)
            return 1
        if options.command == "text":
            print(to_text(path))
        else:
            run(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
