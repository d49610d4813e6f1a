"""09.1: the weights of a mixture, in all and for one token."""

import random

from minimistral.lab.exercise import Exercise, Mistake

MIXTRAL = (4096, 41_943_040, 14_336, 32, 32_000, 8, 2)


def my_counts(
    dim: int, attention: int, hidden_dim: int, n_layers: int, vocab_size: int, n_experts: int, k: int
) -> tuple[int, int]:
    expert = 3 * dim * hidden_dim  # w1, w2, w3
    a_layer = attention + 2 * dim + n_experts * dim  # attention, two norms, the router: used by every token
    shared = 2 * vocab_size * dim + n_layers * a_layer + dim  # both tables, all layers, the last norm
    return shared + n_layers * n_experts * expert, shared + n_layers * k * expert


def cases(draw: random.Random) -> list[tuple]:
    found = []
    for _ in range(5):
        n_experts = draw.randint(4, 9)
        dim, attention, hidden_dim = 2 * draw.randint(3, 9), draw.randint(100, 900), draw.randint(5, 40)
        sizes = (draw.randint(2, 7), draw.randint(11, 60), n_experts, draw.randint(2, n_experts - 1))
        found.append((dim, attention, hidden_dim, *sizes))
    return [*found, MIXTRAL]


def _parts(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k) -> tuple[int, int]:
    """What every token uses, and one expert."""
    shared = 2 * vocab_size * dim + n_layers * (attention + 2 * dim + n_experts * dim) + dim
    return shared, 3 * dim * hidden_dim


def _copies(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k):
    one = 2 * vocab_size * dim + n_layers * (attention + 2 * dim + 3 * dim * hidden_dim) + dim
    return n_experts * one, k * one


def _copies_with_routers(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k):
    total, active = _copies(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k)
    return total + n_layers * n_experts * dim, active + n_layers * n_experts * dim


def _no_router(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k):
    total, active = my_counts(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k)
    return total - n_layers * n_experts * dim, active - n_layers * n_experts * dim


def _router_of_the_chosen(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k):
    total, active = my_counts(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k)
    return total, active - n_layers * (n_experts - k) * dim


def _one_router(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k):
    total, active = my_counts(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k)
    return total - (n_layers - 1) * n_experts * dim, active - (n_layers - 1) * n_experts * dim


def _share(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k):
    total, _ = my_counts(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k)
    return total, total * k // n_experts


def _experts_once(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k):
    shared, expert = _parts(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k)
    return shared + n_experts * expert, shared + k * expert


def _two_matrices(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k):
    shared, expert = _parts(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k)
    return shared + n_layers * n_experts * expert * 2 // 3, shared + n_layers * k * expert * 2 // 3


def _one_table(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k):
    total, active = my_counts(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k)
    return total - vocab_size * dim, active - vocab_size * dim


def _no_norms(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k):
    total, active = my_counts(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k)
    return total - (2 * n_layers + 1) * dim, active - (2 * n_layers + 1) * dim


def _no_last_norm(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k):
    total, active = my_counts(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k)
    return total - dim, active - dim


def _swapped(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k):
    return my_counts(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k)[::-1]


EXERCISE = Exercise(
    id="09.1",
    title="Count a mixture",
    minutes=7,
    difficulty=1,
    cases=cases,
    solution=my_counts,
    rtol=0,
    atol=0,
    mistakes=(
        Mistake(
            "eight whole models",
            "This is E copies of a whole model. Only the feed-forward block is there E times; attention, norms and both "
            "tables are there once, for all experts.",
            wrong=_copies,
        ),
        Mistake(
            "eight whole models",
            "The routers are in, but the rest is E copies of a whole model. Only the feed-forward block is there E times.",
            wrong=_copies_with_routers,
        ),
        Mistake(
            "the router forgotten",
            "Each layer has a router too: one row of `dim` numbers for each of the E experts. Every token reads all of it, "
            "for it has to compare all experts: it counts in both numbers.",
            wrong=_no_router,
        ),
        Mistake(
            "a router of the chosen",
            "The total is right. But a token is compared with all E experts before two are chosen: all rows of the router "
            "are active.",
            wrong=_router_of_the_chosen,
        ),
        Mistake("one router", "There is a router in every layer, and you have counted one in all.", wrong=_one_router),
        Mistake(
            "k / E of everything",
            "The total is right. But the share k / E holds for the experts alone: attention, norms, tables and routers are "
            "used by every token, whole.",
            wrong=_share,
        ),
        Mistake(
            "experts of one layer",
            "You have counted the experts of a single layer. Each of the n_layers has E of its own.",
            wrong=_experts_once,
        ),
        Mistake(
            "two matrices an expert",
            "An expert is a SwiGLU block (chapter 02), and has three matrices: w1, w3 and w2.",
            wrong=_two_matrices,
        ),
        Mistake(
            "one table",
            "The table that looks tokens up and the output head are two tables of vocab_size · dim each.",
            wrong=_one_table,
        ),
        Mistake(
            "norms forgotten", "Two norms a layer and one at the end, `dim` weights each, are missing.", wrong=_no_norms
        ),
        Mistake(
            "the last norm", "One norm is missing: the one behind the last layer, `dim` weights.", wrong=_no_last_norm
        ),
        Mistake(
            "the wrong way round", "Both numbers are right: give the total first, then the active ones.", wrong=_swapped
        ),
    ),
    nudge="Walk through the model with one token in hand: table, then in each layer norm, attention, norm, router, experts, and "
    "at the end norm and head. Which of these exist E times? Which does the token pass through k times?",
    shapes="""
| part | weights | how many there are | how many a token uses |
|---|---|---|---|
| table, head | vocab_size · dim each | 1 + 1 | both |
| attention | `attention` | n_layers | all |
| norm | dim | 2 · n_layers + 1 | all |
| router | n_experts · dim | n_layers | all |
| expert | 3 · dim · hidden_dim | n_layers · n_experts | n_layers · k |
""",
    skeleton="""
def my_counts(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k):
    expert = ____ * dim * hidden_dim
    shared = ____ * vocab_size * dim + n_layers * (attention + ____ * dim + ____) + dim
    total = shared + ____ * expert
    active = shared + ____ * expert
    ____
""",
    explanation="Everything but the experts is there once and used by every token. For Mixtral it comes to 46,702,792,704 and "
    "12,879,925,248: memory follows the first number, arithmetic for a token the second.",
)
