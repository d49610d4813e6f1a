"""Chapter 08 as a learner uses it: Run All, and the router by keyboard and by its lists."""

import re

import pytest

TOOL = ".minimistral-router"


@pytest.fixture(scope="module")
def chapter(opened):
    opened.run_chapter("08_router.ipynb", TOOL, question=7)
    return opened


def control(chapter, name):
    return chapter.control(TOOL, name)


def said(chapter):
    return chapter.said(TOOL)


def output(chapter):
    return float(re.search(r"Output (−?-?\d+\.\d+)", said(chapter))[1])


def start_again(chapter):
    control(chapter, "preset").select_option("all alike")
    control(chapter, "preset").select_option("two nearly alike")


def test_before_a_run_the_picture_stands_in_for_the_tool(opened):
    opened.open("08_router.ipynb")
    stills = opened.page.locator('.jp-OutputArea img[alt^="Experts 0 and 1 of 8 run"]')
    stills.first.scroll_into_view_if_needed()
    assert stills.count() == 1
    assert opened.page.locator("text=Error displaying widget").count() == 0


def test_run_all_ends_with_the_tool_alive_and_it_says_what_python_says(chapter):
    assert said(chapter).startswith("Experts 0 and 1 of 8 run, weight 0.73 and 0.27, sum 1.00. The others held 26%")
    assert "passes 0.9, expert 2's place, the output jumps from 1.50 to 0.25." in said(chapter)
    assert chapter.page.locator(f"{TOOL} svg[role=img]").get_attribute("aria-label") == said(chapter)


def test_every_control_has_a_label(chapter):
    for name in ("preset", "expert", "logit", "k", "order", "renormalise", "noise", "draw"):
        assert control(chapter, name).evaluate("node => node.labels.length") == 1


def test_one_step_past_another_logit_makes_the_output_jump(chapter):
    start_again(chapter)
    slider = control(chapter, "logit")
    slider.focus()
    before = output(chapter)
    for _ in range(2):
        chapter.page.keyboard.press("ArrowLeft")
    chapter.page.wait_for_function(
        f"() => document.querySelector('{TOOL} [role=status]').textContent.includes('0 and 2')"
    )
    assert abs(output(chapter) - before) > 1
    assert control(chapter, "preset").evaluate("node => node.value") == "your own"


def test_one_expert_is_flat_after_and_sloped_before(chapter):
    start_again(chapter)
    control(chapter, "k").evaluate("node => { node.value = 1; node.dispatchEvent(new Event('input')); }")
    assert said(chapter).startswith("Expert 0 of 8 runs, weight 1.00")

    def heights():
        path = chapter.page.locator(f"{TOOL} path.curve-on").get_attribute("d")
        return {float(place.split(" ")[1]) for place in re.split("[ML]", path) if place}

    assert len(heights()) == 1
    control(chapter, "order").select_option("before the choice, over all 8")
    control(chapter, "renormalise").uncheck()
    assert len(heights()) > 10
    control(chapter, "renormalise").check()
    control(chapter, "order").select_option("after the choice, over the k")


def test_all_alike_drops_three_quarters_and_noise_decides(chapter):
    control(chapter, "k").evaluate("node => { node.value = 2; node.dispatchEvent(new Event('input')); }")
    control(chapter, "preset").select_option("all alike")
    assert "The others held 75% of the softmax" in said(chapter)
    control(chapter, "noise").evaluate("node => { node.value = 1; node.dispatchEvent(new Event('input')); }")
    seen, draw = set(), control(chapter, "draw")
    draw.focus()
    for _ in range(5):
        seen.add(said(chapter).split(" of 8")[0])
        chapter.page.keyboard.press("ArrowRight")
    assert len(seen) >= 3


def test_nothing_was_asked_of_the_network_and_nothing_failed(chapter):
    assert chapter.outside == []
    assert chapter.errors == []
