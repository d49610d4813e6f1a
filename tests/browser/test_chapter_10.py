"""Chapter 10 as a learner uses it: Run All, and the benchmark explorer by keyboard and by its lists."""

import json
import re
from dataclasses import asdict

import pytest

from minimistral.lab import BenchmarkExplorer
from minimistral.lab.tools.benchmark_explorer import TABLES, State, benchmarks, describe, protocols

TOOL = ".minimistral-benchmark-explorer"


@pytest.fixture(scope="module")
def chapter(opened):
    opened.run_chapter("10_evaluation.ipynb", TOOL, question=7)
    return opened


def control(chapter, name):
    return chapter.control(TOOL, name)


def said(chapter):
    return chapter.said(TOOL)


def start_again(chapter):
    control(chapter, "table").select_option("Figure 3: Mistral 7B and Llama")
    control(chapter, "table").select_option("Figure 1: MMLU, six models")
    control(chapter, "measure").select_option("right answers")
    control(chapter, "axis").evaluate("node => { node.value = 40; node.dispatchEvent(new Event('input')); }")


def test_before_a_run_the_picture_stands_in_for_the_tool(opened):
    opened.open("10_evaluation.ipynb")
    stills = opened.page.locator('.jp-OutputArea img[alt^="The bars begin at 40"]')
    stills.first.scroll_into_view_if_needed()
    assert stills.count() == 1
    assert opened.page.locator("text=Error displaying widget").count() == 0


def test_run_all_ends_with_the_tool_alive_and_it_says_what_python_says(chapter):
    assert said(chapter) == repr(BenchmarkExplorer())
    assert chapter.page.locator(f"{TOOL} svg[role=img]").get_attribute("aria-label") == said(chapter)


def test_every_control_has_a_label(chapter):
    for name in ("table", "benchmark", "measure", "axis", "errors", "protocol"):
        assert control(chapter, name).evaluate("node => node.labels.length") == 1


def test_arrow_keys_bring_the_axis_to_zero_and_the_gap_melts(chapter):
    start_again(chapter)
    slider = control(chapter, "axis")
    slider.focus()

    def ratio():
        first, second = (
            float(chapter.page.locator(f"{TOOL} rect.bar").nth(row).get_attribute("width")) for row in (0, 1)
        )
        return first / second

    assert ratio() == pytest.approx(46.4 / 41.2, abs=0.002)
    chapter.page.keyboard.press("ArrowLeft")
    assert said(chapter).startswith("The bars begin at 39")
    chapter.page.keyboard.press("Home")
    chapter.page.wait_for_function(
        f"() => document.querySelector('{TOOL} [role=status]').textContent.includes('at 0:')"
    )
    assert ratio() == pytest.approx(86.4 / 81.2, abs=0.002)


def test_mistakes_errors_and_protocols(chapter):
    start_again(chapter)
    control(chapter, "measure").select_option("mistakes")
    assert "1.38 times as many" in said(chapter)
    assert control(chapter, "axis").evaluate("node => node.value") == "0"
    control(chapter, "measure").select_option("right answers")
    assert chapter.page.locator(f"{TOOL} path.error").count() == 0
    control(chapter, "errors").check()
    assert chapter.page.locator(f"{TOOL} path.error").count() == 6
    control(chapter, "protocol").select_option("not stated")
    assert said(chapter).startswith("Only Mistral Large has this protocol")
    control(chapter, "table").select_option("Figure 3: Mistral 7B and Llama")
    control(chapter, "benchmark").select_option("TriviaQA")
    assert "how many questions were asked is not stated" in said(chapter)
    assert chapter.page.locator(f"{TOOL} path.error").count() == 0
    control(chapter, "errors").uncheck()


def test_javascript_says_in_every_state_what_python_says(chapter):
    """Each table, benchmark, protocol and measure, asked in the page itself."""
    from minimistral.lab.tools.browser_tool import source

    states = [
        State(table, benchmark, measure, 0, True, protocol)
        for table in TABLES
        for benchmark in benchmarks(table)
        for protocol in protocols(State(table, benchmark))
        for measure in ("score", "mistakes")
    ]
    script = re.sub(r"export default \{ render \};", "", source("benchmark_explorer.js"))
    asked, data = json.dumps([asdict(state) for state in states]), json.dumps(BenchmarkExplorer().data())
    found = chapter.page.evaluate(f"(() => {{ {script}\nreturn {asked}.map((state) => sentence(state, {data})); }})()")
    assert found == [describe(state) for state in states]


def test_nothing_was_asked_of_the_network_and_nothing_failed(chapter):
    assert chapter.outside == []
    assert chapter.errors == []
