"""LiveCurve in a real JupyterLab: the curve grows while the cell runs, and the finished picture takes its place."""

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

CELL = """import time
from minimistral.lab import LiveCurve
curve = LiveCurve()
for step in range(60):
    curve({"step": step, "loss": 5 - step / 20})
    time.sleep(0.1)
curve"""
GROWING = ".minimistral-live-curve img"


def test_the_curve_grows_while_the_cell_runs_and_a_picture_remains(opened, course):
    notebook = new_notebook(cells=[new_code_cell(CELL)])
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(notebook, course / "live_curve.ipynb")
    opened.errors.clear()
    opened.open("live_curve.ipynb")
    opened.run_all()
    opened.page.wait_for_selector(GROWING, timeout=60_000)
    growing = opened.page.locator(GROWING)
    before = growing.get_attribute("src")
    assert growing.get_attribute("alt").startswith("The loss in nats a token")
    opened.page.wait_for_function(
        "([selector, before]) => { const now = document.querySelector(selector); return now && now.src !== before; }",
        arg=[GROWING, before],
    )
    finished = opened.page.locator('.jp-OutputArea img[alt*="over 60 steps: it ends lower"]')
    finished.wait_for(timeout=60_000)
    assert growing.count() == 0
    assert opened.errors == []
