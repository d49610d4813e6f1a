"""ModelConfig: the published sizes, the counts, and numbers that cannot be."""

import pytest
import torch

from minimistral import ModelConfig, MoEConfig, Transformer

SIZES = dict(dim=24, n_layers=2, n_heads=6, n_kv_heads=3, head_dim=10, hidden_dim=36, vocab_size=41)


@pytest.mark.parametrize(
    ("preset", "total", "active"),
    [
        ("mistral-7b-v0.1", 7_241_732_096, 7_241_732_096),
        ("mistral-7b-v0.2", 7_241_732_096, 7_241_732_096),
        ("mistral-7b-v0.3", 7_248_023_552, 7_248_023_552),  # 768 more rows in each of the two embedding tables
        ("mixtral-8x7b-v0.1", 46_702_792_704, 12_879_925_248),
    ],
)
def test_the_real_models_are_counted_to_the_last_weight(preset, total, active):
    config = ModelConfig.preset(preset)
    with torch.device("meta"):
        model = Transformer(config)
    assert sum(weight.numel() for weight in model.parameters()) == total
    count = config.count_parameters()
    assert (count.total, count.active, sum(count.parts.values())) == (total, active, total)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("moe", [None, MoEConfig(1, 1), MoEConfig(5, 2), MoEConfig(3, 3)])
def test_counts_are_those_of_the_module(moe, tied):
    config = ModelConfig(**SIZES, moe=moe, tie_embeddings=tied)
    model, count = Transformer(config), config.count_parameters()
    assert count.total == sum(weight.numel() for weight in model.parameters())
    idle = 0 if moe is None else config.n_layers * (moe.num_experts - moe.num_experts_per_tok)
    assert count.active == count.total - idle * 3 * 24 * 36


def test_the_two_bundled_models_have_equal_active_weights_but_for_the_gate():
    dense, mixture = (ModelConfig.preset(name).count_parameters() for name in ("tiny-mistral", "tiny-mixtral"))
    assert mixture.active - mixture.parts["gate"] == dense.active


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(dim=0), ["dim=0"]),
        (dict(n_layers=-1), ["n_layers=-1"]),
        (dict(vocab_size=2.0), ["vocab_size=2.0"]),
        (dict(n_heads=True), ["n_heads=True"]),
        (dict(n_kv_heads=4), ["n_kv_heads=4", "[1, 2, 3, 6]"]),
        (dict(head_dim=7), ["head_dim=7", "even"]),
        (dict(sliding_window=0), ["sliding_window=0"]),
        (dict(norm_eps=0), ["norm_eps=0"]),
        (dict(norm_eps=float("nan")), ["norm_eps=nan"]),
        (dict(rope_theta=float("inf")), ["rope_theta=inf"]),
        (dict(rope_theta="1e4"), ["rope_theta='1e4'"]),
        (dict(moe={"num_experts": 8}), ["MoEConfig"]),
        (dict(tie_embeddings=1), ["tie_embeddings=1"]),
        (dict(max_position_embeddings=0), ["max_position_embeddings=0"]),
    ],
)
def test_numbers_that_cannot_be_are_refused_by_name(change, words):
    with pytest.raises(ValueError) as error:
        ModelConfig(**SIZES | change)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize(("experts", "chosen"), [(0, 1), (4, 0), (4, 5), (2.0, 1), (4, True)])
def test_experts_that_cannot_be_are_refused(experts, chosen):
    with pytest.raises(ValueError, match="num_experts"):
        MoEConfig(experts, chosen)


def test_an_unknown_preset_lists_those_that_exist():
    with pytest.raises(ValueError, match="mistral-7b-v0.1.*tiny-mixtral"):
        ModelConfig.preset("mistral-8b")
