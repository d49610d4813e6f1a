"""Apple's GPU, which torch calls mps: used by itself only where it computes what the CPU computes.

Releases of torch did not, without a word: causal attention in 16 bits that saw later tokens (pytorch issue 195910), one
token's attention that read beyond its keys (pull request 169222) or took a mask for another (182285, 184180), whole numbers
that were sorted wrongly beyond 256 of them (issue 155560). So a small model is run on both once.
"""

import copy
import warnings
from functools import cache

import torch
from torch import Tensor

from minimistral.config import ModelConfig, MoEConfig
from minimistral.transformer import Transformer

N_TOKENS = 300  # twice as many experts are sorted: more than 256


@cache
def has_apple_gpu() -> bool:
    """Whether torch has an Apple GPU here that computes as the CPU does; a warning where it has one that does not."""
    if not torch.backends.mps.is_available():
        return False
    try:
        is_right = agrees_with_cpu(torch.device("mps"))
    except (RuntimeError, TypeError):  # not every torch has every operation for it
        is_right = False
    if not is_right:
        warnings.warn(
            f"torch {torch.__version__} computes a small model on this machine's Apple GPU otherwise than on the CPU, so "
            "device='auto' takes the CPU. Another release of torch may help; device='mps' takes the GPU all the same.",
            stacklevel=2,
        )
    return is_right


@torch.inference_mode()
def agrees_with_cpu(device: torch.device) -> bool:
    """Whether small models give the same logits there: a mixture in float32, a dense one in bfloat16.

    Read at once (causal attention), through a cache (masks), rows of different lengths, and token by token.
    """
    sizes = dict(dim=32, n_layers=1, n_heads=8, n_kv_heads=2, head_dim=128, hidden_dim=32, vocab_size=32)
    for dtype, moe, tolerance in ((torch.float32, MoEConfig(4, 2), 0.01), (torch.bfloat16, None, 0.1)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            here = Transformer(ModelConfig(**sizes, moe=moe))
            tokens = torch.randint(32, (2, N_TOKENS + 3))
        there = copy.deepcopy(here).to(device, dtype)
        expected = _logits(here, tokens)
        off = (_logits(there, tokens.to(device)).cpu() - expected).norm(dim=-1) / expected.norm(dim=-1)
        if not bool((off < tolerance).all()):  # NaN is not smaller
            return False
    return True


def _logits(model: Transformer, tokens: Tensor) -> Tensor:
    """Logits of tokens (2, T) in every way in which a model is asked for them, (2, n, V)."""
    cache = model.make_cache(2, tokens.shape[1])
    found = [model(tokens), model(tokens[:, :N_TOKENS], cache=cache)]
    found += [model(tokens[:, i : i + 1], cache=cache) for i in range(N_TOKENS, tokens.shape[1])]
    cache.reset()  # rows of different lengths
    found.append(model(tokens[:, :40], cache=cache, lengths=[40, 7], last_only=True))
    found += [model(tokens[:, i : i + 1], cache=cache) for i in range(3)]
    return torch.cat(found, dim=1)
