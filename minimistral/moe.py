"""A sparse mixture of experts: a gate sends every token, in every layer, to K of E feed-forward blocks."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class MoE(nn.Module):
    """y = Σ over the K chosen experts of softmax(their gate logits) · expert(x) (Mixtral, arXiv 2401.04088, section 2.1).

    x (..., C); the result has its shape and dtype. No token is dropped, whatever the load of an expert.
    """

    def __init__(self, experts: Sequence[nn.Module], gate: Callable[[Tensor], Tensor], k: int):
        super().__init__()
        self.experts = nn.ModuleList(experts)
        self.gate = gate  # (N, C) to (N, E)
        self.k = k

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(0, -2)  # (N, C)
        weights, expert_ids = choose_experts(self.gate(tokens), self.k)  # (N, K) each
        # Sort the N·K assignments by expert, so that each expert runs once, on all of its tokens.
        order = expert_ids.flatten().argsort(stable=True)  # (N·K,)
        token_ids = order // self.k  # whose assignment it is
        loads = expert_ids.flatten().bincount(minlength=len(self.experts)).tolist()
        groups = tokens[token_ids].split(loads)
        outputs = [expert(group) for expert, group in zip(self.experts, groups) if len(group)]
        if not outputs:  # an empty batch
            return x
        weighted = torch.cat(outputs) * weights.flatten()[order, None]  # (N·K, C), float32 weights
        return torch.zeros_like(tokens).index_add_(0, token_ids, weighted.to(x.dtype)).view_as(x)


def choose_experts(router_logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k experts with the largest logits, and the softmax over just those k: weights (N, K) float32, ids (N, K).

    router_logits (N, E). The same numbers as a softmax over all E whose k largest are divided by their sum.

    >>> choose_experts(torch.tensor([[0.0, 2.0, -9.0, 2.0]]), k=2)[0]
    tensor([[0.5000, 0.5000]])
    """
    chosen_logits, expert_ids = router_logits.float().topk(k, dim=-1)
    return chosen_logits.softmax(dim=-1), expert_ids


def balance_loss(router_logits: Tensor, k: int, share: Tensor | None = None) -> Tensor:
    """E · Σ_e f_e · P_e of one layer: 1.0 when the load is even, up to E when one expert takes everything.

    router_logits (N, E). f_e is the share of the N·K assignments that went to expert e, P_e its mean softmax weight over
    all E; gradients flow through P only. Source: Switch, arXiv 2101.03961, equation 4 (there with k = 1).
    With several layers take the mean over layers of this. Where several processes have a part of the batch each, `share`
    is f over all of it: as P is a mean and f has no gradient, the mean of the processes' losses is the loss of the whole.
    """
    n_experts = router_logits.shape[-1]
    probabilities = router_logits.float().softmax(dim=-1)  # (N, E)
    share = expert_share(router_logits, k) if share is None else share  # f (E,)
    return n_experts * (share * probabilities.mean(dim=0)).sum()


def expert_share(router_logits: Tensor, k: int) -> Tensor:
    """Of router_logits (N, E), the share of the N·K assignments that goes to each expert, (E,): they add up to 1."""
    expert_ids = router_logits.topk(k, dim=-1).indices  # (N, K)
    return expert_ids.flatten().bincount(minlength=router_logits.shape[-1]) / expert_ids.numel()
