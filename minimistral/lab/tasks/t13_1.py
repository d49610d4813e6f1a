"""13.1: what a step of a mixture reads, for one user or for many."""

import random

from minimistral.lab.exercise import Exercise, Mistake


def step_bytes(shared: int, expert: int, n_layers: int, n_experts: int, k: int, batch: int, bits: int) -> float:
    touched = n_experts * (1 - (1 - k / n_experts) ** batch)
    return (shared + n_layers * touched * expert) * bits / 8


def cases(draw: random.Random) -> list[tuple[int, ...]]:
    mixtral = (1_474_564_096, 176_160_768, 32, 8, 2)
    other = (
        draw.randint(10, 99) * 10_000,
        draw.randint(10, 99) * 1000,
        draw.randint(3, 20),
        draw.choice((4, 6, 16)),
        1,
    )
    return [(*mixtral, 1, 16), (*mixtral, 64, 16), (*mixtral, draw.randint(3, 9), 4), (*other, draw.randint(2, 5), 8)]


def _as_for_one(shared: int, expert: int, n_layers: int, n_experts: int, k: int, batch: int, bits: int) -> float:
    return step_bytes(shared, expert, n_layers, n_experts, k, 1, bits)


def _all_of_it(shared: int, expert: int, n_layers: int, n_experts: int, k: int, batch: int, bits: int) -> float:
    return (shared + n_layers * n_experts * expert) * bits / 8


def _choices(shared: int, expert: int, n_layers: int, n_experts: int, k: int, batch: int, bits: int) -> float:
    return (shared + n_layers * k * batch * expert) * bits / 8


def _at_most(shared: int, expert: int, n_layers: int, n_experts: int, k: int, batch: int, bits: int) -> float:
    return (shared + n_layers * min(k * batch, n_experts) * expert) * bits / 8


def _one_layer(shared: int, expert: int, n_layers: int, n_experts: int, k: int, batch: int, bits: int) -> float:
    return step_bytes(shared, expert, 1, n_experts, k, batch, bits)


def _each_its_own(shared: int, expert: int, n_layers: int, n_experts: int, k: int, batch: int, bits: int) -> float:
    return batch * step_bytes(shared, expert, n_layers, n_experts, k, 1, bits)


def _bits_as_bytes(*given: int) -> float:
    return 8 * step_bytes(*given)


EXERCISE = Exercise(
    id="13.1",
    title="Bytes a step",
    minutes=5,
    difficulty=1,
    cases=cases,
    solution=step_bytes,
    rtol=1e-6,
    mistakes=(
        Mistake("as for one", "This is right for one user. Do all tokens choose the same experts?", wrong=_as_for_one),
        Mistake("always all", "With one user this reads experts that nobody chose.", wrong=_all_of_it),
        Mistake("choices counted", "Two tokens that choose the same expert read it once.", wrong=_choices),
        Mistake("all different", "Cut off at E, but tokens that agree still count twice below that.", wrong=_at_most),
        Mistake("one layer", "Every layer has its own experts, and its own choice.", wrong=_one_layer),
        Mistake(
            "each for itself",
            "A step reads what is shared once, for all users together: that is its point.",
            wrong=_each_its_own,
        ),
        Mistake("bits taken for bytes", "Eight bits are one byte.", wrong=_bits_as_bytes),
    ),
    nudge="One expert, one token: it is passed by with chance 1 − k/E. And by B tokens?",
    shapes=(
        "| name | meaning |\n|---|---|\n| `shared`, `expert` | weights that all tokens use; weights of one expert |\n"
        "| 1 − k/E | the chance that a token passes an expert by |\n| result | bytes |"
    ),
    skeleton=(
        "def my_step(shared, expert, n_layers, n_experts, k, batch, bits):\n"
        "    touched = n_experts * (1 - ____ ** batch)  # of a layer, on average\n"
        "    return (shared + ____ * touched * expert) * ____"
    ),
    explanation="25.5 GB for one token of Mixtral in 16 bits, 93.1 for 64: 1.5 GB for each of them.",
)
