"""Chapter 13 as a learner uses it: Run All on the stand-in, the routing map over the loaded model, the ten questions again."""

import os

import pytest

from minimistral.lab import pretest
from minimistral.lab.tools import routing_map as tool

TOOL = ".minimistral-routing-map"
SECONDS = 20_000  # for an answer on a busy machine


@pytest.fixture(scope="module")
def chapter(opened):
    opened.run_chapter("13_mixtral_8x7b.ipynb", TOOL, question=17, timeout=400_000)
    opened.page.locator(TOOL).scroll_into_view_if_needed()
    return opened


def wait_for(chapter, text):
    """The sentence, once it has this in it."""
    chapter.page.wait_for_function(
        "([tool, text]) => document.querySelector(tool + ' [role=status]').textContent.includes(text)",
        arg=[TOOL, text],
        timeout=SECONDS,
    )
    return chapter.said(TOOL)


def test_the_map_starts_in_the_last_layer_and_says_what_python_says(chapter):
    english = tool.EXAMPLES["English"]
    assert wait_for(chapter, "Layer 6: token 6 of") == tool.describe(english, 6, 6)
    assert chapter.control(TOOL, "layer").get_attribute("max") == "6"
    chapter.control(TOOL, "example").select_option("Spanish")
    n_tokens = len(tool.routed(tool.EXAMPLES["Spanish"]))
    assert wait_for(chapter, f" of {n_tokens}, ") == tool.describe(tool.EXAMPLES["Spanish"], 6, 6)
    if folder := os.environ.get("SCREENSHOTS"):
        chapter.page.locator(TOOL).screenshot(path=f"{folder}/routing-map-13.png")


def test_own_text_and_the_layer_by_keyboard(chapter):
    chapter.control(TOOL, "text").fill("The atom and the onion")
    n_tokens = len(tool.routed("The atom and the onion"))
    wait_for(chapter, f" of {n_tokens}, ")
    chapter.control(TOOL, "layer").focus()
    chapter.page.keyboard.press("Home")
    assert wait_for(chapter, "Layer 1:") == tool.describe("The atom and the onion", 1, min(6, n_tokens))


def test_the_ten_questions_are_asked_again_and_now_explain(chapter):
    first = pretest(after=True).questions[0]
    question = chapter.page.locator(".minimistral-question", has_text=f"1. {first.text}")
    question.scroll_into_view_if_needed()
    question.get_by_role("radio").nth(first.key).check()
    question.get_by_role("button", name="Answer").click()
    assert question.locator("[role=status]").text_content() == f"Yes. {first.notes[first.key]}"


def test_the_table_of_claims_is_there(chapter):
    chapter.page.locator("text=of 70 claims settled by you so far").first.scroll_into_view_if_needed()
    assert chapter.page.locator("td", has_text="C70").count() >= 1


def test_nothing_was_asked_of_the_network_and_nothing_failed(chapter):
    assert chapter.outside == []
    assert chapter.errors == []
