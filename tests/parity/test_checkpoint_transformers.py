"""Checkpoints against transformers: it saves and we load, we save and it loads, and the logits stay the same."""

import json
import warnings

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, MistralConfig, MistralForCausalLM, MixtralConfig, MixtralForCausalLM

from minimistral import MoEConfig, Tokenizer, load, save
from minimistral.checkpoints.hub_config import read_config

torch.set_num_threads(1)

SIZES = dict(
    vocab_size=61,
    hidden_size=24,
    intermediate_size=36,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=3,
    sliding_window=None,
    rms_norm_eps=1e-5,
)
KINDS = {
    "head_dim left open": {},
    "head_dim wider than dim / heads": dict(head_dim=10),
    "one key head": dict(num_attention_heads=5, num_key_value_heads=1, head_dim=6),
    "no shared heads": dict(num_attention_heads=3, num_key_value_heads=3, head_dim=2),
    "seven groups, window, other base": dict(
        num_attention_heads=14,
        num_key_value_heads=7,
        head_dim=4,
        sliding_window=4,
        rope_parameters={"rope_theta": 500.0},
    ),
    "a window of 1": dict(sliding_window=1, rms_norm_eps=1e-3),
    "tied": dict(tie_word_embeddings=True),
    "mixture": dict(num_local_experts=4, num_experts_per_tok=2, head_dim=10),
    "one expert": dict(num_local_experts=1, num_experts_per_tok=1),
    "all of eight experts, tied": dict(num_local_experts=8, num_experts_per_tok=8, tie_word_embeddings=True),
    "mixture with a window": dict(num_local_experts=3, num_experts_per_tok=1, sliding_window=3),
}


def random_model(**changes):
    torch.manual_seed(0)
    kind, config = (
        (MixtralForCausalLM, MixtralConfig) if "num_local_experts" in changes else (MistralForCausalLM, MistralConfig)
    )
    model = kind(config(**SIZES | changes)).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.copy_(torch.rand_like(weight) + 0.5)  # all ones would hide a forgotten norm
            else:
                weight.mul_(10)
    return model


@pytest.fixture(scope="module")
def tokens():
    return torch.randint(61, (2, 19), generator=torch.Generator().manual_seed(1))


def logits(model, tokens):
    with torch.no_grad():
        result = model(tokens)
    return result if isinstance(result, torch.Tensor) else result.logits


@pytest.mark.parametrize("max_shard_size", ["5GB", "20KB"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_transformers_saves_we_load_and_back(tmp_path, tokens, kind, max_shard_size):
    theirs = random_model(**KINDS[kind])
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size=max_shard_size)
    expected = logits(theirs, tokens)
    assert expected.std() > 0.1
    ours, _ = load(tmp_path / "theirs", device="cpu")
    assert_close(logits(ours, tokens), expected, rtol=1e-4, atol=1e-4)

    save(ours, tmp_path / "ours", layout="hub", max_shard_size=max_shard_size)
    again, report = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert type(again) is type(theirs) and not any(report.values()), report
    assert again.dtype == torch.float32
    assert_close(logits(again.eval(), tokens), expected, rtol=0, atol=0)  # rows moved there and back: the same bits
    for field in ("head_dim", "sliding_window", "rope_parameters", "rms_norm_eps", "tie_word_embeddings"):
        if field != "head_dim" or hasattr(theirs.config, "head_dim"):
            mine, their = getattr(again.config, field), getattr(theirs.config, field)
            assert mine == their or (field == "head_dim" and their is None), field

    save(ours, tmp_path / "native", max_shard_size=max_shard_size)
    assert_close(logits(load(tmp_path / "native", device="cpu")[0], tokens), logits(ours, tokens), rtol=0, atol=0)


def test_forgetting_to_move_the_rows_would_show(tmp_path, tokens, monkeypatch):
    """The trap of the two layouts: nothing fails, and the model talks nonsense."""
    theirs = random_model(head_dim=10)
    theirs.save_pretrained(tmp_path)
    monkeypatch.setattr("minimistral.checkpoints.names.as_pairs", lambda weight, n_heads: weight)
    assert (logits(load(tmp_path, device="cpu")[0], tokens) - logits(theirs, tokens)).abs().max() > 0.1


def test_experts_fused_as_transformers_holds_them(tmp_path, tokens):
    theirs = random_model(num_local_experts=4, num_experts_per_tok=2)
    theirs.save_pretrained(tmp_path, save_original_format=False)
    assert b"mlp.experts.gate_up_proj" in (tmp_path / "model.safetensors").read_bytes()[:20_000]
    assert_close(logits(load(tmp_path, device="cpu")[0], tokens), logits(theirs, tokens), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_dtype_is_the_files_both_ways(tmp_path, dtype):
    random_model(head_dim=10).to(dtype).save_pretrained(tmp_path / "theirs")
    ours, _ = load(tmp_path / "theirs")
    assert {weight.dtype for weight in ours.parameters()} == {dtype}
    save(ours, tmp_path / "ours", layout="hub")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "ours").dtype == dtype


@pytest.mark.parametrize("kind", ["mistral", "mixtral"])
def test_an_almost_empty_config_means_what_transformers_takes_it_to_mean(tmp_path, kind):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    theirs = (MistralConfig if kind == "mistral" else MixtralConfig)()
    ours = read_config(tmp_path / "config.json").config
    assert (ours.dim, ours.n_layers, ours.hidden_dim) == (
        theirs.hidden_size,
        theirs.num_hidden_layers,
        theirs.intermediate_size,
    )
    assert (ours.n_heads, ours.n_kv_heads) == (theirs.num_attention_heads, theirs.num_key_value_heads)
    assert ours.head_dim == theirs.head_dim or theirs.head_dim is None
    assert (ours.vocab_size, ours.norm_eps) == (theirs.vocab_size, theirs.rms_norm_eps)
    assert ours.rope_theta == theirs.rope_parameters["rope_theta"]
    assert (ours.sliding_window, ours.tie_embeddings) == (theirs.sliding_window, theirs.tie_word_embeddings)
    experts = MoEConfig(theirs.num_local_experts, theirs.num_experts_per_tok) if kind == "mixtral" else None
    assert ours.moe == experts


@pytest.mark.parametrize("layout", ["native", "hub"])
def test_the_tokenizer_goes_along(tmp_path, layout):
    tokenizer = Tokenizer.mistral_v1()
    random_model(vocab_size=32_000).save_pretrained(tmp_path / "theirs")
    ours, none = load(tmp_path / "theirs")
    assert none is None
    save(ours, tmp_path / "ours", tokenizer=tokenizer, layout=layout)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, again = load(tmp_path / "ours")
    assert again.path == tmp_path / "ours" / "tokenizer.model" and again.model_bytes == tokenizer.model_bytes
    assert again.encode("Hello") == tokenizer.encode("Hello")
