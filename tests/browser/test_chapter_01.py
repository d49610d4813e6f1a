"""Chapter 01 as a learner uses it: Run All, type into the lens, see an emoji fall into bytes."""

import os

import pytest

TOOL = ".minimistral-tokenizer-lens"
MISTRAL = f'{TOOL} section[data-vocabulary="Mistral 7B"]'
SECONDS = 20_000  # for an answer on a busy machine
TIMER = """field => {
  window.times = [];
  const picture = document.querySelector('.minimistral-tokenizer-lens .minimistral-picture');
  field.addEventListener('input', () => { window.typed = performance.now(); }, true);
  new MutationObserver(() => {
    if (picture.firstElementChild.style.opacity === '1') window.times.push(performance.now() - window.typed);
  }).observe(picture, { childList: true });
}"""


@pytest.fixture(scope="module")
def chapter(opened):
    opened.open("01_tokens.ipynb")
    opened.run_all()
    opened.page.wait_for_selector(TOOL, timeout=180_000)
    opened.page.wait_for_selector(".minimistral-question >> nth=7", state="attached", timeout=240_000)
    opened.wait_until_idle()
    opened.page.locator(TOOL).scroll_into_view_if_needed()
    return opened


def control(chapter, name):
    return chapter.control(TOOL, name)


def said(chapter, begins):
    """The sentence, once Python has answered with one that begins so."""
    chapter.page.wait_for_function(
        "([tool, begins]) => document.querySelector(tool + ' [role=status]').textContent.startsWith(begins)",
        arg=[TOOL, begins],
        timeout=SECONDS,
    )
    return chapter.said(TOOL)


def test_before_a_run_the_picture_stands_in_for_the_tool(opened):
    opened.open("01_tokens.ipynb")
    stills = opened.page.locator('.jp-OutputArea img[alt^="31 bytes of UTF-8"]')
    stills.first.scroll_into_view_if_needed(timeout=60_000)  # cells far down are drawn late
    assert stills.count() == 1
    assert opened.page.locator("text=Error displaying widget").count() == 0


def test_an_emoji_falls_into_its_bytes(chapter):
    field = control(chapter, "text")
    field.fill("I 🥹 you")
    assert "7 tokens for Mistral 7B (32,000 pieces), 4 of them single bytes" in said(chapter, "10 bytes")
    bytes_shown = chapter.page.locator(f"{MISTRAL} [data-byte=true]").all_inner_texts()
    assert [text.split()[0] for text in bytes_shown] == ["<0xF0>", "<0x9F>", "<0xA5>", "<0xB9>"]
    ids = chapter.page.locator(f"{MISTRAL} [data-id]").evaluate_all("nodes => nodes.map(n => Number(n.dataset.id))")
    assert ids == [315, 28705, 243, 162, 168, 188, 368]


def test_typing_goes_to_the_field_and_not_to_the_notebook(chapter):
    """Single letters are JupyterLab's commands elsewhere: d d deletes a cell, b adds one."""
    cells = chapter.page.locator(".jp-Notebook .jp-Cell").count()
    field = control(chapter, "text")
    field.fill("")
    field.focus()
    chapter.page.keyboard.type("ddbb</s>")
    assert chapter.page.locator(".jp-Notebook .jp-Cell").count() == cells
    assert field.input_value() == "ddbb</s>"
    said(chapter, "8 bytes")
    assert chapter.page.locator(f"{MISTRAL} [data-id='2']").count() == 0  # no mark was made of the letters


def test_every_control_has_a_label_and_examples_are_reached_by_keyboard(chapter):
    for name in ("text", "example"):
        assert control(chapter, name).evaluate("node => node.labels.length") == 1
    control(chapter, "example").select_option("emoji")
    assert "single bytes" in said(chapter, "28 bytes")
    assert control(chapter, "text").input_value() == "🙂 🥹 👩‍👩‍👧"


def test_an_answer_comes_while_one_types_and_the_last_one_stays(chapter):
    field = control(chapter, "text")
    field.evaluate(TIMER)
    field.fill("")
    field.focus()
    chapter.page.keyboard.type("Llamas like long grass and hay.", delay=60)
    assert "tokens for Mistral" in said(chapter, "31 bytes")
    pieces = chapter.page.locator(f"{MISTRAL} b[style]").all_inner_texts()
    assert "".join(pieces).replace("▁", " ").strip() == "Llamas like long grass and hay."
    times = sorted(chapter.page.evaluate("window.times"))
    median = times[len(times) // 2]
    print(f"{len(times)} answers, median {median:.0f} ms")
    assert median <= (1_500 if os.environ.get("CI") else 500)


def test_nothing_was_asked_of_the_network_and_nothing_failed(chapter):
    assert chapter.outside == []
    assert chapter.errors == []
