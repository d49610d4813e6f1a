"""What a token in the last layer can depend on: by counting, by uniform attention, and by gradient."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from minimistral.config import ModelConfig
from minimistral.masks import window_mask
from minimistral.transformer import Transformer


def reachable(n_layers: int, window: int | None, n_tokens: int) -> Tensor:
    """Row i: the inputs that output i can depend on after n_layers. bool (T, T), the n_layers-th boolean power of the mask."""
    mask = window_mask(n_tokens, window)
    reached = torch.eye(n_tokens, dtype=torch.bool)
    for _ in range(n_layers):
        reached = (mask.float() @ reached.float()) > 0
    return reached


def uniform_influence(n_layers: int, window: int | None, n_tokens: int) -> Tensor:
    """Row i: each input's share in output i if every query gave its keys equal weight and nothing else mixed tokens. (T, T)."""
    mask = window_mask(n_tokens, window).double()
    return torch.linalg.matrix_power(mask / mask.sum(1, keepdim=True), n_layers)


def input_gradient(model: Transformer, tokens: Tensor, position: int) -> Tensor:
    """How strongly the output at `position` depends on each input embedding: gradient norms, float32 (T,), exactly 0 where not.

    tokens (1, T). The output is reduced to one number by a random direction of the logits, drawn from seed 0.
    """
    caught = []
    hook = model.tok_embeddings.register_forward_hook(lambda module, inputs, output: caught.append(output))
    with torch.enable_grad():
        logits = model(tokens)
    hook.remove()
    direction = torch.randn(logits.shape[-1], generator=torch.Generator().manual_seed(0)).to(logits)
    gradient = torch.autograd.grad(logits[0, position] @ direction, caught[0])[0]
    return gradient[0].norm(dim=-1)


def random_model(n_layers: int, window: int | None, seed: int = 0) -> Transformer:
    """A small model with weights as torch draws them, for looking at what an untrained stack depends on."""
    config = ModelConfig(
        dim=32, n_layers=n_layers, n_heads=2, n_kv_heads=2, head_dim=16, hidden_dim=64, vocab_size=16, sliding_window=window
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Transformer(config)


@contextmanager
def one_thread() -> Iterator[None]:
    """For models this small: with two threads and a busy machine each operation waits for the other, 50 times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
