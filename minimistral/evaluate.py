"""How well a model knows a text: bits a byte, which compare across tokenizers, and perplexity, which does not."""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from minimistral.transformer import Transformer

if TYPE_CHECKING:  # a tokenizer of the caller's own will do
    from minimistral.tokenizer import Tokenizer

CHUNK = 256  # tokens read at a time; the cache carries the rest
Show = Callable[[Iterable], Iterable]  # a progress bar, or iter


def bits_a_byte(
    model: Transformer, texts: Iterable[str], tokenizer: "Tokenizer", chunk: int = CHUNK, show: Show = iter
) -> float:
    """What the model needs to write these texts down, in bits for each byte of UTF-8: lower is better.

    Each text is a document of its own, from bos to eos, read whole, `chunk` tokens at a time through the rolling cache.
    Compares across tokenizers, with n-grams and with xz: all count the same bytes. ValueError where there is no text, or
    one text in place of several.
    """
    if isinstance(texts, str):
        raise ValueError("texts is one text, and each of its letters would count as one: give a list, [text].")
    nats = n_bytes = 0.0
    for text in show(texts):
        nats += negative_log_likelihood(model, tokenizer.encode(text, bos=True, eos=True), chunk)
        n_bytes += len(text.encode())
    if not n_bytes:
        raise ValueError("there is no text to measure on: give at least one that is not empty.")
    return nats / math.log(2) / n_bytes


def by_domain(model: Transformer, texts: dict[str, list[str]], tokenizer: "Tokenizer", show: Show = iter) -> dict:
    """Domain to bits a byte of its texts."""
    return {domain: bits_a_byte(model, texts[domain], tokenizer) for domain in show(texts)}


def perplexity(model: Transformer, ids: Tensor | list[int], chunk: int = CHUNK) -> float:
    """exp of the mean nats a token over one text of token ids: as unsure as among so many equally likely tokens.

    The first token is given, not predicted. ValueError for fewer than two. Depends on the tokenizer: a model that reads
    longer pieces has a higher perplexity for the same text. Compare it between models of one tokenizer only.
    """
    return math.exp(negative_log_likelihood(model, ids, chunk) / (len(ids) - 1))


@torch.inference_mode()
def windowed_perplexity(
    model: Transformer, ids: Tensor | list[int], window: int, stride: int | None = None, batch_size: int = 16
) -> float:
    """Perplexity of one text read in windows of `window` tokens, each `stride` further on; the first token is given.

    Every token is predicted once: by the first window that holds it, from at least window − stride + 1 tokens before it,
    but at the text's beginning. The last window moves on by less, to where the text ends, as in lm_eval. stride = window
    (the default) is the cheap way, and the worst for the model: the first tokens of each window are guessed from next to
    nothing. ValueError unless 1 ≤ stride ≤ window.
    """
    stride = window if stride is None else stride
    ids = _one_text(model, ids)
    if not 1 <= stride <= window or batch_size < 1:
        raise ValueError(f"give 1 ≤ stride ≤ window and batch_size ≥ 1, not {stride}, {window}, {batch_size}.")
    window = min(window, len(ids) - 1)
    ends = [window, *range(window + stride, len(ids) - 1, stride)]  # each window predicts up to ids[end]
    rows = torch.stack([ids[end - window : end + 1] for end in ends])  # (windows, window + 1)
    nats = _sum_of_last(model, rows[:1], window)
    for part in rows[1:].split(batch_size):
        nats += _sum_of_last(model, part, stride)
    if left := len(ids) - 1 - ends[-1]:  # the last, shorter step
        nats += _sum_of_last(model, ids[None, -window - 1 :], left)
    return math.exp(nats / (len(ids) - 1))


def _sum_of_last(model: Transformer, rows: Tensor, count: int) -> float:
    """−Σ log p in nats of the last `count` tokens of each row, rows (B, T + 1)."""
    logits = model(rows[:, :-1])[:, -count:]  # (B, count, V)
    return F.cross_entropy(logits.flatten(0, 1).float(), rows[:, -count:].flatten(), reduction="sum").item()


