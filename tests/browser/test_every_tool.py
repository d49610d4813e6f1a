"""Every tool and form there is: labelled, spoken, reached by Tab, and readable in JupyterLab's light and dark theme.

One notebook with all of them in one cell, so that a new tool is covered by being exported from minimistral.lab.
"""

import os
import urllib.request

import nbformat
import pytest

from minimistral.lab import _HOME

TOOLS = sorted(name for name, home in _HOME.items() if home.startswith("tools."))
CELL = f"""
import minimistral.lab as lab
for name in {TOOLS}:
    display(getattr(lab, name)())
for thing in (
    lab.predict("05.theme", "Dark or light?", ["dark", "light"]), lab.quiz("05"), lab.my_progress(), lab.exercises(),
    lab.check("05.2", lambda distance, window: distance // window), lab.check("05.1", lambda n, w: ...),
    lab.check("05.2", lambda distance, window: -(-distance // (window - 1))), lab.hint("05.1", 4),
    lab.reveal("05.theme", "dark"),
):
    display(thing)
print("all there")
"""
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
CONTROLS = 'input, select, textarea, button, [role=slider], [tabindex="0"]'
# what a screen reader is told; an ipywidget's label stands beside its slider, in the same box
NAMES = """tool => [...tool.querySelectorAll(CONTROLS)].filter(node => node.getClientRects().length).map(node => {
  const labels = node.labels ? [...node.labels].map(label => label.textContent).join(' ') : '';
  const beside = node.closest('.jupyter-widgets.widget-inline-hbox, .jupyter-widgets.widget-inline-vbox');
  const itself = node.getAttribute('aria-label') || node.title || (node.tagName === 'BUTTON' ? node.textContent : '');
  const name = labels || itself || (beside && beside.querySelector('label') || {}).textContent || '';
  return [node.outerHTML.slice(0, 120), name.trim()];
})""".replace("CONTROLS", f"'{CONTROLS}'")
MARK = """tool => [...tool.querySelectorAll(CONTROLS)].filter(node => node.getClientRects().length
  && !node.disabled && node.tabIndex >= 0).map((node, number) => {
    node.dataset.stop = node.type === 'radio' ? node.name : String(number);  // of a group of radio buttons Tab visits one
    return node.dataset.stop;
})""".replace("CONTROLS", f"'{CONTROLS}'")
HERE = "tool => tool.contains(document.activeElement) ? document.activeElement.dataset.stop ?? null : null"
PAPER = "() => getComputedStyle(document.querySelector('.jp-Notebook')).backgroundColor"
DARK = """css => {
  document.body.dataset.jpThemeLight = 'false';
  const style = document.createElement('style');
  style.textContent = css;
  document.documentElement.append(style);  // behind the light one, wherever that stands
}"""
FAINT = """() => {
  const numbers = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (colour) => numbers(colour).slice(0, 3)
    .reduce((sum, v, i) => sum + linear(v / 255) * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor, parts = numbers(colour);
      if (parts.length === 3 || parts[3] > 0.5) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const found = [];
  for (const output of document.querySelectorAll('.jp-OutputArea-output')) {
    const walker = document.createTreeWalker(output, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode.parentElement;
      const text = walker.currentNode.textContent.trim();
      if (!text || !node.getClientRects().length || node.closest('style, script, option, svg, pre code')) continue;
      const pair = [light(getComputedStyle(node).color), light(behind(node))].sort((a, b) => b - a);
      const contrast = (pair[0] + 0.05) / (pair[1] + 0.05);
      if (contrast < 4.5) found.push([contrast.toFixed(2), text.slice(0, 60), node.outerHTML.slice(0, 90)]);
    }
  }
  return found;
}"""


@pytest.fixture(scope="module")
def page(opened, course):
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": KERNEL}, cells=[nbformat.v4.new_code_cell(CELL)])
    nbformat.write(notebook, course / "every_tool.ipynb")
    opened.open("every_tool.ipynb")
    opened.run_all()
    opened.page.wait_for_selector(".jp-OutputArea-output:has-text('all there')", timeout=240_000)
    opened.page.wait_for_selector(".minimistral-question >> nth=4", state="attached", timeout=120_000)
    opened.wait_until_idle()
    return opened.page


def tools(page):
    found = page.locator(".minimistral-tool, .minimistral-question")
    return [found.nth(number) for number in range(found.count())]


def test_every_tool_is_there(page):
    assert page.locator(".minimistral-tool").count() == len(TOOLS)
    assert page.locator("text=Error displaying widget").count() == 0


def test_every_control_has_a_name_and_every_tool_says_what_is_seen(page):
    for tool in tools(page):
        kind = tool.get_attribute("class")
        for control, name in tool.evaluate(NAMES):
            assert name, f"{kind}: nothing names {control}"
        assert tool.locator('[role="status"]').count() >= 1, f"{kind} says nothing"
        for picture in tool.locator("svg, img").all():
            hidden = picture.get_attribute("aria-hidden") == "true"
            assert hidden or picture.evaluate("node => node.getAttribute('aria-label') || node.alt"), (
                f"{kind}: a picture without words"
            )


def test_tab_reaches_every_control(page):
    for tool in tools(page):
        stops = set(tool.evaluate(MARK))
        reached: set[str] = set()
        tool.locator("[data-stop]").first.focus()
        for _ in range(3 * len(stops) + 3):
            stop = tool.evaluate(HERE)
            reached |= {stop} - {None}
            if reached == stops:
                break
            page.keyboard.press("Tab")
        assert reached == stops, f"{tool.get_attribute('class')}: Tab never reaches {stops - reached}"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_text_is_readable(page, opened, theme):
    """The dark theme's own style sheet, as JupyterLab loads it when the theme is changed, over the light one."""
    if theme == "dark":
        before = page.evaluate(PAPER)
        address = f"{opened.address}/lab/api/themes/@jupyterlab/theme-dark-extension/index.css"
        page.evaluate(DARK, urllib.request.urlopen(address, timeout=60).read().decode())
        assert page.evaluate(PAPER) != before
    page.wait_for_timeout(1_000)
    assert page.locator(".jp-OutputArea-output").count() > 10
    if folder := os.environ.get("SCREENSHOTS"):  # to look at: SCREENSHOTS=/some/folder
        for tool in page.locator(".minimistral-tool").all():
            classes = [name for name in tool.get_attribute("class").split() if name.startswith("minimistral-")]
            [name] = {name.removeprefix("minimistral-") for name in classes} - {"tool"}
            tool.screenshot(path=f"{folder}/{name}-{theme}.png")
    assert page.evaluate(FAINT) == []
