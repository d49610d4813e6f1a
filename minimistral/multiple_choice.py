"""Multiple choice by likelihood: the model reads prompt and choice, and whichever choice it finds likelier is its answer.

With a set of our own: 1,400 items over the five domains of the course's texts, made by rule from what is held out, so that
every answer is certain (scripts/multiple_choice.py makes it).
"""

import json
import lzma
import random
import string
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from minimistral.tokenizer import Tokenizer

FILE = Path(__file__).parent / "texts" / "multiple_choice.jsonl.xz"
LETTERS = string.ascii_uppercase
Show = Callable[[Iterable], Iterable]  # a progress bar, or iter


@dataclass(frozen=True)
class Item:
    """One question. prompt + choice is a text as it would stand in a file; choices[answer] is right."""

    id: str
    kind: str  # continuation, translation, bracket, indentation, parentheses or arithmetic
    domain: str
    prompt: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True)
class Scored:
    """What a model says to one choice: the log of its probability given the prompt (nats, ≤ 0), and how long it is."""

    log_p: float
    n_tokens: int
    n_bytes: int


# A rule makes one number of a choice; the choice with the largest is the answer.
RULES: dict[str, Callable[[Scored], float]] = {
    "sum": lambda choice: choice.log_p,
    "per token": lambda choice: choice.log_p / choice.n_tokens,
    "per byte": lambda choice: choice.log_p / choice.n_bytes,
}


def choice_items(kind: str | None = None, domain: str | None = None) -> list[Item]:
    """The course's own set, or the items of one kind, of one domain, or both. ValueError names what there is."""
    with lzma.open(FILE, "rt", encoding="utf-8") as lines:
        found = [Item(**{**entry, "choices": tuple(entry["choices"])}) for entry in map(json.loads, lines)]
    for name, wanted in (("kind", kind), ("domain", domain)):
        there = sorted({getattr(item, name) for item in found})
        if wanted is not None and wanted not in there:
            raise ValueError(f"there is no {name} {wanted!r}. There are: {', '.join(there)}.")
    return [item for item in found if kind in (None, item.kind) and domain in (None, item.domain)]


def continuation_ids(tokenizer: "Tokenizer", prompt: str, choice: str) -> tuple[list[int], list[int]]:
    """The ids of prompt + choice, cut in two: what is given, and what is scored. Both together are encoded once.

    Space at the prompt's end is scored with the choice, as in lm_eval: it belongs to the piece that begins the choice in
    one choice (▁foo) and not in another (▁, 1), and each choice should pay for the same text. Where the tokens of the whole
    do not run along the seam (a choice that begins in the middle of a piece), the cut moves back to the last place where
    they agree, and the rest is scored. ValueError for an empty choice.
    """
    if not choice:
        raise ValueError("a choice is empty: there is nothing to score. Give each choice some text.")
    return cut_where_they_part(tokenizer.encode(prompt.rstrip(), bos=True), tokenizer.encode(prompt + choice, bos=True))


def cut_where_they_part(before: list[int], whole: list[int]) -> tuple[list[int], list[int]]:
    """The ids of a whole text in two: as many as it shares with its beginning encoded alone, and the rest, an id at least."""
    shared = 1  # bos
    while shared < min(len(before), len(whole) - 1) and before[shared] == whole[shared]:
        shared += 1
    return whole[:shared], whole[shared:]


@torch.inference_mode()
def log_likelihoods(
    model: torch.nn.Module, pairs: Sequence[tuple[list[int], list[int]]], batch_size: int = 32, show: Show = iter
) -> list[tuple[float, bool]]:
    """For each (given, scored): Σ log p of the scored ids in nats, and whether each of them was the likeliest token.

    Rows of like length are read together, padded on the right, which changes nothing: no token sees what stands after it.
    What the model reads (all but the last id) is read once where it is the same: A, B, C and D cost as much as one.
    ValueError where nothing is given (at least bos is) or nothing is scored.
    """
    if batch_size < 1 or not all(given and scored for given, scored in pairs):
        raise ValueError(
            "give batch_size ≥ 1, and in each pair a token or more to read (bos will do) and one to score."
        )
    device = next(model.parameters()).device
    readers: dict[tuple[int, ...], list[int]] = {}  # what is read, and the pairs that it serves
    for i, (given, scored) in enumerate(pairs):
        readers.setdefault((*given, *scored[:-1]), []).append(i)
    rows = sorted(readers, key=len, reverse=True)
    found: list[tuple[float, bool]] = [(0.0, True)] * len(pairs)
    for start in show(range(0, len(rows), batch_size)):
        batch = rows[start : start + batch_size]
        padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in batch], batch_first=True)
        for logits, row in zip(model(padded.to(device)), batch):  # (T, V) of each row of (B, T)
            for i in readers[row]:
                scored = torch.tensor(pairs[i][1], device=device)
                found[i] = _of_one(logits[len(row) - len(scored) : len(row)], scored)
    return found


