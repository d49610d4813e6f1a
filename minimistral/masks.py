"""Who may look at whom: the causal mask and the sliding window, as one rule about positions."""

import torch
from torch import Tensor


def visible(query_positions: Tensor, key_positions: Tensor, window: int | None) -> Tensor:
    """True where a query may look at a key: not in the future, and among the last `window` keys, itself included.

    query_positions (..., T), key_positions (..., S), whole numbers; result (..., T, S), bool. None: no window.
    Source: Mistral 7B, arXiv 2310.06825, Figure 1 (W = 3, three ones in a row).

    >>> visible(torch.tensor([4]), torch.arange(6), window=3).int()
    tensor([[0, 0, 1, 1, 1, 0]], dtype=torch.int32)
    """
    distance = query_positions[..., :, None] - key_positions[..., None, :]  # (..., T, S)
    seen = distance >= 0
    return seen if window is None else seen & (distance < window)


def window_mask(n_tokens: int, window: int | None, device: torch.device | str | None = None) -> Tensor:
    """The mask of a text of `n_tokens`: (T, T), bool; row i sees max(0, i − W + 1) … i.

    >>> window_mask(4, window=2).int()
    tensor([[1, 0, 0, 0],
            [1, 1, 0, 0],
            [0, 1, 1, 0],
            [0, 0, 1, 1]], dtype=torch.int32)
    """
    positions = torch.arange(n_tokens, device=device)
    return visible(positions, positions, window)
