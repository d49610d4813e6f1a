"""Chapter 11 as a learner uses it: Run All, and the bit player by keyboard and by its list."""

import re

import pytest

from minimistral.lab import BitPlayer
from minimistral.lab.tools import bit_player

TOOL = ".minimistral-bit-player"


@pytest.fixture(scope="module")
def chapter(opened):
    opened.errors.clear()
    opened.outside.clear()
    opened.open("11_quantization.ipynb")
    opened.run_all()
    opened.page.wait_for_selector(TOOL, timeout=300_000)
    opened.page.wait_for_selector(".minimistral-question >> nth=14", state="attached", timeout=400_000)
    opened.wait_until_idle(400_000)
    return opened


def set_range(chapter, name, value):
    script = "(node, value) => { node.value = value; node.dispatchEvent(new Event('input')); }"
    chapter.control(TOOL, name).evaluate(script, value)


def choose(chapter, group):
    chapter.control(TOOL, "group").select_option(index=bit_player.GROUPS.index(group))


def start_again(chapter):
    set_range(chapter, "bits", 4)
    choose(chapter, 16)
    set_range(chapter, "outlier", 8)


def heights(chapter):
    bars = chapter.page.locator(f"{TOOL} rect.error")
    return bars.evaluate_all("bars => bars.map(bar => [bar.getAttribute('fill'), Number(bar.getAttribute('height'))])")


def test_before_a_run_the_picture_stands_in_for_the_tool(opened):
    opened.open("11_quantization.ipynb")
    stills = opened.page.locator('.jp-OutputArea img[alt^="15 codes, groups of 16"]')
    stills.first.scroll_into_view_if_needed()
    assert stills.count() == 1
    assert opened.page.locator("text=Error displaying widget").count() == 0


def test_run_all_ends_with_the_tool_alive_and_it_says_what_python_says(chapter):
    assert chapter.said(TOOL) == repr(BitPlayer())
    assert chapter.page.locator(f"{TOOL} svg[role=img]").get_attribute("aria-label") == chapter.said(TOOL)


def test_javascript_computes_what_python_computes(chapter):
    for bits, group, outlier in [(2, 8, 10.0), (3, 64, 0.0), (5, 32, 4.5), (8, 16, 2.0), (7, 8, 0.5)]:
        set_range(chapter, "bits", bits)
        choose(chapter, group)
        set_range(chapter, "outlier", outlier)
        assert chapter.said(TOOL) == repr(BitPlayer(bits, group, outlier))
    start_again(chapter)


def test_every_control_has_a_label(chapter):
    for name in ("bits", "group", "outlier"):
        assert chapter.control(TOOL, name).evaluate("node => node.labels.length") == 1


def test_the_outlier_ruins_its_group_only(chapter):
    start_again(chapter)

    def errors():
        there, elsewhere = re.search(r"error is ([\d.]+) beside weight 21, ([\d.]+) in", chapter.said(TOOL)).groups()
        return float(there), float(elsewhere)

    before = errors()
    slider = chapter.control(TOOL, "outlier")
    slider.focus()
    for _ in range(12):
        chapter.page.keyboard.press("ArrowLeft")
    chapter.page.wait_for_function(f"() => document.querySelector('{TOOL} [data-name=outlier]').value === '2'")
    after = errors()
    assert before[0] > 3 * after[0] and before[1] == after[1]
    bars = heights(chapter)
    assert len(bars) == 64 and len({colour for colour, _ in bars}) == 2
    start_again(chapter)


def test_one_group_leaves_nobody_else(chapter):
    choose(chapter, 64)
    assert "one group of 64" in chapter.said(TOOL) and "other groups" not in chapter.said(TOOL)
    assert len({colour for colour, _ in heights(chapter)}) == 1
    start_again(chapter)


def test_it_draws_at_once(chapter):
    start_again(chapter)
    keys = ["ArrowRight", "ArrowLeft"] * 15
    median, p95 = chapter.redraw_times(chapter.control(TOOL, "bits"), keys)
    assert median <= 50 and p95 <= 200


def test_nothing_was_asked_of_the_network_and_nothing_failed(chapter):
    assert chapter.outside == []
    assert chapter.errors == []
