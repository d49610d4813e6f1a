"""Chapter 07's parts: the lens against the model and a loop, the race against a plain count, quiz keys."""

import math
from collections import Counter

import pytest
import torch

from minimistral import ModelConfig, Transformer, load
from minimistral.lab import LogitLens, first_minute, quizzes
from minimistral.lab.lens import look
from minimistral.lab.stored_results import stored
from minimistral.lab.tools import logit_lens as tool
from minimistral.sampling import Sampling

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def bundled():
    return load("tiny-mistral", dtype="float32", device="cpu")


def test_the_last_layer_of_the_lens_is_the_model_and_the_first_is_the_embedding(bundled):
    model, tokenizer = bundled
    ids = tokenizer.encode("And it came to pass", bos=True)
    found = look(model, ids)
    with torch.inference_mode():
        torch.testing.assert_close(found.logits[-1], model(torch.tensor([ids]))[0])
        first = model.output(model.norm(model.tok_embeddings(torch.tensor(ids))))
    torch.testing.assert_close(found.logits[0], first)
    assert found.logits.shape == (7, len(ids), 2048) and found.weights.shape == (6, 6, len(ids), len(ids))


def test_the_lens_shows_the_weights_that_the_model_uses():
    torch.manual_seed(0)
    model = Transformer(
        ModelConfig(
            dim=12, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=6, hidden_dim=8, vocab_size=11, sliding_window=3
        )
    )
    seen = []
    model.layers[1].attention.wo.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0][0]))
    values = []
    model.layers[1].attention.wv.register_forward_hook(lambda module, inputs, result: values.append(result[0]))
    weights = look(model, [1, 5, 3, 7, 2, 9]).weights[1]  # (H, T, T)
    assert (weights.sum(-1) - 1).abs().max() < 1e-6
    assert (weights.triu(1) == 0).all() and (weights.tril(-3) == 0).all(), "the future and what left the window"
    v = values[0].unflatten(-1, (2, 6)).transpose(0, 1).repeat_interleave(2, 0)  # (H, T, D)
    torch.testing.assert_close((weights @ v).transpose(0, 1).flatten(1), seen[0])


def test_the_tool_shows_the_end_of_a_long_text_and_refuses_an_empty_one(bundled):
    seen = tool.see("And it came to pass in those days, that there went out a decree from Caesar", 2, 3)
    assert len(seen.pieces) == tool.MAX_TOKENS == len(seen.weights) == len(seen.said[0])
    assert len(seen.said) == 7 and seen.pieces[0] != "‹text›"
    assert tool.see("hm", 1, 1).pieces[0] == "‹text›"
    with pytest.raises(ValueError, match="word"):
        tool.see("", 1, 1)
    picture = LogitLens("HAMLET: $5 to be").picture()
    assert picture.alt.startswith("Layer 1, head 1") and len(picture.png) < 60_000


def test_counting_a_bigram_by_hand_gives_the_same_bits(monkeypatch):
    text = torch.tensor(list(b"abracadabra, abracadabra! a bracket, a cab, a card. " * 40))
    monkeypatch.setattr(first_minute, "byte_text", lambda steps: (text, text[:640]))
    rows = text[:640].view(-1, first_minute.CONTEXT).tolist()
    bits = first_minute.counting(n_bytes=len(text), order=1, steps=1)
    counts, n = Counter(text.tolist()), len(text)
    once, twice = (sum(c == k for c in counts.values()) for k in (1, 2))
    discount = once / (once + 2 * twice) if once and twice else 0.5
    p = {b: (c - discount) / n + discount * len(counts) / n / 256 for b, c in counts.items()}
    half = first_minute.CONTEXT // 2
    by_hand = -sum(math.log2(p[b]) for row in rows for b in row[half:]) / (len(rows) * half)
    assert bits == pytest.approx(by_hand)
    assert first_minute.counting(len(text), 3, 1) < first_minute.counting(len(text), 2, 1) < bits


def test_the_race_never_trains_on_what_it_judges_and_starts_where_chance_is():
    text, held_out = first_minute.byte_text(20)
    assert bytes(held_out[:200].tolist()) not in bytes(text.tolist())
    model = Transformer(first_minute.byte_config())
    assert 7.5 < first_minute.bits_a_byte(model, held_out[:2048]) < 9.5
    with pytest.raises(ValueError, match="enough for"):
        first_minute.byte_text(10_000)


def test_the_stored_race_has_five_seeds_and_rivals_that_counted_as_much():
    runs = stored("first_minute")["runs"]
    ends = {run["bytes"][-1] for run in runs}
    assert len(ends) == 1 and sum(run["kind"] == "model" for run in runs) == 5
    assert {run["kind"] for run in runs} == {"model", "2-gram", "3-gram", "4-gram", "5-gram"}


def key(chapter, number):
    question = quizzes.questions(chapter)[number - 1]
    return question.options[question.key]


def test_chapter_07_keys_are_what_the_library_computes():
    from minimistral.lab.reach import reachable
    from minimistral.train import TrainConfig, draw_batch

    batch = draw_batch(torch.arange(10_000), TrainConfig(batch_size=8, context=256), 0)
    assert key("07", 1) == f"{batch[:, 1:].numel():,}" and batch.shape == (8, 257)
    kept = Sampling(1.0, top_p=0.7).probabilities(torch.tensor([0.5, 0.3, 0.15, 0.05]).log()) > 0
    assert key("07", 2) == {1: "the first", 2: "the first two", 3: "the first three"}[int(kept.sum())]
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    assert (
        len({Sampling(0.0).choose(torch.randn(50, generator=torch.Generator().manual_seed(0)), g) for g in generators})
        == 1
    )
    assert key("07", 4).startswith("twice the same")
    assert key("07", 5) == str(int(reachable(6, 64, 500)[-1].sum()))


def test_the_review_keys_are_what_the_library_computes():
    from minimistral.lab.reach import reachable
    from minimistral.norm import RMSNorm

    config = ModelConfig.preset("mistral-7b-v0.1")
    out = RMSNorm(2, 1e-12)(torch.tensor([3.0, -4.0])).tolist()
    assert key("07_review", 2) == f"({out[0]:.2f}, −{-out[1]:.2f})"
    assert key("07_review", 4) == f"{2 * config.n_layers * config.n_kv_heads * config.head_dim * 2 // 1024} KiB"
    assert key("07_review", 5) == str(int(reachable(5, 3, 60)[-1].sum()))
    assert [q.returns_to for q in quizzes.questions("07_review")] == ["01", "02", "03", "04", "05", "06"]
