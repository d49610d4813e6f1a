"""Chapter 12 as a learner uses it: Run All on the stand-in, then a conversation with the tool."""

import os

import pytest

TOOL = ".minimistral-chat"


@pytest.fixture(scope="module")
def chapter(opened):
    opened.errors.clear()
    opened.outside.clear()
    opened.open("12_mistral_7b.ipynb")
    opened.run_all()
    opened.page.wait_for_selector(f"{TOOL} button", timeout=180_000)
    opened.page.wait_for_selector(".minimistral-question >> nth=7", state="attached", timeout=300_000)
    opened.wait_until_idle(300_000)
    opened.page.locator(f"{TOOL} textarea").scroll_into_view_if_needed()
    return opened


def wait_for_words(chapter, text, timeout=30_000):
    chapter.page.wait_for_function(
        "([tool, text]) => document.querySelector(tool + ' [role=status]').textContent.includes(text)",
        arg=[TOOL, text],
        timeout=timeout,
    )


def button(chapter, name):
    return chapter.page.locator(f"{TOOL} button", has_text=name)


def test_it_writes_on_and_says_what_that_took(chapter):
    assert button(chapter, "Stop").is_disabled()
    button(chapter, "Write").click()
    wait_for_words(chapter, "60 new tokens")
    wait_for_words(chapter, "64 of 64 slots")
    assert "those days" in chapter.page.locator(TOOL).text_content()
    chapter.page.wait_for_function("tool => !document.querySelector(tool + ' button').disabled", arg=TOOL)
    if folder := os.environ.get("SCREENSHOTS"):
        chapter.page.locator(TOOL).screenshot(path=f"{folder}/chat.png")


def test_stop_ends_it_in_the_middle(chapter):
    handle = chapter.page.locator(f"{TOOL} .noUi-handle").nth(1)
    handle.focus()
    for _ in range(8):
        chapter.page.keyboard.press("PageUp")  # tokens at most: far more than fit into the test
    button(chapter, "Write").click()
    chapter.page.wait_for_function("tool => !document.querySelectorAll(tool + ' button')[1].disabled", arg=TOOL)
    button(chapter, "Stop").click()
    wait_for_words(chapter, "stopped")
    chapter.page.wait_for_function("tool => document.querySelectorAll(tool + ' button')[1].disabled", arg=TOOL)
    chapter.page.wait_for_function("tool => !document.querySelector(tool + ' button').disabled", arg=TOOL)


def test_the_ids_follow_what_is_typed(chapter):
    chapter.page.locator(f"{TOOL} textarea").fill("Hello")
    chapter.page.wait_for_function("tool => document.querySelector(tool).textContent.includes('22557')", arg=TOOL)
    assert "733" in chapter.page.locator(TOOL).text_content()  # [INST], in the official tokenizer's ids


def test_temperature_by_keyboard(chapter):
    slider = chapter.page.locator(f"{TOOL} .noUi-handle").nth(0)
    before = slider.get_attribute("aria-valuenow")
    slider.focus()
    chapter.page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuenow") != before


def test_nothing_complained_and_nothing_left_the_machine(chapter):
    assert chapter.errors == [] and chapter.outside == []
