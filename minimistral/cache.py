"""The rolling cache: the keys and values of the last W tokens, the newest written over the oldest."""

from copy import copy

import torch
from torch import Tensor

from minimistral.config import ModelConfig


class RollingCache:
    """Keys (already turned by RoPE) and values of every layer; position p lies in slot p mod S, S = min(W, max_context).

    Slots are never sorted: softmax does not care about the order of keys, and each was turned before it was stored.
    Source: Mistral 7B, arXiv 2310.06825, section 2, "Rolling Buffer Cache". Gradients do not flow through the cache.

    position: int, tokens seen by the row that has seen the most. positions: int64 (B,), tokens seen by each row.
    """

    def __init__(
        self,
        config: ModelConfig,
        batch_size: int,
        max_context: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        for name, value, least in (("batch_size", batch_size, 0), ("max_context", max_context, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name}={value!r}: give a whole number of {least} or more.")
        self.config, self.batch_size, self.max_context = config, batch_size, max_context
        self.n_slots = min(config.sliding_window or max_context, max_context)  # S
        self.rolls = config.sliding_window is not None and config.sliding_window <= max_context
        shape = (batch_size, config.n_kv_heads, self.n_slots, config.head_dim)
        with torch.inference_mode(False):  # a cache made inside inference_mode must be writable outside it too
            self.layers = [LayerCache(self, shape, device, dtype) for _ in range(config.n_layers)]
            self.positions = torch.zeros(batch_size, dtype=torch.int64, device=self.layers[0].k.device)
        self.reset()

    def reset(self) -> None:
        """Forget every token; the memory stays allocated."""
        self.positions.zero_()
        self._seen = [0] * self.batch_size  # positions as Python numbers, so that no step waits for the device
        self._lengths: Tensor | None = None
        self._n_new = 0  # tokens a row in the call under way, 0 between calls

    @property
    def position(self) -> int:
        return max(self._seen, default=0)

    @property
    def dtype(self) -> torch.dtype:
        return self.layers[0].k.dtype

    @property
    def device(self) -> torch.device:
        return self.layers[0].k.device

    @property
    def is_ragged(self) -> bool:
        """Whether rows have seen different numbers of tokens."""
        return len(set(self._seen)) > 1

    @property
    def is_interrupted(self) -> bool:
        """Whether a call was stopped while it wrote: only `reset` helps then."""
        return self._n_new > 0

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values in all layers."""
        return sum(layer.k.nbytes + layer.v.nbytes for layer in self.layers)

    def keep_rows(self, rows: list[int]) -> None:
        """Let go of all rows but these, layer by layer: a batch goes on without the rows that are finished."""
        index = torch.tensor(rows, dtype=torch.int64, device=self.device)
        for layer in self.layers:
            layer.k, layer.v = layer.k[index], layer.v[index]
        self.positions = self.positions[index]
        self._seen = [self._seen[row] for row in rows]
        self.batch_size = len(rows)

    def take_rows(self, rows: list[int]) -> "RollingCache":
        """A cache of copies of these rows; `put_rows` brings it back."""
        part = copy(self)
        part.layers = [copy(layer) for layer in self.layers]
        for layer in part.layers:
            layer.whole = part
        part.keep_rows(rows)
        return part

    def put_rows(self, rows: list[int], part: "RollingCache") -> None:
        """Overwrite these rows with those of `part`, in the order given."""
        index = torch.tensor(rows, dtype=torch.int64, device=self.device)
        for ours, theirs in zip(self.layers, part.layers):
            ours.k[index], ours.v[index] = theirs.k, theirs.v
        self.positions[index] = part.positions
        for row, seen in zip(rows, part._seen):
            self._seen[row] = seen

    def begin(self, n_new: int, lengths: list[int] | None = None) -> Tensor:
        """Announce a call with n_new tokens a row, of which lengths are real; returns their positions, (T,) or (B, T).

        Raises ValueError, before anything is written, where a row would pass max_context and the window does not roll,
        and after a call that was interrupted half way.
        """
        if self._n_new:
            raise ValueError(
                "the last call with this cache was interrupted while writing. Call cache.reset() and start again."
            )
        end = max((seen + n for seen, n in zip(self._seen, lengths or [n_new] * self.batch_size)), default=0)
        if end > self.max_context and not self.rolls:
            window = self.config.sliding_window
            why = "the model has no sliding window" if window is None else f"its window of {window} is larger than that"
            raise ValueError(
                f"{end} tokens do not fit in a cache of max_context={self.max_context} ({why}, so nothing may be "
                f"forgotten). Make a larger one: model.make_cache({self.batch_size}, {end})."
            )
        self._n_new = n_new
        self._lengths = None if lengths is None else torch.tensor(lengths, device=self.device)
        steps = torch.arange(n_new, device=self.device)
        return self.positions[:, None] + steps if self.is_ragged else self.position + steps

    def end(self) -> None:
        """Count the tokens of the call that `begin` announced as seen: every layer has written them."""
        lengths = [self._n_new] * self.batch_size if self._lengths is None else self._lengths.tolist()
        self.positions += self._n_new if self._lengths is None else self._lengths
        self._seen = [seen + n for seen, n in zip(self._seen, lengths)]
        self._n_new, self._lengths = 0, None


class LayerCache:
    """One layer's slots: k and v (B, G, S, D). What `Attention` reads and writes during a call."""

    def __init__(self, whole: RollingCache, shape: tuple, device: torch.device | str | None, dtype: torch.dtype | None):
        self.whole = whole
        self.k = torch.zeros(shape, device=device, dtype=dtype)
        self.v = torch.zeros(shape, device=device, dtype=dtype)

    @property
    def is_decoding(self) -> bool:
        """One new token in every row: it may be written before it looks, since what it overwrites it cannot see."""
        return self.whole._n_new == 1 and self.whole._lengths is None

    def write_one(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Write one token a row, k and v (B, G, 1, D); return all filled slots and the mask of a ragged batch."""
        whole = self.whole
        n_filled = min(whole.position + 1, whole.n_slots)
        if not whole.is_ragged:
            slot = whole.position % whole.n_slots
            self.k[:, :, slot], self.v[:, :, slot] = k[:, :, 0].detach(), v[:, :, 0].detach()
            return self.k[:, :, :n_filled], self.v[:, :, :n_filled], None
        rows, slots = torch.arange(len(k), device=k.device), whole.positions % whole.n_slots
        self.k[rows, :, slots], self.v[rows, :, slots] = k[:, :, 0].detach(), v[:, :, 0].detach()
        filled = torch.arange(n_filled, device=k.device) <= whole.positions[:, None]  # slots fill up from 0
        return self.k[:, :, :n_filled], self.v[:, :, :n_filled], filled[:, None, None, :]

    def read(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """The past that a chunk can see, oldest first, (B, G, M, D) twice, and (B,) how many of a row's M are empty."""
        whole = self.whole
        n_past = min(whole.position, whole.n_slots)  # M
        if whole.config.sliding_window is not None:
            n_past = min(n_past, whole.config.sliding_window - 1)
        back = torch.arange(-n_past, 0, device=self.k.device)
        if not whole.is_ragged:
            slots = (whole.position + back) % whole.n_slots
            return self.k[:, :, slots], self.v[:, :, slots], None
        slots = (whole.positions[:, None] + back) % whole.n_slots  # (B, M)
        index = slots[:, None, :, None].expand(-1, self.k.shape[1], -1, self.k.shape[3])
        return self.k.gather(2, index), self.v.gather(2, index), (n_past - whole.positions).clamp(min=0)

    def write(self, k: Tensor, v: Tensor) -> None:
        """Store a chunk, k and v (B, G, T, D): of each row the last S real tokens, at their positions mod S."""
        whole, n_new = self.whole, k.shape[2]
        k, v = k.detach(), v.detach()
        if whole._lengths is None and not whole.is_ragged:
            first = max(0, n_new - whole.n_slots)
            slots = torch.arange(whole.position + first, whole.position + n_new, device=k.device) % whole.n_slots
            self.k[:, :, slots], self.v[:, :, slots] = k[:, :, first:], v[:, :, first:]
            return
        step = torch.arange(n_new, device=k.device)
        lengths = torch.full_like(whole.positions, n_new) if whole._lengths is None else whole._lengths
        kept = (step < lengths[:, None]) & (step >= lengths[:, None] - whole.n_slots)  # (B, T)
        rows, steps = kept.nonzero(as_tuple=True)
        slots = (whole.positions[rows] + steps) % whole.n_slots
        self.k[rows, :, slots], self.v[rows, :, slots] = k[rows, :, steps], v[rows, :, steps]
