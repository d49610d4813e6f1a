"""Bits a byte and perplexity against one long forward pass and a count by hand; samples by their rule."""

import math

import pytest
import torch

from minimistral import ModelConfig, MoEConfig, Transformer, generate
from minimistral.evaluate import (
    bits_a_byte,
    by_domain,
    negative_log_likelihood,
    perplexity,
    report,
    samples,
    windowed_perplexity,
)

torch.set_num_threads(1)


class Bytes:
    """A tokenizer of single bytes; 256 begins a text and 257 ends it."""

    vocab_size = 258

    def encode(self, text, bos=False, eos=False):
        return [256] * bos + list(text.encode()) + [257] * eos

    def decode(self, ids):
        return bytes(i for i in ids if i < 256).decode("utf-8", "replace")


def small_model(**changes):
    torch.manual_seed(0)
    sizes = dict(dim=24, n_layers=2, n_heads=6, n_kv_heads=2, head_dim=10, hidden_dim=40, vocab_size=258)
    return Transformer(ModelConfig(**sizes | changes))


@pytest.mark.parametrize("chunk", [1, 4, 30, 31, 32, 256])
@pytest.mark.parametrize("changes", [{}, dict(sliding_window=5), dict(moe=MoEConfig(4, 2))], ids=str)
def test_reading_in_chunks_gives_what_one_pass_over_the_text_gives(changes, chunk):
    model, ids = small_model(**changes), torch.randint(256, (32,), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logarithms = model(ids[None])[0].log_softmax(-1)
    expected = -sum(float(logarithms[i, ids[i + 1]]) for i in range(31))
    assert negative_log_likelihood(model, ids, chunk) == pytest.approx(expected, rel=1e-5)
    assert perplexity(model, ids, chunk) == pytest.approx(math.exp(expected / 31), rel=1e-5)


def guesses_evenly():
    model = small_model()
    torch.nn.init.zeros_(model.output.weight)
    return model


def test_a_model_that_guesses_needs_the_logarithm_of_its_vocabulary_for_each_token():
    model = guesses_evenly()
    assert perplexity(model, [1, 2, 3]) == pytest.approx(258)
    # "aé" is 3 bytes; its tokens and eos are predicted, bos is given
    assert bits_a_byte(model, ["aé"], Bytes()) == pytest.approx(math.log2(258) * 4 / 3)
    texts = {"long": ["a" * 9, "é"], "short": ["a"]}
    expected = {"long": math.log2(258) * 13 / 11, "short": math.log2(258) * 2}
    assert by_domain(model, texts, Bytes()) == pytest.approx(expected)


def test_an_empty_text_counts_its_end_and_nothing_at_all_is_refused():
    assert bits_a_byte(guesses_evenly(), ["", "a"], Bytes()) == pytest.approx(math.log2(258) * 3)
    for nothing in ([], [""]):
        with pytest.raises(ValueError, match="no text"):
            bits_a_byte(guesses_evenly(), nothing, Bytes())


@pytest.mark.parametrize("ids", [[], [1], torch.zeros(2, 3, dtype=torch.int64)])
def test_a_text_needs_two_tokens_in_one_row(ids):
    with pytest.raises(ValueError, match="two tokens"):
        perplexity(small_model(), ids)


def test_what_is_no_text_of_ids_is_said():
    with pytest.raises(ValueError, match=r"give a list, \[text\]"):
        bits_a_byte(small_model(), "one text", Bytes())
    for measure in (perplexity, lambda model, ids: windowed_perplexity(model, ids, 2)):
        with pytest.raises(ValueError, match="give its token ids"):
            measure(small_model(), "one text")
        with pytest.raises(ValueError, match="from 0 to 257"):
            measure(small_model(), [1, 258])  # guessed only, never read


def test_samples_follow_their_rule_and_the_report_shows_them():
    model, texts = small_model(), {"one": ["To be, or not to be, that is the question", "zzz"], "two": ["ab"]}
    found = samples(model, Bytes(), texts, prompt_tokens=6, new_tokens=5)
    assert found["one"][0] == "To be" and found["two"][0] == "ab"
    [new] = generate(model, [[256, *b"To be"]], 5, temperature=0.8, top_p=0.95, seed=0)
    assert found["one"][1] == Bytes().decode([*b"To be", *new])[5:]
    assert samples(model, Bytes(), texts, prompt_tokens=6, new_tokens=5) == found
    written = report(model, Bytes(), texts)
    bits = bits_a_byte(model, texts["one"], Bytes())
    assert f"| one | 44 | {bits:.3f} |" in written and "ab|" in written


@pytest.mark.parametrize(("window", "stride"), [(8, 8), (8, 3), (8, 1), (5, 4), (31, 31), (30, 7), (100, 10), (1, 1)])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_each_token_is_predicted_once_from_the_first_window_that_holds_it(window, stride, batch_size):
    model, ids = small_model(), torch.randint(256, (32,), generator=torch.Generator().manual_seed(2))
    nats, begin, scored = 0.0, 0, 0
    while scored < 31:  # slowly: window by window, token by token
        end = min(begin + window, 31)
        start = max(end - window, 0)
        for target in range(scored + 1, end + 1):
            with torch.no_grad():
                nats -= float(model(ids[None, start:target])[0, -1].log_softmax(-1)[ids[target]])
        scored, begin = end, begin + stride
    assert windowed_perplexity(model, ids, window, stride, batch_size) == pytest.approx(math.exp(nats / 31), rel=1e-4)


def test_one_window_over_the_whole_text_is_the_perplexity():
    model, ids = small_model(), [1, 2, 3, 4, 5]
    assert windowed_perplexity(model, ids, window=4) == pytest.approx(perplexity(model, ids), rel=1e-5)
    assert windowed_perplexity(guesses_evenly(), ids, 2, 1) == pytest.approx(258)
    for bad in (dict(window=2, stride=3), dict(window=0), dict(window=2, stride=0), dict(window=2, batch_size=0)):
        with pytest.raises(ValueError, match="1 ≤ stride ≤ window"):
            windowed_perplexity(model, ids, **bad)
