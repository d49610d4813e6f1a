"""Chapter 00 as a learner uses it: Run All, the map by mouse and by keyboard, the ten questions."""

import pytest

TOOL = ".minimistral-architecture-map"


@pytest.fixture(scope="module")
def chapter(opened):
    opened.open("00_start_here.ipynb")
    opened.run_all()
    opened.page.wait_for_selector(TOOL, timeout=120_000)
    opened.page.wait_for_selector(".minimistral-question >> nth=15", state="attached", timeout=180_000)
    opened.wait_until_idle()
    return opened


def ran(chapter, text):
    chapter.page.wait_for_function(
        "([tool, text]) => document.querySelector(tool + ' .ran').textContent.includes(text)", arg=[TOOL, text]
    )


def test_a_click_lights_the_part_up_and_runs_it(chapter):
    part = chapter.page.locator(f'{TOOL} [data-part="output"]')
    part.scroll_into_view_if_needed()
    part.click()
    ran(chapter, "(1, 8, 2048)")
    assert chapter.page.locator(f'{TOOL} [data-part="output"]').get_attribute("aria-pressed") == "true"
    assert "(B, T, V)" in chapter.page.locator(f"{TOOL} [role=status]").text_content()


def test_the_keyboard_reaches_every_part(chapter):
    parts = chapter.page.locator(f"{TOOL} [data-part]")
    assert parts.count() == 10
    parts.first.focus()
    seen = []
    for _ in range(10):
        seen.append(chapter.page.evaluate("document.activeElement.dataset.part"))
        chapter.page.keyboard.press("Enter")
        assert chapter.page.locator(f'{TOOL} [data-part="{seen[-1]}"]').get_attribute("aria-pressed") == "true"
        assert chapter.page.evaluate("document.activeElement.dataset.part") == seen[-1], "the focus stays"
        chapter.page.keyboard.press("Tab")
    assert len(set(seen)) == 10


def test_the_layer_moves_what_was_measured(chapter):
    chapter.page.locator(f'{TOOL} [data-part="ffn_norm"]').click()
    ran(chapter, "(1, 8, 192)")
    before = chapter.page.locator(f"{TOOL} .ran").text_content()
    slider = chapter.page.locator(f'{TOOL} input[data-name="layer"]')
    slider.focus()
    chapter.page.keyboard.press("ArrowRight")
    chapter.page.wait_for_function(
        "([tool, before]) => { const now = document.querySelector(tool + ' .ran').textContent; "
        "return now !== before && !now.includes('…'); }",
        arg=[TOOL, before],
    )


def test_the_ten_questions_give_nothing_away(chapter):
    question = chapter.page.locator(".minimistral-question", has_text="What does a language model give back")
    question.scroll_into_view_if_needed()
    question.get_by_role("radio").first.check()
    question.get_by_role("button").click()
    assert question.locator("[role=status]").text_content().startswith("Kept:")


def test_nothing_complained_and_nothing_left_the_machine(chapter):
    assert chapter.errors == [] and chapter.outside == []