@torch.inference_mode()
def negative_log_likelihood(model: Transformer, ids: Tensor | list[int], chunk: int = CHUNK) -> float:
    """−Σ log p(token | all before it) in nats, the first token given; as in one long forward pass, in little memory."""
    return sum(F.cross_entropy(*read, reduction="sum").item() for read in in_chunks(model, ids, chunk))


def in_chunks(model: Transformer, ids: Tensor | list[int], chunk: int = CHUNK) -> Iterator[tuple[Tensor, Tensor]]:
    """One text through the rolling cache, `chunk` tokens at a time: logits (T, V), and the tokens (T,) they should guess.

    ValueError for a text of fewer than two tokens, and for a chunk of none.
    """
    ids = _one_text(model, ids)
    if chunk < 1:
        raise ValueError(f"give a chunk of 1 token or more, not {chunk}.")
    cache = model.make_cache(1, len(ids))
    for start in range(0, len(ids) - 1, chunk):
        row = ids[start : start + chunk + 1]
        yield model(row[None, :-1], cache=cache)[0], row[1:]


def _one_text(model: Transformer, ids: Tensor | list[int]) -> Tensor:
    """The ids of one text, (T,), on the model's device. Also the last one, which is guessed and never read, must be known."""
    if isinstance(ids, str):
        raise ValueError("ids is a text: give its token ids, tokenizer.encode(text, bos=True).")
    ids, size = torch.as_tensor(ids), model.config.vocab_size
    if ids.ndim != 1 or len(ids) < 2:
        raise ValueError(f"give one text of two tokens or more, not ids of shape {tuple(ids.shape)}.")
    if not 0 <= ids.min() <= ids.max() < size:
        raise ValueError(f"ids go from {ids.min()} to {ids.max()}. Token ids are whole numbers from 0 to {size - 1}.")
    return ids.to(model.tok_embeddings.weight.device)


def samples(
    model: Transformer, tokenizer: "Tokenizer", texts: dict[str, list[str]], prompt_tokens: int = 24,
    new_tokens: int = 64, temperature: float = 0.8, top_p: float = 0.95, seed: int = 0,
) -> dict[str, tuple[str, str]]:  # fmt: skip
    """What the model makes of each domain, by rule and not by taste: one continuation, always with the same seed.

    The prompt is the opening of the domain's first text, `prompt_tokens` long. Returns domain to (prompt, continuation).
    """
    from minimistral import generate

    result = {}
    for domain, documents in texts.items():
        prompt_ids = tokenizer.encode(documents[0], bos=True, eos=False)[:prompt_tokens]
        [new] = generate(model, [prompt_ids], new_tokens, temperature=temperature, top_p=top_p, seed=seed)
        prompt = tokenizer.decode(prompt_ids)
        result[domain] = prompt, tokenizer.decode(prompt_ids + new)[len(prompt) :]
    return result


def report(model: Transformer, tokenizer: "Tokenizer", texts: dict[str, list[str]]) -> str:
    """Markdown: bits a byte of each domain's texts, and a sample of each, by the rule of `samples`."""
    bits = by_domain(model, texts, tokenizer, partial(tqdm, desc="held-out texts", unit="domain", leave=False))
    rows = [f"| {name} | {sum(len(t.encode()) for t in texts[name]):,} | {bits[name]:.3f} |" for name in texts]
    table = "\n".join(["| domain | bytes | bits a byte |", "|---|---|---|", *rows])
    shown = "".join(
        f"**{domain}**\n\n```\n{prompt}|{text}\n```\n\n"
        for domain, (prompt, text) in samples(model, tokenizer, texts).items()
    )
    return (
        f"# What the model knows of its held-out texts\n\nLower is better.\n\n{table}\n\n# What it writes\n\n"
        "By rule, not chosen: the opening of each domain's first text, up to the bar; temperature 0.8, top-p 0.95, "
        f"seed 0.\n\n{shown}"
    )
