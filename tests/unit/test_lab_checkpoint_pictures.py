"""Pictures of size: names of every layout, and drawn numbers that are the library's."""

from dataclasses import replace

import pytest
import torch

from minimistral import ModelConfig, MoEConfig, Transformer
from minimistral.checkpoints.names import fused_pieces, hub_pieces, native_pieces, stacked_pieces
from minimistral.lab.checkpoint_pictures import (
    by_part,
    draw_bound,
    draw_file,
    draw_memory,
    draw_parts,
    draw_read,
    part_of,
)
from minimistral.memory import cache_bytes, weight_bytes
from minimistral.plan import read_bytes

REAL, MIXTRAL = (ModelConfig.preset(name) for name in ("mistral-7b-v0.1", "mixtral-8x7b-v0.1"))


def shapes_of(config):
    with torch.device("meta"):
        return {name: w.shape for name, w in Transformer(config).named_parameters()}


@pytest.mark.parametrize("pieces", [native_pieces, hub_pieces, stacked_pieces, fused_pieces])
@pytest.mark.parametrize("tied", [False, True])
def test_parts_are_those_of_the_config_under_the_names_of_every_layout(pieces, tied):
    moe = MoEConfig(4, 2) if pieces in (stacked_pieces, fused_pieces) else None
    config = ModelConfig(
        dim=24, n_layers=3, n_heads=4, n_kv_heads=2, head_dim=6, hidden_dim=40, vocab_size=50, moe=moe,
        tie_embeddings=tied,
    )  # fmt: skip
    found = by_part((piece.name, torch.Size(piece.shape).numel()) for piece in pieces(config))
    parts = config.count_parameters().parts
    expected = {name.replace("_", "-"): n for name, n in parts.items() if name in ("attention", "feed_forward")}
    expected |= {"embeddings": parts["tok_embeddings"], "head": parts["output"]}
    assert found == expected | {"norms, gates": parts["norms"] + parts["gate"]}


def test_a_mixture_in_the_hubs_names():
    config = ModelConfig(**dict(REAL.__dict__) | dict(n_layers=1, moe=MoEConfig(8, 2)))
    found = by_part((piece.name, 1) for piece in hub_pieces(config))
    assert found == {"embeddings": 1, "attention": 4, "feed-forward": 24, "head": 1, "norms, gates": 4}
    assert part_of("model.layers.0.self_attn.rotary_emb.inv_freq") == "attention"


def test_the_file_is_drawn_byte_by_byte():
    alt = draw_file().alt
    assert "All 96 bytes" in alt and "8 that say 64" in alt and '"data_offsets":[0,24]' in alt and "6 numbers" in alt


def test_parts_in_percent():
    parts = by_part((name, 2 * shape.numel()) for name, shape in shapes_of(REAL).items())
    picture = draw_parts({"few": dict(parts, attention=0), "Mistral 7B": parts}, "a title")
    assert "Mistral 7B, 14.48 GB: embeddings 2 %, attention 19 %, feed-forward 78 %, head 2 %" in picture.alt
    assert "few, 11.80 GB" in picture.alt and "attention 0 %" in picture.alt


def test_the_bound_is_bytes_over_bandwidth_and_may_be_passed_where_neighbours_were_at_work():
    alt = draw_bound({" 8 bits": (220_000_000, 1e10, 0.044), "gpu": (14_000_000_000, 2e12, 0.0063)}).alt
    assert "8 bits, at least 22 ms, measured 44, 2.0 times as long" in alt
    assert "gpu, at least 7 ms, measured 6.3, 0.9 times" in alt


def test_memory_with_the_window_and_without():
    alt = draw_memory(REAL, 32_768).alt
    for bits, name in ((None, "16 bits"), ("int8", "8 bits"), ("int4", "4 bits")):
        assert f"{name} {weight_bytes(REAL, 'bfloat16', bits) / 1e9:.1f} GB" in alt
    without = cache_bytes(replace(REAL, sliding_window=None), "bfloat16", 32_768)
    assert "0.5 GB with the window, 4.3 without" in alt
    assert without == pytest.approx(weight_bytes(REAL, "bfloat16", "int4"), rel=0.02), "as chapter 12 says"


def test_what_one_token_reads_of_a_mixture():
    alt = draw_read(shapes_of(MIXTRAL), 8, 2).alt
    assert f"reads {read_bytes(MIXTRAL, 'bfloat16') / 1e9:.1f} GB" in alt
    assert f"Of {weight_bytes(MIXTRAL, 'bfloat16') / 1e9:.1f} GB" in alt and "take 90.2" in alt
