"""08.4: repairs as people make them."""

import torch


def _all(x, experts):
    return torch.stack([x @ expert for expert in experts], dim=1)  # (N, E, C)


def _put(weights, ids, n_experts):
    return torch.zeros(len(ids), n_experts).scatter(1, ids, weights)


def softmax_over_the_chosen(x, gate, experts, k):
    top, ids = (x @ gate.T).topk(k, dim=-1)
    return torch.einsum("ne,nec->nc", _put(top.softmax(-1), ids, len(gate)), _all(x, experts))


def divided_at_the_end(x, gate, experts, k):
    weights, ids = (x @ gate.T).softmax(-1).topk(k, dim=-1)
    dense = _put(weights, ids, len(gate))
    return torch.einsum("ne,nec->nc", dense, _all(x, experts)) / dense.sum(1, keepdim=True)


def token_by_token(x, gate, experts, k):
    out = torch.zeros_like(x)
    for n in range(len(x)):
        logits = gate @ x[n]
        ids = logits.argsort(descending=True)[:k]
        for weight, e in zip(logits[ids].softmax(0), ids):
            out[n] += weight * (x[n] @ experts[e])
    return out


RIGHT = [softmax_over_the_chosen, divided_at_the_end, token_by_token]


def _wrong(change):
    def wrong(x, gate, experts, k):
        weights, ids = (x @ gate.T).softmax(-1).topk(k, dim=-1)
        return torch.einsum("ne,nec->nc", _put(change(weights, k), ids, len(gate)), _all(x, experts))

    return wrong


still_too_small = _wrong(lambda w, k: w)
down_the_column = _wrong(lambda w, k: w / w.sum(dim=0, keepdim=True))
the_mean = _wrong(lambda w, k: w / k)
times_k = _wrong(lambda w, k: w * k)
length_one = _wrong(lambda w, k: w / (w * w).sum(-1, keepdim=True).sqrt())
again = _wrong(lambda w, k: torch.exp(w) / torch.exp(w).sum(-1, keepdim=True))
alike = _wrong(lambda w, k: torch.ones_like(w) / k)

WRONG = {
    "not renormalised": [still_too_small],
    "divided over the tokens": [down_the_column],
    "divided by k": [the_mean],
    "multiplied by k": [times_k],
    "the other norm": [length_one],
    "softmax twice": [again],
    "equal weights": [alike],
}
