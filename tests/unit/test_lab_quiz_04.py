"""Chapter 04's quiz: the keys that can be computed."""

import torch

from minimistral import ModelConfig, Transformer
from minimistral.lab import quizzes
from minimistral.lab.tools.heads import State, compute


def key(number):
    question = quizzes.questions("04")[number - 1]
    return question.options[question.key]


def test_keys_are_what_the_library_computes():
    assert key(1) == str(compute(State(24, 6)).shared[13])
    config = ModelConfig(dim=64, n_layers=40, n_heads=64, n_kv_heads=8, head_dim=128, hidden_dim=8, vocab_size=5)
    with torch.device("meta"):
        cache = Transformer(config).to(torch.bfloat16).make_cache(batch_size=1, max_context=1)
    assert key(2) == f"{cache.nbytes:,}"
    assert key(3) == f"{compute(State(32, 8, n_layers=1)).scores * 1000 // 8192:,}"


def test_the_scale_and_the_rotations():
    torch.manual_seed(0)
    spread = {n: (torch.randn(20_000, n) * torch.randn(20_000, n)).sum(1).std() for n in (64, 256)}
    divisor = int(key(5).split(",")[0])
    assert abs(spread[256] / divisor - spread[64] / 8) < 0.05
    config = ModelConfig(dim=64, n_layers=1, n_heads=32, n_kv_heads=8, head_dim=2, hidden_dim=8, vocab_size=5)
    layer = Transformer(config).layers[0].attention
    rotated = [layer.wq, layer.wk]  # wv is not
    assert key(6) == str(sum(w.weight.shape[0] for w in rotated) // config.head_dim)
