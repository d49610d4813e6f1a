"""00.1: the shape that comes out of a part of the model."""

import random

from minimistral.lab.exercise import Exercise, Mistake


def my_shape(part: str, n_texts: int, n_tokens: int, dim: int, vocab_size: int) -> tuple:
    if part == "tokens":
        return (n_texts, n_tokens)
    return (n_texts, n_tokens, vocab_size if part == "output" else dim)


def cases(draw: random.Random) -> list[tuple]:
    sizes = draw.sample(range(2, 40), 4)
    return [(part, *sizes) for part in ("tokens", "attention", "feed_forward", "output")] + [("output", 1, 7, 16, 50)]


def _one_text(part: str, n_texts: int, n_tokens: int, dim: int, vocab_size: int) -> tuple:
    return my_shape(part, n_texts, n_tokens, dim, vocab_size)[1:]


def _always_dim(part: str, n_texts: int, n_tokens: int, dim: int, vocab_size: int) -> tuple:
    return (n_texts, n_tokens) if part == "tokens" else (n_texts, n_tokens, dim)


def _last_token_only(part: str, n_texts: int, n_tokens: int, dim: int, vocab_size: int) -> tuple:
    return (n_texts, vocab_size) if part == "output" else my_shape(part, n_texts, n_tokens, dim, vocab_size)


def _tokens_have_width(part: str, n_texts: int, n_tokens: int, dim: int, vocab_size: int) -> tuple:
    return (n_texts, n_tokens, vocab_size if part == "output" else dim)


def _swapped(part: str, n_texts: int, n_tokens: int, dim: int, vocab_size: int) -> tuple:
    shape = my_shape(part, n_texts, n_tokens, dim, vocab_size)
    return (shape[1], shape[0], *shape[2:])


EXERCISE = Exercise(
    id="00.1",
    title="Read a shape from the map",
    minutes=4,
    difficulty=1,
    cases=cases,
    solution=my_shape,
    mistakes=(
        Mistake(
            "one text", "How many texts at once? The first size is always B, the number of texts.", wrong=_one_text
        ),
        Mistake(
            "output as wide as the model",
            "The output has one number for each piece of the vocabulary, V of them, not C. Click on it in the map.",
            wrong=_always_dim,
        ),
        Mistake(
            "the last token only",
            "There are logits at every position, not only at the last: each token has its own row of V numbers.",
            wrong=_last_token_only,
        ),
        Mistake(
            "tokens with a width",
            "Tokens are plain whole numbers: (B, T). They get their C numbers in the embedding.",
            wrong=_tokens_have_width,
        ),
        Mistake("texts and tokens swapped", "Texts come first, then the tokens of each: (B, T, …).", wrong=_swapped),
    ),
    nudge="Click on these four parts in the map, one after the other, and write down what stands behind “Comes out of it”.",
    shapes="""
| part | shape |
|---|---|
| `tokens` | B, T |
| inside the model | B, T and the width |
| `output` | B, T and the vocabulary |
""",
    skeleton="""
def my_shape(part, n_texts, n_tokens, dim, vocab_size):
    if part == "tokens":
        return (____, ____)
    if part == "output":
        return (____, ____, ____)
    return (____, ____, ____)
""",
    explanation="Texts first, then tokens, then the numbers of each token. Tokens are numbers themselves, so nothing comes "
    "third; between embedding and last norm the width is `dim`; the output has one logit for each piece of the vocabulary.",
)
