"""10.4: from a published perplexity to bits a byte."""

import math
import random

from minimistral.lab.exercise import Exercise, Mistake


def my_bits_a_byte(perplexity: float, n_tokens: int, n_bytes: int) -> float:
    bits_a_token = math.log2(perplexity)
    return bits_a_token * n_tokens / n_bytes


def cases(draw: random.Random) -> list[tuple]:
    found = [(8.0, 1000, 3000)]
    for bytes_a_token in (1, 2.7, 4.2):
        n_tokens = draw.randint(5_000, 20_000)
        found.append((draw.uniform(5, 90), n_tokens, int(n_tokens * bytes_a_token)))
    return found


EXERCISE = Exercise(
    id="10.4",
    title="Two perplexities on one scale",
    minutes=6,
    difficulty=2,
    cases=cases,
    solution=my_bits_a_byte,
    mistakes=(
        Mistake(
            "nats",
            "This is in nats: the natural logarithm. Bits count halvings, so log2.",
            wrong=lambda perplexity, n_tokens, n_bytes: math.log(perplexity) * n_tokens / n_bytes,
        ),
        Mistake(
            "bits a token",
            "These are bits a *token*. How many bytes does a token stand for here?",
            wrong=lambda perplexity, n_tokens, n_bytes: math.log2(perplexity),
        ),
        Mistake(
            "multiplied by bytes a token",
            "The longer a token, the fewer tokens a byte: the bits of a token are shared out among its bytes, not multiplied.",
            wrong=lambda perplexity, n_tokens, n_bytes: math.log2(perplexity) * n_bytes / n_tokens,
        ),
        Mistake(
            "perplexity shared out",
            "A perplexity cannot be shared out among bytes: choices multiply. Take its logarithm first.",
            wrong=lambda perplexity, n_tokens, n_bytes: perplexity * n_tokens / n_bytes,
        ),
        Mistake(
            "shared out before the logarithm",
            "The logarithm comes first, then the sharing out: it is bits that add up, not choices.",
            wrong=lambda perplexity, n_tokens, n_bytes: math.log2(perplexity * n_tokens / n_bytes),
        ),
    ),
    nudge="A perplexity of 8 is three halvings: 3 bits a token. With 3 bytes a token, how many bits fall to each byte?",
    shapes="""
| name | meaning |
|---|---|
| `perplexity` | e to the mean nats a token, or 2 to the mean bits a token |
| `n_tokens` | tokens that were predicted |
| `n_bytes` | bytes of the same text |
| result | bits a byte |
""",
    skeleton="""
def my_bits_a_byte(perplexity, n_tokens, n_bytes):
    bits_a_token = math.____(perplexity)
    return bits_a_token * ____ / ____
""",
    explanation="A perplexity is 2 to the bits a token. Undo the power, times the tokens: the bits of the whole text. They do "
    "not depend on how it was cut, so divide by something that does not either.",
)
