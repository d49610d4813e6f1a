"""11.4: answers as people write them."""

import torch

SHARES = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5]


def _errors(groups, bits, share, clamp=True):
    top = 2 ** (bits - 1) - 1
    scale = share * groups.abs().amax(1) / top
    codes = torch.round(groups / scale[:, None])
    if clamp:
        codes = codes.clamp(-top, top)
    return scale, codes * scale[:, None] - groups


def keep_the_best_so_far(groups, bits):
    best, result = torch.full((len(groups),), float("inf")), torch.zeros(len(groups))
    for share in SHARES:
        scale, miss = _errors(groups, bits, share)
        error = (miss**2).mean(1)
        result = torch.where(error < best, scale, result)
        best = torch.minimum(best, error)
    return result


def group_by_group(groups, bits):
    found = []
    for group in groups:
        tries = [_errors(group[None], bits, share) for share in SHARES]
        found.append(min(tries, key=lambda pair: pair[1].norm().item())[0])
    return torch.cat(found)


RIGHT = [keep_the_best_so_far, group_by_group]


def _pick(groups, bits, error_of, clamp=True, best=torch.argmin):
    tries = [_errors(groups, bits, share, clamp) for share in SHARES]
    scales = torch.stack([scale for scale, _ in tries])  # (6, N)
    errors = torch.stack([error_of(miss, scale) for scale, miss in tries])
    return scales[best(errors, dim=0), torch.arange(len(groups))]


def always_the_largest(groups, bits):
    return _errors(groups, bits, 1.0)[0]


def no_clamp(groups, bits):
    return _pick(groups, bits, lambda miss, _: miss.square().sum(1), clamp=False)


def same_for_all(groups, bits):
    errors = [_errors(groups, bits, share)[1].square().sum() for share in SHARES]
    share = SHARES[min(range(6), key=lambda i: errors[i].item())]
    return _errors(groups, bits, share)[0]


def in_codes(groups, bits):
    return _pick(groups, bits, lambda miss, scale: (miss / scale[:, None]).square().sum(1))


def smallest_maximum(groups, bits):
    return _pick(groups, bits, lambda miss, _: miss.abs().amax(1))


def sizes(groups, bits):
    return _pick(groups, bits, lambda miss, _: miss.abs().sum(1))


def upside_down(groups, bits):
    return _pick(groups, bits, lambda miss, _: miss.square().sum(1), best=torch.argmax)


WRONG = {
    "as before": [always_the_largest],
    "not clamped": [no_clamp],
    "one share for all": [same_for_all],
    "error in steps": [in_codes],
    "the largest error": [smallest_maximum],
    "not squared": [sizes],
    "the worst": [upside_down],
}
