"""The two building blocks for tools, and the two examples in CONTRIBUTING.md, which must work as they stand."""

import json
import re
import runpy
import shutil
import subprocess
import threading
import time
from pathlib import Path

import ipywidgets
import pytest

from minimistral.lab import theme
from minimistral.lab.picture import show
from minimistral.lab.tools import browser_tool
from minimistral.lab.tools.browser_tool import BrowserTool
from minimistral.lab.tools.model_tool import WORKING, ModelTool

ROOT = Path(__file__).parents[2]
WIDGET = "application/vnd.jupyter.widget-view+json"


def example(words: str, language: str = "python") -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return next(block for block in re.findall(rf"```{language}\n(.*?)```", text, re.S) if words in block)


def picture(alt):
    with theme.figure(size=(2, 1)) as (figure, axes):
        axes.plot([0, 1])
        return show(figure, alt)


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


# ---- drawn in the browser -----------------------------------------------------------------------------------------


@pytest.fixture
def visible_keys(tmp_path, monkeypatch):
    """The example's two files, as if they lay in tools/."""
    (tmp_path / "visible_keys.py").write_text(example("class VisibleKeys"), encoding="utf-8")
    (tmp_path / "visible_keys.js").write_text(example("makeTool", "javascript"), encoding="utf-8")
    shutil.copyfile(browser_tool.HERE / "controls.js", tmp_path / "controls.js")
    monkeypatch.setattr(browser_tool, "HERE", tmp_path)
    return runpy.run_path(str(tmp_path / "visible_keys.py"))


def test_the_browser_example_is_widget_and_picture_in_one(visible_keys):
    tool = visible_keys["VisibleKeys"](position=2, window=9)
    bundle, metadata = tool._repr_mimebundle_()
    assert set(bundle) == {WIDGET, "text/html", "image/png", "text/plain"}
    assert metadata["image/png"]["alt"] == "Token 2 sees 3 keys with a window of 9." in bundle["text/html"]
    assert tool.widget().start == {"position": 2, "window": 9}


@pytest.mark.parametrize("wrong", [{"position": 16}, {"position": -1}, {"window": 0}])
def test_the_browser_example_refuses_what_its_controls_cannot_show(visible_keys, wrong):
    with pytest.raises(ValueError, match="the tool shows"):
        visible_keys["VisibleKeys"](**wrong)


