"""Chapter 11: weights moved to a grid of few values, by any number of bits and any grouping, and what a text then costs.

The library stores such weights in int8 and int4 (`minimistral/quantize.py`). Here they stay floats on their grid: as slow
as before, but every setting between 2 and 8 bits can be tried. A test holds the two against each other.
"""

import copy
import math
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimistral.transformer import Transformer

BLOCK = 1024  # tokens a block: the unit over which differences are averaged and their spread is taken
CHUNK = 256  # tokens read at a time; the cache carries the rest
Scales = Callable[[Tensor, int], Tensor]  # groups (n_groups, weights a group) and bits to scales (n_groups,)
Group = int | str  # so many weights side by side in a row; "row" or "matrix": the whole of it


def largest_code(bits: int) -> int:
    """7 for 4 bits, 127 for 8: codes run from −largest to largest, as many below zero as above."""
    if not 2 <= bits <= 8:
        raise ValueError(f"bits={bits}: give 2 to 8. One bit has no zero and two signs; from 16 on nothing is rounded.")
    return 2 ** (bits - 1) - 1


def grouped(weight: Tensor, group: Group) -> Tensor:
    """weight (out, in) as (n_groups, weights a group), in the order of the rows; ValueError where it does not divide."""
    if group == "matrix":
        return weight.reshape(1, -1)
    if group == "row":
        return weight
    if not isinstance(group, int) or group < 1 or weight.shape[1] % group:
        raise ValueError(
            f"group={group!r} does not divide rows of {weight.shape[1]}. Give a divisor, 'row' or 'matrix'."
        )
    return weight.reshape(-1, group)


def largest_weight(groups: Tensor, bits: int) -> Tensor:
    """groups (n_groups, weights a group) to their scales (n_groups,): the largest |weight| gets the largest code."""
    return groups.abs().amax(dim=1) / largest_code(bits)


def rounded(weight: Tensor, bits: int, group: Group, scales: Scales = largest_weight) -> Tensor:
    """weight (out, in) on its grid, as floats: the nearest multiple of its group's scale, held within the largest code."""
    rows, largest = grouped(weight, group), largest_code(bits)
    scale = scales(rows, bits)[:, None]
    scale = scale.where(scale > 0, torch.ones_like(scale))  # a group of zeros stays zeros
    return ((rows / scale).round().clamp(-largest, largest) * scale).view_as(weight)


def matrices(model: Transformer) -> dict[str, nn.Linear]:
    """The matrices that are rounded, by name: all linear maps and the head; not the embeddings, the norms and the gates."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not name.endswith(".gate")
    }


def round_model(
    model: Transformer, bits: int, group: Group, only: Iterable[str] | None = None, scales: Scales = largest_weight
) -> Transformer:
    """A copy of the model with its matrices, or `only` those, rounded; the model itself stays as it is."""
    copied = copy.deepcopy(model)
    names = None if only is None else set(only)
    with torch.no_grad():
        for name, module in matrices(copied).items():
            if names is None or name in names:
                module.weight.copy_(rounded(module.weight, bits, group, scales))
    return copied


def bits_a_weight(bits: int, group: Group, shape: tuple[int, int], scale_bits: int = 16) -> float:
    """Storage of one weight, its share of the scale included: 4 + 16/32 = 4.5 for 4 bits in groups of 32."""
    sizes = {"row": shape[1], "matrix": shape[0] * shape[1]}
    return bits + scale_bits / sizes.get(group, group)


@torch.inference_mode()
def token_losses(model: Transformer, ids: list[int]) -> Tensor:
    """−log p of each token but the first, in nats, (T − 1,), reading the text whole through the rolling cache."""
    row = torch.tensor([ids])
    cache, found = model.make_cache(1, len(ids)), []
    for start in range(0, len(ids) - 1, CHUNK):
        part = row[:, start : start + CHUNK + 1]
        logits = model(part[:, :-1], cache=cache)  # (1, T, V)
        found.append(F.cross_entropy(logits[0], part[0, 1:], reduction="none"))
    return torch.cat(found)


def block_bits(model: Transformer, texts: list[list[int]], n_bytes: int) -> list[float]:
    """Bits a byte of each block of 1,024 predicted tokens, the texts laid end to end; what is left at the end is dropped.

    n_bytes: of all the texts. Each block is counted as so many bytes as its tokens have on average, so that the mean over
    blocks is the bits a byte of them all.
    """
    losses = torch.cat([token_losses(model, ids) for ids in texts]).double()
    bytes_a_block = BLOCK * n_bytes / len(losses)
    whole = losses[: len(losses) // BLOCK * BLOCK].view(-1, BLOCK).sum(dim=1)
    return [round(nats / math.log(2) / bytes_a_block, 6) for nats in whole.tolist()]
