"""The model against transformers: random small models that it saved, read by `load`, in every shape that may occur.

Scores are compared on logits of unit scale and more; no two sizes of a model are equal, so that no mix-up of axes survives.
"""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close
from transformers import MistralConfig, MistralForCausalLM, MixtralConfig, MixtralForCausalLM

from minimistral import generate, load, stream

torch.set_num_threads(1)
V = 67


def saved_by_transformers(path, seed=0, experts=None, chosen=None, **changes):
    # transformers' grouped experts want rows of a multiple of 16 bytes; and its cache is not asked, being wrong for W = 1
    sizes = dict(
        vocab_size=V, hidden_size=28, intermediate_size=36, num_hidden_layers=3, num_attention_heads=6,
        num_key_value_heads=3, head_dim=8, sliding_window=None, rms_norm_eps=1e-5, max_position_embeddings=512,
        bos_token_id=1, eos_token_id=2,
    ) | changes  # fmt: skip
    torch.manual_seed(seed)
    if experts:
        theirs = MixtralForCausalLM(MixtralConfig(**sizes, num_local_experts=experts, num_experts_per_tok=chosen))
    else:
        theirs = MistralForCausalLM(MistralConfig(**sizes))
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            weight.copy_(torch.rand_like(weight) + 0.5) if "norm" in name else weight.mul_(8)
    theirs.eval().save_pretrained(path, max_shard_size=changes.get("shards", "30KB"))
    return theirs


@torch.no_grad()
def their_logits(model, tokens):
    return model(tokens, use_cache=False).logits


def assert_equal_models(ours, theirs, tokens):
    expected = their_logits(theirs, tokens)
    assert expected.std() > 0.3, "logits this small would hide a mistake"
    with torch.no_grad():
        assert_close(ours(tokens), expected, rtol=1e-4, atol=1e-4)
    return expected


HEADS = [(1, 1, 2), (4, 1, 6), (6, 2, 4), (6, 3, 10), (5, 5, 6), (14, 2, 2), (15, 5, 4), (9, 3, 16)]


@pytest.mark.parametrize(("H", "G", "D"), HEADS, ids=lambda n: str(n))
@pytest.mark.parametrize("experts", [None, (4, 2)], ids=["dense", "mixture"])
def test_every_layout_of_heads(tmp_path, H, G, D, experts):
    E, K = experts or (None, None)
    theirs = saved_by_transformers(
        tmp_path, experts=E, chosen=K, num_attention_heads=H, num_key_value_heads=G, head_dim=D, sliding_window=5
    )
    ours, _ = load(tmp_path, device="cpu")
    assert (ours.config.n_heads, ours.config.n_kv_heads, ours.config.head_dim) == (H, G, D)
    assert_equal_models(ours, theirs, torch.randint(V, (2, 23)))


@pytest.mark.parametrize("window", [1, 2, 7, 29, 30, 31, 400, None])
@pytest.mark.parametrize("experts", [None, (3, 1)], ids=["dense", "mixture"])
def test_every_window_with_and_without_a_cache(tmp_path, window, experts):
    E, K = experts or (None, None)
    theirs = saved_by_transformers(tmp_path, experts=E, chosen=K, sliding_window=window)
    ours, _ = load(tmp_path, device="cpu")
    tokens = torch.randint(V, (2, 30))
    expected = assert_equal_models(ours, theirs, tokens)
    with torch.no_grad():
        for cuts in ([30], [1] * 30, [1, 29], [29, 1], [11, 1, 13, 5], [3] * 10):
            cache = ours.make_cache(2, 30)
            logits = torch.cat([ours(piece, cache=cache) for piece in tokens.split(cuts, dim=1)], dim=1)
            assert_close(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("E", "K"), [(1, 1), (2, 1), (3, 2), (4, 4), (7, 3), (8, 1), (8, 2), (8, 8)])
