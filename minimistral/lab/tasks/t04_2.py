"""04.2: the bytes of a key/value cache."""

import random

from minimistral.lab.exercise import Exercise, Mistake


def my_cache_bytes(n_layers: int, n_heads: int, n_kv_heads: int, head_dim: int, n_tokens: int) -> int:
    return 2 * n_layers * n_kv_heads * head_dim * n_tokens * 2


def cases(draw: random.Random) -> list[tuple]:
    some = []
    for _ in range(4):
        n_kv_heads = draw.choice([2, 3, 5])
        some.append(
            (
                draw.randint(3, 40),
                n_kv_heads * draw.choice([3, 5, 7]),
                n_kv_heads,
                8 * draw.randint(3, 16),
                draw.randint(3, 9000),
            )
        )
    return [(3, 6, 2, 8, 5), *some, (32, 32, 8, 128, draw.randint(1000, 9000)), (1, 4, 4, 8, 1)]


def _keys_only(n_layers, n_heads, n_kv_heads, head_dim, n_tokens):
    return n_layers * n_kv_heads * head_dim * n_tokens * 2


def _numbers(n_layers, n_heads, n_kv_heads, head_dim, n_tokens):
    return n_layers * n_kv_heads * head_dim * n_tokens


def _query_heads(n_layers, n_heads, n_kv_heads, head_dim, n_tokens):
    return 4 * n_layers * n_heads * head_dim * n_tokens


def _one_layer(n_layers, n_heads, n_kv_heads, head_dim, n_tokens):
    return 4 * n_kv_heads * head_dim * n_tokens


def _one_token(n_layers, n_heads, n_kv_heads, head_dim, n_tokens):
    return 4 * n_layers * n_kv_heads * head_dim


def _one_head(n_layers, n_heads, n_kv_heads, head_dim, n_tokens):
    return 4 * n_layers * head_dim * n_tokens


def _group(n_layers, n_heads, n_kv_heads, head_dim, n_tokens):
    return 4 * n_layers * (n_heads // n_kv_heads) * head_dim * n_tokens


def _bits(n_layers, n_heads, n_kv_heads, head_dim, n_tokens):
    return 32 * n_layers * n_kv_heads * head_dim * n_tokens


def _float32(n_layers, n_heads, n_kv_heads, head_dim, n_tokens):
    return 8 * n_layers * n_kv_heads * head_dim * n_tokens


EXERCISE = Exercise(
    id="04.2",
    title="How many bytes does the cache take?",
    minutes=5,
    difficulty=1,
    rtol=0.0,  # whole numbers: one off is wrong, however large they are
    atol=0.0,
    cases=cases,
    solution=my_cache_bytes,
    mistakes=(
        Mistake(
            "keys only",
            "This is half of it. (Either a key or a value for each token, or one byte a number: the cache holds both, "
            "and each number takes two bytes.)",
            wrong=_keys_only,
        ),
        Mistake(
            "numbers, not bytes",
            "A quarter of it: each token has a key *and* a value, and a bfloat16 number takes two bytes.",
            wrong=_numbers,
        ),
        Mistake(
            "query heads counted",
            "Queries are not kept: the next token brings its own. Only key/value heads fill the cache, n_kv_heads of them.",
            wrong=_query_heads,
        ),
        Mistake(
            "layers forgotten",
            "This is one layer's cache. Every layer keeps keys and values of its own.",
            wrong=_one_layer,
        ),
        Mistake("tokens forgotten", "This is one token's share. The cache keeps it for every token.", wrong=_one_token),
        Mistake(
            "one head", "This is the cache of MQA, with one key/value head. Here there are n_kv_heads.", wrong=_one_head
        ),
        Mistake(
            "group size for heads",
            "n_heads // n_kv_heads is how many query heads share one key/value head. The cache holds n_kv_heads heads.",
            wrong=_group,
        ),
        Mistake("bits, not bytes", "Eight times too much: that is in bits.", wrong=_bits),
        Mistake("four bytes a number", "In bfloat16 a number takes 2 bytes; float32 takes 4.", wrong=_float32),
    ),
    nudge="Begin with one token, one layer, one key/value head: how many numbers are kept, and how many bytes is that?",
    shapes="""
| what is kept | how many |
|---|---|
| numbers of one key | D |
| keys of one token in one layer | G |
| values of one token in one layer | G |
| layers | L |
| bytes of a number in bfloat16 | 2 |
""",
    skeleton="""
def my_cache_bytes(n_layers, n_heads, n_kv_heads, head_dim, n_tokens):
    numbers_a_token_and_layer = 2 * ____ * head_dim  # a key and a value
    return ____
""",
    explanation="A key and a value (2), each of head_dim numbers, for each key/value head, in each layer, for each token, two "
    "bytes a number. n_heads does not occur: queries are used once and not kept.",
)
