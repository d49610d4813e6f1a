"""Chapter 07's drawings: what they draw is what the library computes, for the bundled model and for a learner's own."""

import pytest
import torch
from torch.nn import functional as F

from minimistral import ModelConfig, Transformer, load
from minimistral.lab import Picture
from minimistral.lab.stack_pictures import costs, draw_parting, draw_questions, draw_stream, stations

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def bundled():
    return load("tiny-mistral", dtype="float32", device="cpu")


def test_the_mean_cost_is_the_loss_in_bits(bundled):
    model, tokenizer = bundled
    ids = tokenizer.encode("To be, or not", bos=True)
    with torch.inference_mode():
        nats = F.cross_entropy(model(torch.tensor([ids[:-1]]))[0], torch.tensor(ids[1:]))
    bits = costs(model, ids)
    assert len(bits) == 5
    torch.testing.assert_close(bits.mean(), (nats / torch.tensor(2.0).log()).double(), rtol=1e-5, atol=1e-5)
    picture = draw_questions(model, tokenizer, ids)
    assert isinstance(picture, Picture) and f"mean, {bits.mean():.2f}" in picture.alt
    assert "Reads: “(start)” “To” “be”" in picture.alt and "Should name: “To” “be”" in picture.alt


@pytest.mark.parametrize("n", [1, 10])
def test_too_few_or_too_many_questions_are_refused(bundled, n):
    with pytest.raises(ValueError, match="1 to 8"):
        draw_questions(*bundled, [1] * n)


def test_the_stream_keeps_its_shape_and_the_weights_add_up(bundled):
    tokens = torch.tensor([[1, 5, 9, 3]])
    for model in (bundled[0], Transformer(ModelConfig(**{**vars(bundled[0].config), "n_layers": 2, "dim": 96}))):
        c = model.config
        found = stations(model, tokens)
        shapes = [shape for shape, _ in found.values()]
        assert shapes == [(1, 4, c.dim)] * (c.n_layers + 2) + [(1, 4, c.vocab_size)]
        assert sum(weights for _, weights in found.values()) == c.count_parameters().total
        assert not any(module._forward_hooks for module in model.modules()), "no hook stays behind"
        alt = draw_stream(model, tokens).alt
        parts = c.count_parameters().parts
        assert f"attention ({parts['attention'] // c.n_layers:,} weights a layer)" in alt
        assert f"({parts['feed_forward'] // c.n_layers:,})" in alt and f"{c.count_parameters().total:,} weights" in alt


def test_the_parting_says_where_and_how_much():
    gap = torch.tensor([1e-5, 0.0, 1e-6, 0.5, 2.25])
    alt = draw_parting(gap, 3).alt
    assert "below 0.001 up to position 2" in alt and alt.endswith("then up to 2.2.")
    assert "below 0.50 up to position 3" in draw_parting(gap, 4).alt
