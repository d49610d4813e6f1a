"""Looking into a running model: where each head looks, and what each layer would say if it were the last."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from minimistral.masks import window_mask
from minimistral.rope import rotate_pairs
from minimistral.transformer import Transformer


@dataclass(frozen=True)
class Look:
    """One pass over one text. weights (L, H, T, T): attention, rows are queries; logits (L + 1, T, V), 0 is the embedding."""

    weights: Tensor
    logits: Tensor


@torch.inference_mode()
def look(model: Transformer, ids: list[int]) -> Look:
    """Run the model once over a text of token ids and keep what its parts pass on.

    The logits of layer i are the final norm and the head applied to the residual stream behind that layer ("logit lens",
    nostalgebraist 2020); those of the last layer are the model's own.
    """
    streams, weights, hooks = [], [], []
    for layer in model.layers:
        hooks.append(layer.register_forward_pre_hook(lambda module, inputs: streams.append(inputs[0])))
        hooks.append(
            layer.attention.register_forward_pre_hook(
                lambda module, inputs: weights.append(attention_weights(module, *inputs[:3]))
            )
        )
    try:
        hooks.append(model.layers[-1].register_forward_hook(lambda module, inputs, result: streams.append(result)))
        model(torch.tensor([ids]))
    finally:
        for hook in hooks:
            hook.remove()
    head = model.tok_embeddings.weight if model.output is None else model.output.weight
    logits = torch.stack([F.linear(model.norm(stream[0]), head).float() for stream in streams])
    return Look(torch.stack(weights), logits)


def attention_weights(attention, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """softmax(q kᵀ / √D) of every head for one text: x (1, T, C) to (H, T, T), written out, with the window's mask."""
    q, k = (w(x).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)[0] for w in (attention.wq, attention.wk))
    q, k = rotate_pairs(q, cos, sin), rotate_pairs(k, cos, sin)  # (H, T, D), (G, T, D)
    k = k.repeat_interleave(len(q) // len(k), dim=0)  # (H, T, D): each query head meets the key head that it shares
    scores = (q @ k.mT).float() / attention.head_dim**0.5
    return scores.masked_fill(~window_mask(x.shape[1], attention.window), float("-inf")).softmax(-1)
