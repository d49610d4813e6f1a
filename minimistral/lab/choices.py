"""Chapter 10's stored answers: what each model said to each choice of the course's set, and what a rule makes of it."""

from functools import cache

from minimistral.lab.stored_results import stored
from minimistral.multiple_choice import RULES, Item, Scored, choice_items, chosen, continuation_ids, right
from minimistral.tokenizer import Tokenizer

MODELS = ("tiny-mistral", "tiny-mixtral", "5-gram", "3-gram", "2-gram")
WAYS = (*RULES, "gain", "letter")  # gain: log p after the prompt, less log p with nothing before it
FEW = ("translation", "parentheses", "arithmetic")  # the kinds that were also asked with solved items


@cache
def items(few: bool = False) -> list[Item]:
    """The set, or only the kinds that were also asked with solved items before them."""
    return [item for item in choice_items() if not few or item.kind in FEW]


@cache
def tokenizer() -> Tokenizer:
    from minimistral import load

    return load("tiny-mistral")[1]


@cache
def n_tokens() -> dict[tuple[str, str], int]:
    """(item's id, choice) to the choice's number of tokens."""
    return {
        (item.id, choice): len(continuation_ids(tokenizer(), item.prompt, choice)[1])
        for item in items()
        for choice in item.choices
    }


def scored(model: str, form: str = "prompt", shots: int = 0) -> list[list[Scored]]:
    """Each choice of each item as the stored run found it; form: prompt, alone or letter. ValueError names what there is."""
    runs = {(run["model"], run["form"], run["shots"]): run for run in stored("multiple_choice")["runs"]}
    if (model, form, shots) not in runs:
        listed = ", ".join(f"{name} {how} {number}" for name, how, number in runs)
        raise ValueError(f"no run of {model} {form} {shots} is stored. There are: {listed}.")
    return [
        [Scored(log_p, n_tokens()[item.id, choice], len(choice.encode())) for choice, log_p in zip(item.choices, found)]
        for item, found in zip(items(few=shots > 0), runs[model, form, shots]["log_p"], strict=True)
    ]


def right_by(model: str, way: str = "sum", shots: int = 0) -> list[bool]:
    """Item by item, whether the model is right when its answer is found in this way: one of WAYS."""
    if way == "letter":
        return right(items(), chosen(scored(model, "letter")))
    if way == "gain":
        gains = [
            [Scored(with_prompt.log_p - alone.log_p, 1, 1) for with_prompt, alone in zip(*pair)]
            for pair in zip(scored(model), scored(model, "alone"))
        ]
        return right(items(), chosen(gains))
    return right(items(few=shots > 0), chosen(scored(model, shots=shots), way))
