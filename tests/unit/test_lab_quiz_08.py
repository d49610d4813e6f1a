"""Chapter 08's quiz: the keys that can be computed."""

import torch

from minimistral import ModelConfig, Transformer
from minimistral.config import MoEConfig
from minimistral.lab import quizzes
from minimistral.moe import balance_loss, choose_experts


def key(number):
    question = quizzes.questions("08")[number - 1]
    return question.options[question.key]


def test_weight_of_the_first():
    assert key(1) == f"{choose_experts(torch.tensor([[2.0, 1.0, 1.0, 0.0]]), 2)[0][0, 0]:.2f}"


def test_balance_loss_of_two_busy_experts():
    logits = torch.full((10, 16), -50.0)
    logits[:, :2] = 50.0
    assert key(2) == f"{balance_loss(logits, k=2):.0f}"


def test_dropped():
    places = 1000 * 2 / 8 * 1.25
    assert key(3) == f"{400 - int(places) - 1} or {400 - int(places)}"


def test_experts_have_no_cache():
    sizes = dict(dim=16, n_layers=2, n_heads=4, n_kv_heads=1, head_dim=4, hidden_dim=8, vocab_size=5)
    caches = [
        Transformer(ModelConfig(**sizes, moe=moe)).make_cache(batch_size=1, max_context=9).nbytes
        for moe in (MoEConfig(8, 2), None)
    ]
    assert key(6) == str(caches[0] // caches[1])
