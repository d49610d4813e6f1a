"""Chapter 00's drawings: the logits shown are the model's, and the turns write what the library writes."""

import pytest
import torch

from minimistral import generate, load
from minimistral.lab import Picture
from minimistral.lab.writing_pictures import draw_columns, draw_turns, turns

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def bundled():
    return load("tiny-mistral", dtype="float32", device="cpu")


def test_the_turns_take_what_greedy_writing_takes(bundled):
    model, tokenizer = bundled
    ids = tokenizer.encode("To be, or not to be", bos=True)
    found = turns(model, ids, 3)
    [written] = generate(model, [ids], 3, temperature=0.0)
    assert [taken for _, taken in found] == written
    for p, taken in found:
        assert p.argmax() == taken
        torch.testing.assert_close(float(p.sum()), 1.0)
    picture = draw_turns(model, tokenizer, ids)
    assert isinstance(picture, Picture)
    assert f"comes “{tokenizer.decode([written[0]])}” ({float(found[0][0].max()):.0%})" in picture.alt
    with pytest.raises(ValueError, match="1 to 4"):
        draw_turns(model, tokenizer, ids, n=5)


def test_the_last_column_is_the_models_answer(bundled):
    model, tokenizer = bundled
    ids = tokenizer.encode("To be, or not to be", bos=True)
    with torch.inference_mode():
        logits = model(torch.tensor([ids]))
    best = logits[0, -1].topk(4)
    words = [f"{tokenizer.decode([i])} {value:.1f}" for i, value in zip(best.indices.tolist(), best.values.tolist())]
    alt = draw_columns(logits, tokenizer, ids).alt
    assert "8 tokens read, each with a column of 2,048 logits" in alt and alt.endswith(f"{', '.join(words)}.")


def test_longer_texts_and_signs_of_formulas_are_drawn_too(bundled):
    model, tokenizer = bundled
    ids = tokenizer.encode("HAMLET:\n It costs $x^2$ or {$y$ _ $\\frac$, and so on and on", bos=True)
    with torch.inference_mode():
        logits = model(torch.tensor([ids]))
    assert f"{len(ids)} tokens read" in draw_columns(logits, tokenizer, ids).alt
    for end in range(2, len(ids)):
        draw_turns(model, tokenizer, ids[:end], n=1)
