"""What a mixture's routers choose, recorded, and the statistics that say whether a choice follows something or is luck.

L layers, B texts, T tokens of each, E experts, K chosen for each token, the one with the larger logit first.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from minimistral.data import bundled_texts
from minimistral.moe import choose_experts
from minimistral.sources import DOMAINS
from minimistral.transformer import Transformer


@torch.inference_mode()
def route(model: Transformer, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Run the model once over tokens (B, T): the chosen experts' ids and weights, (L, B, T, K) each.

    ValueError for a model without experts.
    """
    layers = [layer.feed_forward for layer in model.layers]
    if not all(hasattr(layer, "gate") for layer in layers):
        raise ValueError("this model has no experts: load a mixture, such as tiny-mixtral.")
    found = []
    with ExitStack() as stack:
        for layer in layers:
            hook = layer.gate.register_forward_hook(
                lambda module, inputs, logits, k=layer.k: found.append(choose_experts(logits, k))
            )
            stack.callback(hook.remove)
        model(tokens)
    weights, ids = (torch.stack(part).unflatten(1, tokens.shape) for part in zip(*found))
    return ids, weights


def text_rows(tokenizer, rows: int = 16, length: int = 256) -> tuple[Tensor, Tensor]:
    """Held-out text of the five domains, cut into rows of `length` tokens: tokens (5 · rows, T), domain (5 · rows,).

    Of each domain as many rows, spread evenly over its documents; the domain is its place in sources.DOMAINS.
    """
    tokens, domains = [], []
    for number, domain in enumerate(DOMAINS):
        found = []
        for document in bundled_texts(domain, held_out=True):
            ids = tokenizer.encode(document.text)
            found += [ids[start : start + length] for start in range(0, len(ids) - length + 1, length)]
        if len(found) < rows:
            raise ValueError(f"{domain} has {len(found)} rows of {length} tokens, not {rows}.")
        tokens += [found[place * len(found) // rows] for place in range(rows)]
        domains += [number] * rows
    return torch.tensor(tokens), torch.tensor(domains)


def information(a: Tensor, b: Tensor) -> float:
    """Mutual information in bits of two rows of labels (N,), as they occur: Σ p(a, b) log₂ (p(a, b) / p(a) p(b)).

    Never below 0, and above it by luck alone where labels are many and examples few: compare with shuffled labels.

    >>> information(torch.tensor([0, 0, 1, 1]), torch.tensor([5, 5, 3, 3]))
    1.0
    """
    a, b = a.unique(return_inverse=True)[1], b.unique(return_inverse=True)[1]
    n_a, n_b = int(a.max()) + 1, int(b.max()) + 1
    joint = torch.bincount(a * n_b + b, minlength=n_a * n_b).view(n_a, n_b).double() / len(a)
    independent = joint.sum(1, keepdim=True) * joint.sum(0)
    return float(torch.special.xlogy(joint, joint / independent).nansum() / torch.log(torch.tensor(2.0)).double())


def shuffled_within(labels: Tensor, groups: Tensor, generator: torch.Generator) -> Tensor:
    """Labels (…, N) shuffled among those places whose group (N,) is the same, each row of them in the same way."""
    before = groups.argsort(stable=True)
    after = (groups.unique(return_inverse=True)[1] + torch.rand(len(groups), generator=generator) * 0.99).argsort()
    result = torch.empty_like(labels)
    result[..., before] = labels[..., after]
    return result


def neighbours_agree(ids: Tensor, first_only: bool = True) -> Tensor:
    """ids (…, B, T, K): the share of neighbours in a text with the same first expert; else with at least one in common. (…)"""
    if first_only:
        ids = ids[..., :1]
    left, right = ids[..., :-1, :, None], ids[..., 1:, None, :]  # against each other: (…, B, T − 1, K, K)
    return (left == right).flatten(-2).any(-1).double().mean((-1, -2))


@contextmanager
def only(model: Transformer, allowed: Tensor, k: int) -> Iterator[None]:
    """For a while, layer l routes each token to the k best of the experts e with allowed[l, e]. allowed (L, E) bool."""
    with ExitStack() as stack:
        for layer, mask in zip(model.layers, allowed):
            moe = layer.feed_forward
            hook = moe.gate.register_forward_hook(
                lambda module, inputs, logits, mask=mask: logits.masked_fill(~mask, float("-inf"))
            )
            stack.callback(hook.remove)
            stack.callback(setattr, moe, "k", moe.k)
            moe.k = k
        yield
