"""Text from a model: one new token after the other, for many prompts at once or as a stream.

B rows (prompts), T tokens of one call, V vocabulary.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from minimistral.cache import RollingCache
from minimistral.sampling import Sampling, is_integer
from minimistral.transformer import Transformer

PREFILL_CHUNK = 512  # tokens of each prompt read in one call: prompts of any length then need the same working memory


def generate(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int | None = None,
    seed: int | None = None,
    stop_ids: Iterable[int] | int = (2,),
) -> list[list[int]]:
    """Continue each prompt of token ids, and return only the new ids, a list a prompt.

    Each prompt gets what it would get alone; row i draws from its own generator, seeded with `seed` + i (from the
    operating system when None, never from torch's global generator). A stop id ends its row and is not returned.
    `max_position_embeddings` is information, not a wall: nothing in the arithmetic ends there, though a model is only as
    good as the lengths it was trained on.
    """
    sampling = Sampling(temperature, top_p, top_k)
    prompts = _checked_prompts(prompts, model.config.vocab_size)
    _check_count(max_new_tokens)
    stops = _checked_stops(stop_ids)
    generators = [_generator(seed, row, model) for row in range(len(prompts))]
    new_ids = [[] for _ in prompts]
    if not prompts or max_new_tokens == 0:
        return new_ids

    cache = model.make_cache(len(prompts), max(map(len, prompts)) + max_new_tokens)
    logits = read(model, prompts, cache)  # (B, V)
    running = list(range(len(prompts)))  # the prompt that each row of the cache and of the logits belongs to
    while True:
        chosen = [sampling.choose(logits[row], generators[i]) for row, i in enumerate(running)]
        going_on = []
        for row, i in enumerate(running):
            if chosen[row] not in stops:
                new_ids[i].append(chosen[row])
                if len(new_ids[i]) < max_new_tokens:
                    going_on.append(row)
        if not going_on:
            return new_ids
        if len(going_on) < len(running):
            cache.keep_rows(going_on)
        running = [running[row] for row in going_on]
        logits = read(model, [[chosen[row]] for row in going_on], cache)


def stream(
    model: Transformer,
    ids: Sequence[int],
    max_new_tokens: int = 64,
    cache: RollingCache | None = None,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int | None = None,
    seed: int | None = None,
    stop_ids: Iterable[int] | int = (2,),
) -> Iterator[int]:
    """Yield the new ids one by one, the same as `generate(model, [ids], …)[0]`. Bad arguments raise at the call.

    With a `cache` (of one row) it goes on where the cache stands, and `ids` are only the tokens that the cache has not
    seen. The rule to continue by: once the first id was yielded, the cache holds `ids` and every id yielded so far, also
    when the consumer stops early. A stop id is neither yielded nor in the cache: a chat starts its next turn with it.
    """
    sampling = Sampling(temperature, top_p, top_k)
    ids = _checked_ids(ids, "ids", model.config.vocab_size)
    _check_count(max_new_tokens)
    stops = _checked_stops(stop_ids)
    generator = _generator(seed, 0, model)
    if cache is None:
        cache = model.make_cache(1, len(ids) + max_new_tokens)
    else:
        model._check_cache(cache, 1, model.tok_embeddings.weight)
        _check_room(cache, len(ids) + max_new_tokens)
    return _stream(model, ids, max_new_tokens, cache, sampling, generator, stops)


def _stream(
    model: Transformer,
    ids: list[int],
    max_new_tokens: int,
    cache: RollingCache,
    sampling: Sampling,
    generator: torch.Generator,
    stops: set[int],
) -> Iterator[int]:
    if max_new_tokens == 0:
        return
    logits = read(model, [ids], cache)
    for _ in range(max_new_tokens):
        token_id = sampling.choose(logits[0], generator)
        if token_id in stops:
            return
        # Written before it is yielded: the consumer may stop here, and the cache must then hold what they have seen.
        logits = read(model, [[token_id]], cache)
        yield token_id


@torch.inference_mode()
def read(model: Transformer, rows: list[list[int]], cache: RollingCache) -> Tensor:
    """Give each row's tokens to the model, PREFILL_CHUNK at a time; the logits after each row's last one, (B, V), on the CPU."""
    logits = torch.empty(len(rows), model.config.vocab_size)
    for start in range(0, max(map(len, rows)), PREFILL_CHUNK):
        here = [row for row, ids in enumerate(rows) if len(ids) > start]  # shorter rows do not wait for the long ones
        part = cache if len(here) == len(rows) else cache.take_rows(here)
        pieces = [rows[row][start : start + PREFILL_CHUNK] for row in here]
        lengths = torch.tensor([len(piece) for piece in pieces])
        width = int(lengths.max())  # T
        tokens = torch.tensor([piece + [0] * (width - len(piece)) for piece in pieces], device=cache.device)  # (B, T)
        logits[here] = model(tokens, cache=part, lengths=lengths, last_only=True)[:, 0].cpu()  # (B, V)
        if part is not cache:
            cache.put_rows(here, part)
    return logits


def _checked_prompts(prompts: Sequence[Sequence[int]], vocab_size: int) -> list[list[int]]:
    if not isinstance(prompts, (list, tuple)):
        raise ValueError(
            f"prompts is a {type(prompts).__name__}. Give a list of lists of token ids, one list a prompt: "
            "generate(model, [tokenizer.encode(text, bos=True)])."
        )
    if any(is_integer(ids) for ids in prompts):
        raise ValueError("prompts holds numbers where lists belong. For a single prompt write [ids], a list in a list.")
    return [_checked_ids(ids, f"prompt {i}", vocab_size) for i, ids in enumerate(prompts)]


def _checked_ids(ids: Sequence[int], name: str, vocab_size: int) -> list[int]:
    if not isinstance(ids, (list, tuple)):
        raise ValueError(
            f"{name} is a {type(ids).__name__}. Give a list of token ids: "
            "tokenizer.encode(text, bos=True) for text, .tolist() for a tensor."
        )
    if not ids:
        raise ValueError(f"{name} is empty, and a model goes on from a token. Give at least bos: [1].")
    for position, token_id in enumerate(ids):
        if not is_integer(token_id) or not 0 <= token_id < vocab_size:
            raise ValueError(
                f"{name} has {token_id!r} at position {position}. Token ids are whole numbers from 0 to {vocab_size - 1}."
            )
    return [int(token_id) for token_id in ids]


def _checked_stops(stop_ids: Iterable[int] | int) -> set[int]:
    stops = [stop_ids] if is_integer(stop_ids) else stop_ids
    if isinstance(stops, (str, bytes)) or not isinstance(stops, Iterable):
        raise ValueError(f"stop_ids={stop_ids!r}. Give token ids, such as (2,), or () to stop at none.")
    stops = list(stops)
    if not all(is_integer(stop) and stop >= 0 for stop in stops):
        raise ValueError(f"stop_ids={stops!r}: every stop id is a whole number ≥ 0.")
    return {int(stop) for stop in stops}


def _check_count(max_new_tokens: int) -> None:
    if not is_integer(max_new_tokens) or max_new_tokens < 0:
        raise ValueError(f"max_new_tokens={max_new_tokens!r} is not a whole number ≥ 0.")


def _check_room(cache: RollingCache, n_tokens: int) -> None:
    """What the model would say only half way through the stream."""
    end = cache.position + n_tokens
    if end > cache.max_context and not cache.rolls:
        raise ValueError(
            f"the cache holds {cache.position} tokens of at most {cache.max_context}; ids and max_new_tokens would make "
            f"{end}. Lower max_new_tokens, or start again with model.make_cache(1, {end})."
        )


def _generator(seed: int | None, row: int, model: Transformer) -> torch.Generator:
    generator = torch.Generator()
    if seed is None and hasattr(model, "draw_seed"):  # in parts on several ranks, which have to draw the same tokens
        generator.manual_seed(model.draw_seed())
    elif seed is None:
        generator.seed()  # from the operating system
    elif not is_integer(seed) or not 0 <= seed < 2**63:
        raise ValueError(
            f"seed={seed!r} is not a whole number from 0 to 2^63 − 1. Use None for another text each time."
        )
    else:
        generator.manual_seed(int(seed) + row)
    return generator
