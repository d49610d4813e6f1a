"""08.1: answers as people write them."""

import torch


def softmax_first_then_renormalise(router_logits, k):
    probabilities = router_logits.softmax(-1)
    top, ids = probabilities.topk(k, dim=-1)
    return torch.zeros_like(probabilities).scatter_(-1, ids, top / top.sum(-1, keepdim=True))


def minus_infinity(router_logits, k):
    least = router_logits.topk(k, dim=-1).values[:, -1:]
    return router_logits.masked_fill(router_logits < least, float("-inf")).softmax(-1)


def token_by_token(router_logits, k):
    rows = []
    for logits in router_logits.tolist():
        chosen = sorted(range(len(logits)), key=lambda e: logits[e], reverse=True)[:k]
        powers = [torch.tensor(logits[e]).exp().item() if e in chosen else 0.0 for e in range(len(logits))]
        rows.append([power / sum(powers) for power in powers])
    return rows


RIGHT = [softmax_first_then_renormalise, minus_infinity, token_by_token]


def shares_of_all_eight(router_logits, k):
    top, ids = torch.softmax(router_logits, 1).topk(k)
    out = torch.zeros(router_logits.shape)
    out.scatter_(1, ids, top)
    return out


def ids_in_order(router_logits, k):
    top, ids = router_logits.topk(k)
    ids, _ = torch.sort(ids, dim=1)
    return torch.zeros(router_logits.shape).scatter_(1, ids, torch.softmax(top, 1))


def down_the_columns(router_logits, k):
    top, ids = router_logits.topk(k)
    return torch.zeros(router_logits.shape).scatter_(1, ids, torch.softmax(top, dim=0))


def zero_is_not_hidden(router_logits, k):
    least = router_logits.topk(k).values[:, -1:]
    return (router_logits * (router_logits >= least)).softmax(-1)


def the_worst(router_logits, k):
    ids = router_logits.argsort(-1)[:, :k]
    return torch.zeros(router_logits.shape).scatter_(1, ids, router_logits.gather(1, ids).softmax(1))


def votes(router_logits, k):
    ids = router_logits.argsort(-1, descending=True)[:, :k]
    return torch.zeros(router_logits.shape).scatter_(1, ids, 1.0) / k


def everyone(router_logits, k):
    return torch.exp(router_logits) / torch.exp(router_logits).sum(-1, keepdim=True)


def only_the_k(router_logits, k):
    return router_logits.topk(k).values.softmax(-1)


WRONG = {
    "not renormalised": [shares_of_all_eight],
    "ids sorted, weights left behind": [ids_in_order],
    "softmax over the tokens": [down_the_columns],
    "hidden with 0": [zero_is_not_hidden],
    "the smallest": [the_worst],
    "equal weights": [votes],
    "nobody was left out": [everyone],
    "k columns instead of E": [only_the_k],
}
