"""06.4: repairs as people make them."""

import torch


def _decode(q, k, v, window, begin=0, read=min, after=lambda seen: seen):
    keys, values = torch.zeros(window, q.shape[-1]), torch.zeros(window, q.shape[-1])
    seen, out = begin, []
    for i in range(len(q)):
        keys[seen % window], values[seen % window] = k[i], v[i]
        seen += 1
        n = read(seen, window)
        out.append((keys[:n] @ q[i] / q.shape[-1] ** 0.5).softmax(0) @ values[:n])
        seen = after(seen)
    return torch.stack(out)


def a_buffer_each(q, k, v, window):
    return torch.stack([_decode(*text, window) for text in zip(q, k, v)])


def old_keys_stay(q, k, v, window):
    keys, values = torch.randn(2, window, q.shape[-1])
    out = torch.empty_like(q)
    for text in range(len(q)):
        seen = 0
        for i in range(q.shape[1]):
            keys[seen % window], values[seen % window] = k[text, i], v[text, i]
            seen += 1  # noqa: SIM113
            n = min(seen, window)
            out[text, i] = (keys[:n] @ q[text, i] / q.shape[-1] ** 0.5).softmax(0) @ values[:n]
    return out


def without_a_buffer(q, k, v, window):
    back = torch.arange(q.shape[1])[:, None] - torch.arange(q.shape[1])
    scores = q @ k.mT / q.shape[-1] ** 0.5
    return scores.masked_fill((back < 0) | (back >= window), float("-inf")).softmax(-1) @ v


RIGHT = [a_buffer_each, old_keys_stay, without_a_buffer]


def still_stale(q, k, v, window):
    return torch.stack([_decode(*text, window, begin=n * q.shape[1]) for n, text in enumerate(zip(q, k, v))])


def one_long_text(q, k, v, window):
    return _decode(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), window).reshape(q.shape)


def remainder(q, k, v, window):
    out, begin = [], 0
    for text in zip(q, k, v):
        out.append(_decode(*text, window, begin=begin))
        begin = (begin + q.shape[1]) % window
    return torch.stack(out)


def empty_when_full(q, k, v, window):
    after = lambda seen: 0 if seen == window else seen  # noqa: E731
    return torch.stack([_decode(*text, window, after=after) for text in zip(q, k, v)])


def only_itself(q, k, v, window):
    return v.clone()


def from_one(q, k, v, window):
    return torch.stack([_decode(*text, window, begin=1) for text in zip(q, k, v)])


def every_slot(q, k, v, window):
    return torch.stack([_decode(*text, window, read=lambda seen, window: window) for text in zip(q, k, v)])


WRONG = {
    "the pointer is stale": [still_stale],
    "it sees the last text": [one_long_text],
    "the remainder is stale": [remainder],
    "forgets at every wrap": [empty_when_full],
    "forgets at every token": [only_itself],
    "starts at 1": [from_one],
    "reads empty slots": [every_slot],
}
