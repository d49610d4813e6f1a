"""The rolling cache: however a text is cut, and whatever rolls out, the logits are those of the whole text at once."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from minimistral import MoEConfig, RollingCache, Transformer

torch.set_num_threads(1)


@settings(max_examples=60, deadline=None)
@given(window=st.one_of(st.none(), st.integers(1, 12)), cuts=st.lists(st.integers(1, 9), min_size=1, max_size=6),
       experts=st.sampled_from([None, MoEConfig(3, 2)]))  # fmt: skip
def test_cut_anywhere_the_logits_are_those_of_the_whole(random_model, window, cuts, experts):
    model, n = random_model(sliding_window=window, moe=experts), sum(cuts)
    tokens = torch.randint(23, (2, n), generator=torch.Generator().manual_seed(n))
    cache = model.make_cache(2, n)
    pieces = [model(piece, cache=cache) for piece in tokens.split(cuts, dim=1)]
    assert_close(torch.cat(pieces, 1), model(tokens), rtol=1e-4, atol=1e-5)
    assert cache.position == n and cache.positions.tolist() == [n, n]


@settings(max_examples=60, deadline=None)
@given(window=st.one_of(st.none(), st.integers(1, 7)), data=st.data(), experts=st.sampled_from([None, MoEConfig(3, 1)]))
def test_ragged_rows_are_each_what_they_are_alone(random_model, window, data, experts):
    model = random_model(sliding_window=window, moe=experts)
    calls = data.draw(st.lists(st.tuples(*[st.integers(0, 6)] * 3).filter(any), min_size=1, max_size=4))
    texts = [torch.randint(1, 23, (sum(c[row] for c in calls),)) for row in range(3)]
    cache, done, given_logits = model.make_cache(3, 40), [0, 0, 0], [[], [], []]
    for counts in calls:
        tokens = torch.zeros(3, max(counts), dtype=torch.int64)
        for row, n in enumerate(counts):
            tokens[row, :n] = texts[row][done[row] : done[row] + n]
            done[row] += n
        logits = model(tokens, cache=cache, lengths=torch.tensor(counts))
        assert torch.isfinite(logits).all(), "padding turned to NaN"
        for row, n in enumerate(counts):
            given_logits[row].append(logits[row, :n])
    assert cache.positions.tolist() == done
    for row, text in enumerate(texts):
        if len(text):
            assert_close(torch.cat(given_logits[row]), model(text[None])[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("window", "max_context", "slots"), [(4, 100, 4), (None, 9, 9), (50, 9, 9), (9, 9, 9), (1, 3, 1)]
)
def test_it_holds_no_more_slots_than_it_needs(random_model, window, max_context, slots):
    config = replace(random_model().config, sliding_window=window)
    cache = RollingCache(config, 2, max_context, dtype=torch.bfloat16)
    assert cache.nbytes == 2 * 3 * 2 * 2 * slots * 6 * 2  # k and v, L, B, G, slots, D, bytes
    assert cache.dtype == torch.bfloat16 and cache.device.type == "cpu"


def test_position_p_lies_in_slot_p_mod_w(random_model):
    model = random_model(sliding_window=4, n_layers=1)
    tokens = torch.randint(23, (1, 11))
    whole, rolling = model.make_cache(1, 1000), model.make_cache(1, 1000)
    wide = Transformer(replace(random_model().config, n_layers=1))
    wide.load_state_dict(model.state_dict())
    keeps_all = wide.make_cache(1, 11)
    model(tokens, cache=whole)
    wide(tokens, cache=keeps_all)
    for piece in tokens.split(1, dim=1):
        model(piece, cache=rolling)
    for cache in (whole, rolling):
        for position in (7, 8, 9, 10):
            assert_close(cache.layers[0].k[:, :, position % 4], keeps_all.layers[0].k[:, :, position])
            assert_close(cache.layers[0].v[:, :, position % 4], keeps_all.layers[0].v[:, :, position])


@pytest.mark.parametrize("window", [None, 8])
def test_a_full_cache_that_does_not_roll_refuses_before_it_writes(random_model, window):
    model = random_model(sliding_window=window)
    cache = model.make_cache(1, 5)
    model(torch.ones(1, 3, dtype=torch.int64), cache=cache)
    before = cache.layers[0].k.clone()
    with pytest.raises(ValueError, match="max_context"):
        model(torch.ones(1, 3, dtype=torch.int64), cache=cache)
    assert cache.position == 3 and torch.equal(cache.layers[0].k, before)
    model(torch.ones(1, 2, dtype=torch.int64), cache=cache)
    assert cache.position == 5


def test_reset_forgets_everything(random_model):
    model, tokens = random_model(sliding_window=3), torch.randint(23, (2, 8))
    cache = model.make_cache(2, 8)
    model(tokens, cache=cache, lengths=torch.tensor([8, 5]))
    cache.reset()
    assert cache.position == 0 and cache.positions.tolist() == [0, 0]
    assert_close(model(tokens, cache=cache), model(tokens))


def test_an_interrupted_call_is_noticed_by_the_next(random_model, monkeypatch):
    model, tokens = random_model(), torch.randint(23, (1, 4))
    cache, layer = model.make_cache(1, 20), model.layers[1].feed_forward

    def interrupted(x):
        raise KeyboardInterrupt

    monkeypatch.setattr(layer, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model(tokens, cache=cache)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="reset"):
        model(tokens, cache=cache)
    cache.reset()
    assert_close(model(tokens, cache=cache), model(tokens))


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda m: m.make_cache(3, 9), "batch size"),
        (lambda m: RollingCache(m.config, 2, 9, dtype=torch.float16), "dtype"),
        (lambda m: RollingCache(m.config, 2, 9, device="meta"), "device"),
        (lambda m: type(m)(replace(m.config, n_layers=2)).make_cache(2, 9), "config"),
    ],
)
def test_a_cache_made_for_something_else_is_refused(random_model, make, word):
    model = random_model()
    with pytest.raises(ValueError, match=word):
        model(torch.ones(2, 2, dtype=torch.int64), cache=make(model))


@pytest.mark.parametrize(("batch_size", "max_context"), [(-1, 4), (1, 0), (1.0, 4), (1, "4"), (True, 4)])
def test_sizes_that_cannot_be_are_refused(random_model, batch_size, max_context):
    with pytest.raises(ValueError, match="whole number"):
        RollingCache(random_model().config, batch_size, max_context)


def test_rows_can_be_taken_out_and_put_back(random_model):
    model, tokens = random_model(sliding_window=5), torch.randint(23, (3, 7))
    cache = model.make_cache(3, 20)
    model(tokens, cache=cache)
    part = cache.take_rows([2, 0])
    new = torch.randint(23, (2, 2))
    expected = model(torch.cat([tokens[[2, 0]], new], 1))[:, -2:]
    assert_close(model(new, cache=part), expected, rtol=1e-4, atol=1e-5)
    assert cache.positions.tolist() == [7, 7, 7]
    cache.put_rows([2, 0], part)
    assert cache.positions.tolist() == [9, 7, 9]
    cache.keep_rows([0])
    again = model(torch.tensor([[4]]), cache=cache)
    assert_close(again, model(torch.cat([tokens[[0]], new[[1]], torch.tensor([[4]])], 1))[:, -1:], rtol=1e-4, atol=1e-5)


def test_a_cache_made_in_inference_mode_works_outside_it(random_model):
    model = random_model()
    with torch.inference_mode():
        cache = model.make_cache(1, 6)
        model(torch.ones(1, 2, dtype=torch.int64), cache=cache)
    model(torch.ones(1, 2, dtype=torch.int64), cache=cache)
    assert cache.position == 4


def test_gradients_do_not_flow_through_the_cache(random_model):
    model = random_model().requires_grad_(True)
    cache = model.make_cache(1, 6)
    model(torch.ones(1, 3, dtype=torch.int64), cache=cache)
    model(torch.ones(1, 1, dtype=torch.int64), cache=cache).sum().backward()
    assert not cache.layers[0].k.requires_grad