def test_every_number_of_experts(tmp_path, E, K, tied):
    theirs = saved_by_transformers(tmp_path, experts=E, chosen=K, tie_word_embeddings=tied)
    ours, _ = load(tmp_path, device="cpu")
    assert_equal_models(ours, theirs, torch.randint(V, (3, 11)))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    G=st.integers(1, 3), per_group=st.integers(1, 4), D=st.sampled_from([2, 4, 6]), L=st.integers(1, 4),
    window=st.one_of(st.none(), st.integers(1, 40)), experts=st.one_of(st.none(), st.integers(1, 5)),
    tied=st.booleans(), theta=st.sampled_from([77.0, 10_000.0, 1e6]), T=st.integers(1, 33), seed=st.integers(0, 9),
)  # fmt: skip
def test_whatever_is_drawn(tmp_path_factory, G, per_group, D, L, window, experts, tied, theta, T, seed):
    path = tmp_path_factory.mktemp("drawn")
    theirs = saved_by_transformers(
        path, seed, experts, experts and max(1, experts // 2), num_attention_heads=G * per_group, num_key_value_heads=G,
        head_dim=D, num_hidden_layers=L, sliding_window=window, tie_word_embeddings=tied,
        rope_parameters={"rope_type": "default", "rope_theta": theta},
    )  # fmt: skip
    ours, _ = load(path, device="cpu")
    assert ours.config.rope_theta == theta
    tokens = torch.randint(V, (2, T), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        assert_close(ours(tokens), their_logits(theirs, tokens), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("window", [4, None])
@pytest.mark.parametrize("experts", [None, (4, 2)], ids=["dense", "mixture"])
def test_greedy_tokens_far_past_the_window(tmp_path, window, experts):
    """Compared step by step on their text, and only where the best two tokens differ by more than rounding."""
    E, K = experts or (None, None)
    theirs = saved_by_transformers(tmp_path, experts=E, chosen=K, sliding_window=window, eos_token_id=None)
    ours, _ = load(tmp_path, device="cpu")
    prompt = [1, 5, 44, 13]
    text = theirs.generate(
        torch.tensor([prompt]), max_new_tokens=120, do_sample=False, pad_token_id=0, use_cache=False
    )[0].tolist()
    best_two = their_logits(theirs, torch.tensor([text]))[0].topk(2).values
    clear = int((best_two[:, 0] - best_two[:, 1] > 1e-3)[len(prompt) - 1 :].long().cumprod(0).sum())
    assert clear >= 30  # far past the window of 4
    n = min(clear, 120)
    assert generate(ours, [prompt], max_new_tokens=n, stop_ids=())[0] == text[4 : 4 + n]
    assert list(stream(ours, prompt, max_new_tokens=n, stop_ids=())) == text[4 : 4 + n]


@pytest.mark.parametrize("window", [1, 6, None])
@pytest.mark.parametrize("experts", [None, (4, 2)], ids=["dense", "mixture"])
def test_ragged_prompts_continue_as_their_model_continues_each_alone(tmp_path, window, experts):
    E, K = experts or (None, None)
    theirs = saved_by_transformers(tmp_path, experts=E, chosen=K, sliding_window=window, eos_token_id=None)
    ours, _ = load(tmp_path, device="cpu")
    prompts = [[1, 9], [1] + [7, 8, 31] * 6, [40]]
    together = generate(ours, prompts, max_new_tokens=12, stop_ids=())
    for prompt, new in zip(prompts, together):
        alone = theirs.generate(
            torch.tensor([prompt]), max_new_tokens=12, do_sample=False, pad_token_id=0, use_cache=False
        )
        expected = alone[0, len(prompt) :].tolist()
        best_two = their_logits(theirs, alone)[0].topk(2).values
        clear = (best_two[:, 0] - best_two[:, 1] > 1e-3)[len(prompt) - 1 : -1].long().cumprod(0).sum()
        assert new[: int(clear)] == expected[: int(clear)] and clear >= 8


def test_their_own_cache_agrees_too(tmp_path):
    """One step of decoding far past the window, theirs with its cache and ours with ours."""
    theirs = saved_by_transformers(tmp_path, sliding_window=5)
    ours, _ = load(tmp_path, device="cpu")
    tokens, cache, past = torch.randint(V, (1, 41)), ours.make_cache(1, 41), None
    with torch.no_grad():
        for piece in tokens.split([20, 1, 1, 7, 12], dim=1):
            result = theirs(piece, past_key_values=past, use_cache=True)
            past = result.past_key_values
            assert_close(ours(piece, cache=cache), result.logits, rtol=1e-4, atol=1e-4)