def _of_one(logits: Tensor, scored: Tensor) -> tuple[float, bool]:
    """logits (T, V) that predict the ids scored (T,)."""
    log_p = logits.float().log_softmax(-1).gather(-1, scored[:, None])  # (T, 1)
    return log_p.double().sum().item(), bool((logits.argmax(-1) == scored).all())


def score(
    model: torch.nn.Module, tokenizer: "Tokenizer", items: Sequence[Item], batch_size: int = 32, show: Show = iter
) -> list[list[Scored]]:
    """For each item, each of its choices scored by the model."""
    pairs = [continuation_ids(tokenizer, item.prompt, choice) for item in items for choice in item.choices]
    answers = iter(zip(pairs, log_likelihoods(model, pairs, batch_size, show)))
    result = []
    for item in items:
        of_item = [next(answers) for _ in item.choices]
        result.append([Scored(log_p, len(scored), len(choice.encode()))
                       for choice, ((_, scored), (log_p, _)) in zip(item.choices, of_item)])  # fmt: skip
    return result


def chosen(scored: Sequence[Sequence[Scored]], rule: str = "sum") -> list[int]:
    """For each item the index of the choice that the rule prefers; the first of equals. ValueError names the rules."""
    if rule not in RULES:
        raise ValueError(f"there is no rule {rule!r}. There are: {', '.join(RULES)}.")
    if not all(scored):
        raise ValueError("an item has no choices: give each one or more.")
    return [max(range(len(choices)), key=lambda i: RULES[rule](choices[i])) for choices in scored]


def right(items: Sequence[Item], answers: Sequence[int]) -> list[bool]:
    """Item by item, whether the answer is right. Its mean is the accuracy; the list is what paired tests need."""
    return [item.answer == answer for item, answer in zip(items, answers, strict=True)]


def lettered(item: Item) -> Item:
    """The same question in the form of MMLU: the choices are listed under letters, and a letter is what gets scored.

    ValueError for more choices than there are letters.
    """
    if len(item.choices) > len(LETTERS):
        raise ValueError(f"{item.id} has {len(item.choices)} choices, and there are {len(LETTERS)} letters.")
    listed = "".join(f"\n{letter}.{_flat(choice)}" for letter, choice in zip(LETTERS, item.choices))
    letters = tuple(f" {letter}" for letter in LETTERS[: len(item.choices)])
    return Item(
        item.id, item.kind, item.domain, f"{item.prompt} ...\n\nWhat comes next?{listed}\nAnswer:", letters, item.answer
    )


def _flat(choice: str) -> str:
    text = choice.strip("\n").rstrip()
    return text if text.startswith(" ") else f" {text}"


def few_shot(item: Item, pool: Sequence[Item], shots: int, seed: int = 0) -> Item:
    """The item with `shots` solved items of the same kind and domain before its prompt, drawn from the pool, never itself."""
    others = [one for one in pool if (one.kind, one.domain) == (item.kind, item.domain) and one.prompt != item.prompt]
    if not 0 <= shots <= len(others):
        raise ValueError(f"shots={shots}: the pool has {len(others)} other items like {item.id}. Give 0 to that many.")
    examples = random.Random(f"{seed} {item.id}").sample(others, shots)
    solved = "".join(f"{one.prompt}{one.choices[one.answer].rstrip()}\n\n" for one in examples)
    return Item(item.id, item.kind, item.domain, solved + item.prompt, item.choices, item.answer)
