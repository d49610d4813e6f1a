"""Chapter 10: the course's multiple-choice set, answered by both bundled models and by n-grams that count the same texts."""

from functools import cache

import numpy as np

from experiments.runner import Experiment
from minimistral import load
from minimistral.data import bundled_texts
from minimistral.multiple_choice import Item, choice_items, continuation_ids, few_shot, lettered, score
from minimistral.ngram import KneserNey

MODELS = ("tiny-mistral", "tiny-mixtral")
NGRAMS = ("2-gram", "3-gram", "5-gram")
SHOTS = (1, 2, 4)
FEW = ("translation", "parentheses", "arithmetic")  # the kinds whose solved items are short


def asked(form: str, shots: int, seed: int) -> list[Item]:
    """The items as they are put: after their prompt, with letters, with nothing before the choice, or after solved items."""
    items = choice_items()
    if shots:
        return [few_shot(item, items, shots, seed) for item in items if item.kind in FEW]
    if form == "letter":
        return [lettered(item) for item in items]
    if form == "alone":
        return [Item(item.id, item.kind, item.domain, "", item.choices, item.answer) for item in items]
    return items


@cache
def counted(order: int) -> KneserNey:
    """An n-gram that has read the bundled training texts, a part of what the models were trained on."""
    tokenizer = load("tiny-mistral")[1]
    ids = [id for text in bundled_texts(held_out=False) for id in tokenizer.encode(text.text, bos=True, eos=True)]
    return KneserNey(np.array(ids), order, tokenizer.vocab_size)


def counted_log_p(model: KneserNey, given: list[int], scored: list[int]) -> float:
    """Σ log p in nats: what the whole takes, less what the given takes, both from as far back as the n-gram looks."""
    given = given[-(model.order - 1) :]
    bits = model.bits(np.array(given + scored)) - model.bits(np.array(given))
    return -bits * float(np.log(2))


def run(model: str, form: str, shots: int, seed: int) -> dict:
    items = asked(form, shots, seed)
    if model in MODELS:
        network, tokenizer = load(model, device="cpu", dtype="float32")
        found = [[choice.log_p for choice in choices] for choices in score(network, tokenizer, items)]
    else:
        tokenizer, ngram = load("tiny-mistral")[1], counted(int(model[0]))
        found = [[counted_log_p(ngram, *continuation_ids(tokenizer, item.prompt, choice)) for choice in item.choices]
                 for item in items]  # fmt: skip
    return {"log_p": [[round(log_p, 2) for log_p in choices] for choices in found]}


SETTINGS = [dict(model=model, form="prompt", shots=0, seed=0) for model in (*MODELS, *NGRAMS)]
SETTINGS += [dict(model=model, form=form, shots=0, seed=0) for form in ("alone", "letter") for model in MODELS]
SETTINGS += [dict(model=model, form="prompt", shots=shots, seed=0) for shots in SHOTS for model in MODELS]

EXPERIMENT = Experiment(
    name="multiple_choice",
    chapter="10",
    minutes=5,
    question="How many of 1,400 items does each model get right, and does it depend on how they are asked and scored?",
    settings=SETTINGS,
    run=run,
)
