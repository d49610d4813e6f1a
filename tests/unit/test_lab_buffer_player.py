"""Chapter 06's tool without a browser, and the keys of its quiz."""

import json
from dataclasses import replace
from itertools import product

import pytest
import torch

from minimistral import ModelConfig, RollingCache, Transformer
from minimistral.lab import BufferPlayer, quizzes
from minimistral.lab.tools import buffer_player as tool
from minimistral.masks import window_mask

SETTINGS = list(product((1, 2, 4, 8), (1, 3, 8), (1, 6, 16)))


def steps(window, chunk, n_prompt):
    last = tool.n_steps(tool.State(window, chunk, n_prompt, 0))
    return [tool.State(window, chunk, n_prompt, step) for step in range(1, last + 1)]


@pytest.mark.parametrize(("window", "chunk", "n_prompt"), SETTINGS)
def test_the_steps_go_through_the_text_once(window, chunk, n_prompt):
    spans = [tool.span(state, state.step) for state in steps(window, chunk, n_prompt)]
    assert [p for first, end, _ in spans for p in range(first, end)] == list(range(tool.N_TOKENS))
    for first, end, decoding in spans:
        assert decoding == (first >= n_prompt) and end - first <= (1 if decoding else chunk)


@pytest.mark.parametrize(("window", "chunk", "n_prompt"), SETTINGS)
def test_the_slots_are_those_of_a_buffer_written_token_by_token(window, chunk, n_prompt):
    held = [None] * window
    for state in steps(window, chunk, n_prompt):
        shown, before = tool.compute(state), list(held)
        lost = set()
        for position in range(shown.first, shown.end):
            lost.add(held[position % window])
            held[position % window] = position
        assert (shown.before, shown.after) == (before, held)
        assert shown.gone == sorted(lost - {None})


@pytest.mark.parametrize("window", [1, 4, 8])
def test_who_looks_at_whom_is_the_mask_and_can_be_read_where_it_is_said(window):
    mask = window_mask(tool.N_TOKENS, window)
    for state in steps(window, 3, 6):
        shown = tool.compute(state)
        for query, keys in shown.visible.items():
            assert keys == mask[query].nonzero().flatten().tolist()
            there = shown.after if shown.decoding else [*shown.before, *range(shown.first, shown.end)]
            assert set(keys) <= set(there), "a key that neither the buffer nor the chunk holds"


def test_the_slots_are_those_of_the_librarys_cache():
    """Values that are their own position show what the real cache keeps in each slot."""
    config = ModelConfig(dim=4, n_layers=1, n_heads=1, n_kv_heads=1, head_dim=2, hidden_dim=4, vocab_size=3)
    for state in steps(4, 3, 8):
        cache = RollingCache(replace(config, sliding_window=4), 1, tool.N_TOKENS)
        for step in range(1, state.step + 1):
            first, end, _ = tool.span(state, step)
            cache.begin(end - first)
            positions = torch.arange(first, end).float().view(1, 1, -1, 1).expand(1, 1, -1, 2)
            cache.layers[0].write(positions, positions)
            cache.end()
        shown = tool.compute(state).after
        assert cache.layers[0].k[0, 0, : sum(p is not None for p in shown), 0].tolist() == [
            p for p in shown if p is not None
        ]


def test_the_logits_agree_and_the_comparison_can_fail(monkeypatch):
    for window, chunk, n_prompt in SETTINGS[::5]:
        last = steps(window, chunk, n_prompt)[-1]
        assert tool.gap(last) < 1e-5
    state = tool.State(4, 3, 6, 8)
    model, tokens, without = tool._model(4)
    monkeypatch.setattr(tool, "_model", lambda window: (model, tokens, without + 0.5))
    assert tool.gap(state) > 0.4


def test_the_random_model_leaves_the_learners_seed_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    tool._model.cache_clear()
    tool.gap(tool.State())
    assert torch.equal(torch.rand(1), expected)


def test_what_cannot_be_shown_is_refused():
    for wrong in (dict(window=0), dict(window=9), dict(chunk=0), dict(n_prompt=17), dict(step=99)):
        with pytest.raises(ValueError, match="shows|steps 0 to"):
            BufferPlayer(**wrong)


def test_it_says_and_shows_the_same():
    for state, said in (
        (
            dict(step=5),
            "Writing token 8: into slot 8 mod 4 = 0, over position 4; then it looks at 4 slots, positions 5, 6, 7, 8.",
        ),
        (dict(step=1), "Reading tokens 0 to 2 in one chunk"),
        (dict(step=0), "Nothing read yet: 4 empty slots."),
        (dict(window=1, step=9), "then it looks at 1 slot, position 12."),
    ):
        player = BufferPlayer(**state)
        assert said in repr(player)
        bundle, _ = player._repr_mimebundle_()
        assert repr(player) in bundle["text/plain"] and 0 < len(bundle["image/png"]) * 3 / 4 < 60_000
        json.dumps([player.start(), player.data(), player.answer(player.start())])


def test_chapter_06_keys_are_what_the_library_computes():
    def key(number):
        question = quizzes.questions("06")[number - 1]
        return question.options[question.key]

    before, after = tool.slots(4, 10), tool.slots(4, 11)
    slot = after.index(10)
    assert key(1) == f"slot {slot}, position {before[slot]}"
    read = window_mask(23, 5)[20:, :20].any(0).sum()  # keys of the past that any token of the chunk sees
    assert key(2) == str(int(read))
    mha = replace(ModelConfig.preset("mistral-7b-v0.1"), n_kv_heads=32)
    cache = RollingCache(mha, 1, 32_768, device="meta", dtype=torch.bfloat16)
    assert key(4) == f"{cache.nbytes / 2**30:g} GiB"
    real = ModelConfig.preset("mistral-7b-v0.1")
    rolling, full = (RollingCache(c, 1, 3000, device="meta") for c in (real, replace(real, sliding_window=None)))
    assert rolling.nbytes == full.nbytes and key(5) == "Not at all"


def test_a_key_turned_once_serves_every_later_query():
    """Question 3: the score of turned query and key depends on the difference of positions alone."""
    from minimistral.rope import rope_angles, rotate_pairs

    q, k = torch.randn(2, 8, dtype=torch.float64)

    def score(at_query, at_key):
        angles = rope_angles(torch.tensor([at_query, at_key]), 8, 10_000.0).double()
        turned_q, turned_k = rotate_pairs(torch.stack([q, k]), angles.cos(), angles.sin())
        return turned_q @ turned_k

    torch.testing.assert_close(score(1000, 3), score(997, 0), atol=1e-3, rtol=1e-3)
    assert not torch.allclose(score(1000, 3), score(1000, 4), atol=1e-3)


@pytest.mark.parametrize("window", [1, 2, 5])
def test_writing_a_chunk_first_loses_keys_only_where_question_6_says(window):
    """A chunk of one may be written first; a longer one may not, once it overwrites."""
    for seen, n_new in product(range(8), range(1, 5)):
        after = set(tool.slots(window, seen + n_new))
        needed = {key for p in range(seen, seen + n_new) for key in range(max(0, p - window + 1), p + 1)}
        overwrites = seen + n_new > window
        assert (needed <= after) == (n_new == 1 or not overwrites)


def test_the_model_in_the_tool_is_small_enough_to_answer_at_once():
    assert sum(p.numel() for p in tool._model(4)[0].parameters()) < 10_000
    assert isinstance(tool._model(4)[0], Transformer)
