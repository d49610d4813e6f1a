"""Who writes the tokens of one text: the plain model, or on a GPU a FastDecoder. Counts them, to say how fast it was."""

import gc
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import torch

from minimistral.cache import RollingCache
from minimistral.generation import stream
from minimistral.transformer import Transformer


class Writer:
    """`stream`, plain or fast, with a cache to go on from.

    fast: None: on a CUDA device where that can be, True: there or on a CPU (where it is no faster), False: never.
    ValueError where True cannot be. is_fast: what was chosen. note: None, or one line about a GPU that could be faster.
    """

    def __init__(self, model: Transformer, fast: bool | None = None):
        where, self.note = model.tok_embeddings.weight.device, None
        reason = None if fast is False else why_not_fast(model)
        if reason is None and fast is not False and _on_gpu(model):
            reason = why_not_compiled(where, model.tok_embeddings.weight.dtype)
            self.note = None if reason is None else f"Decoding is not compiled here, so it is slower: {reason}"
        if fast and reason:
            raise ValueError(f"fast decoding is not for this model on {where}: {reason}.")
        self.model = model
        self.is_fast = (reason is None and _on_gpu(model)) if fast is None else fast
        self.n_tokens = 0
        self._n_timed, self._seconds = 0, 0.0
        self._decoder = None

    def make_cache(self, max_context: int) -> RollingCache:
        """A cache of one row for `stream`; one made earlier is no longer good."""
        self._decoder = None  # two at once might not fit
        gc.collect()  # a cache and its layers know each other: without this, one that nobody has any more still holds memory
        if not self.is_fast:
            return self.model.make_cache(1, max_context)
        from minimistral.fast import FastDecoder  # torch.compile, which a CPU does without

        self._decoder = FastDecoder(self.model, 1, max_context)
        return self._decoder.cache

    def stream(
        self, ids: Sequence[int], max_new_tokens: int = 64, cache: RollingCache | None = None, **options
    ) -> Iterator[int]:
        """As `generation.stream`; a cache must be the last that `make_cache` made."""
        if not self.is_fast:
            return self._counted(stream(self.model, ids, max_new_tokens, cache, **options))
        from minimistral.fast import fast_stream

        if cache is None:
            stream(self.model, ids, max_new_tokens, **options)  # says what is wrong before anything is compiled
            self.make_cache(len(ids) + max_new_tokens)
        elif self._decoder is None or cache is not self._decoder.cache:
            raise ValueError("cache: give the one that this writer's make_cache made last.")
        return self._counted(fast_stream(self._decoder, ids, max_new_tokens, **options))

    def make_step(self, max_context: int) -> Callable[[int], int]:
        """One step of decoding at temperature 0, to time it: the id of a token goes in, the likeliest next one comes out.

        With a cache of its own, as from `make_cache`. A compiled step is compiled when it is first taken.
        """
        cache = self.make_cache(max_context)

        @torch.no_grad()
        def step(token_id: int) -> int:
            tokens = torch.tensor([[token_id]], device=cache.device)  # (1, 1)
            logits = self._decoder.step(tokens[0]) if self.is_fast else self.model(tokens, cache=cache)
            return int(logits.argmax())  # waits for the device

        return step

    def _counted(self, token_ids: Iterator[int]) -> Iterator[int]:
        """Time is taken from one token to the next: a text's first token waits for its prompt, and for compiling."""
        before = None
        for token_id in token_ids:
            now = time.perf_counter()
            self.n_tokens += 1
            if before is not None:
                self._n_timed += 1
                self._seconds += now - before
            yield token_id
            before = now

    def describe(self) -> str:
        """One line: how many tokens, how many a second, and of offloaded experts how many were in place."""
        line = f"{self.n_tokens:,} {'token' if self.n_tokens == 1 else 'tokens'}"
        if self._n_timed and self._seconds:
            line += f", {self._n_timed / self._seconds:,.1f} a second after the first"
        cache = getattr(self.model, "expert_cache", None)
        if cache is not None:
            line += f"; experts found in place: {cache.hit_rate:.0%}, with room for {cache.capacity}"
        return f"{line}."


def why_not_fast(model: Transformer) -> str | None:
    """Why a FastDecoder cannot hold this model; None where it can."""
    if hasattr(model, "expert_cache"):
        return "its experts are offloaded, and a recorded step cannot wait for them"
    if hasattr(model, "draw_seed"):
        return "several processes share it"
    if model.tok_embeddings.weight.device.type not in ("cpu", "cuda"):
        return "a step is recorded on CUDA devices only"
    return None


def _on_gpu(model: Transformer) -> bool:
    return model.tok_embeddings.weight.is_cuda


@cache
def why_not_compiled(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why torch.compile makes no kernels for numbers of this dtype on this device; None where it does.

    It is tried on a small function, since many things can be missing: Triton, a C compiler and Python's headers (Triton
    starts its kernels from C), a GPU that Triton knows, and for bfloat16 one of Ampere's generation or a later one.
    """
    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            torch.compile(_double, fullgraph=True, dynamic=False)(torch.ones(8, device=device, dtype=dtype))
    except Exception as error:  # of many kinds, from three libraries
        lines = [line.strip() for line in str(error).splitlines()]
        told = next((i for i, line in enumerate(lines) if line.startswith("Set TORCHDYNAMO")), None)
        return " ".join(filter(None, lines[:told]))[:300] or type(error).__name__
    return None


def _double(x: torch.Tensor) -> torch.Tensor:
    return x * 2