@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
def test_the_browser_example_computes_the_same_in_both_languages(visible_keys, tmp_path):
    states = [(0, 1), (3, 9), (15, 16), (15, 4)]
    code = browser_tool.source("visible_keys.js").replace("export default", "const tool =")
    ask = "".join(f"console.log(visibleKeys({{position: {p}, window: {w}}}));" for p, w in states)
    (tmp_path / "ask.mjs").write_text(code + ask, encoding="utf-8")
    done = subprocess.run(["node", tmp_path / "ask.mjs"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert [int(line) for line in done.stdout.split()] == [visible_keys["visible_keys"](p, w) for p, w in states]


@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
@pytest.mark.parametrize("script", sorted(path.name for path in browser_tool.HERE.glob("*.js")))
def test_every_script_is_javascript(script, tmp_path):
    code = (
        browser_tool.source(script)
        if script != "controls.js"
        else "const COLOURS = {};\n" + (browser_tool.HERE / script).read_text(encoding="utf-8")
    )
    (tmp_path / "tool.mjs").write_text(code, encoding="utf-8")
    done = subprocess.run(["node", "--check", tmp_path / "tool.mjs"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


class Asks(BrowserTool):
    script, asks = "receptive_field.js", True

    def start(self):
        return {"n": 3}

    def picture(self):
        return picture("three squared is nine")

    def answer(self, state):
        return {"square": state["n"] ** 2}


def test_a_question_is_answered_with_the_state_it_was_asked_for():
    """The browser compares the state and drops what came too late: so it must come back unchanged."""
    widget, sent = Asks().widget(), []
    assert widget.answer == {"state": {"n": 3}, "square": 9}
    widget.send = sent.append
    widget._reply(widget, {"n": 5}, [])
    assert sent == [{"state": {"n": 5}, "square": 25}]


def test_a_tool_without_questions_asks_python_nothing(visible_keys):
    assert visible_keys["VisibleKeys"]().widget().answer == {}


def test_the_browser_draws_no_answer_to_a_state_that_has_passed():
    """In controls.js itself: node with the least of a page around it."""
    if not shutil.which("node"):
        pytest.skip("needs node")
    controls = browser_tool.source("receptive_field.js").split("// The receptive field")[0]
    command = ["node", "--input-type=module", "-e", STALE.replace("CONTROLS", controls)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"asked": [1, 3], "drawn": [None, None, None, None, "answer 3"]}


# A slider goes 1, 2, 3 while Python still works on 1; then the answer to 1 arrives, and then that to 3.
STALE = """
const elements = [];
const quiet = { get: (made, name) => (name in made ? made[name] : () => null) };  // any method, to no effect
globalThis.document = { createElement: () => {
  const element = new Proxy({ style: {}, dataset: {}, classList: { add() {} }, oninput: undefined }, quiet);
  elements.push(element);
  return element;
} };
CONTROLS
const asked = [], drawn = [];
let arrive;
const model = {
  get: (name) => ({ start: { n: 1 }, data: {}, answer: {} })[name],
  send: (state) => asked.push(state.n),
  on: (_, f) => { arrive = f; },
};
makeTool({
  model, el: document.createElement(), name: "t", ask: true, say: () => "",
  controls: [{ name: "n", text: "n", min: 1, max: 9 }],
  draw: (state, data, answer) => { drawn.push(answer && answer.text); return ""; },
});
const input = elements.find((element) => element.oninput);
for (const n of [2, 3]) { input.value = String(n); input.oninput(); }
arrive({ state: { n: 1 }, text: "answer 1" });
drawn.push(null);
arrive({ state: { n: 3 }, text: "answer 3" });
console.log(JSON.stringify({ asked, drawn }));
"""


# ---- drawn by the model -------------------------------------------------------------------------------------------


def test_the_model_example_is_widget_and_picture_in_one(tmp_path):
    (tmp_path / "score_spread.py").write_text(example("ModelTool("), encoding="utf-8")
    tool = runpy.run_path(str(tmp_path / "score_spread.py"))["score_spread"]()
    bundle, metadata = tool._repr_mimebundle_()
    assert {WIDGET, "text/html", "image/png", "text/plain"} <= set(bundle)
    assert "Scores of 64 numbers" in metadata["image/png"]["alt"] and "Scores of 64 numbers" in bundle["text/html"]
    tool.controls["head_dim"].value = 16
    until(lambda: "Scores of 16 numbers" in tool._said.value)
    assert 'alt="Scores of 16 numbers' in tool._image.value and "base64" in tool._image.value


class Slow:
    """A tool whose first computation waits until it is let go."""

    def __init__(self):
        self.begun, self.go, self.computed = threading.Event(), threading.Event(), []
        self.slider = ipywidgets.IntSlider(value=0, min=0, max=50)
        self.tool = ModelTool("slow", {"n": self.slider}, self.compute, lambda n: picture(f"this is number {n}"))

    def compute(self, n):
        self.computed.append(n)
        if n:
            self.begun.set()
            assert self.go.wait(20)
        if n == 13:
            raise ValueError("<unlucky>")
        return n


def test_a_slider_dragged_fast_draws_the_first_and_the_last_state_only():
    slow = Slow()
    slow.tool.widget()
    seen = []
    slow.tool._said.observe(lambda change: seen.append(change["new"]), "value")
    slow.slider.value = 1
    assert slow.begun.wait(20)
    started = time.perf_counter()
    for n in range(2, 31):
        slow.slider.value = n
    assert time.perf_counter() - started < 2, "a change must not wait for the work"
    assert WORKING in slow.tool._said.value
    slow.go.set()
    until(lambda: "number 30" in slow.tool._said.value)
    assert slow.computed == [0, 1, 30]
    assert not any("number 1<" in text for text in seen), "the answer to a state that has passed was shown"


def test_an_error_is_said_and_the_tool_goes_on():
    slow = Slow()
    slow.go.set()
    before = slow.tool.widget().children[-1].value
    slow.slider.value = 13
    until(lambda: "That did not work: &lt;unlucky&gt;" in slow.tool._said.value)
    assert slow.tool._image.value == before, "the last picture stays"
    slow.slider.value = 14
    until(lambda: "number 14" in slow.tool._said.value)


def test_the_sentence_is_read_out_and_the_tool_can_be_found():
    slow = Slow()
    box = slow.tool.widget()
    assert 'role="status"' in slow.tool._said.value
    assert {"minimistral-slow", "minimistral-tool"} <= set(box._dom_classes)
    assert slow.tool.widget() is box and repr(slow.tool) == "Picture: this is number 0"
