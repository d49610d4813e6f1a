"""11.2: how many bytes a model takes once its matrices are quantized in groups."""

import random

from minimistral.config import ModelConfig, MoEConfig
from minimistral.lab.exercise import Exercise, Mistake


def my_bytes(config: ModelConfig, bits: int, group_size: int) -> int:
    counted = config.count_parameters()
    kept = sum(counted.parts[name] for name in ("tok_embeddings", "norms", "gate"))  # 2 bytes each
    rounded = counted.total - kept
    return rounded * bits // 8 + rounded // group_size * 2 + kept * 2


def cases(draw: random.Random) -> list[tuple]:
    found = []
    for moe in (None, MoEConfig(8, 2), MoEConfig(4, 1)):
        width = 64 * draw.randint(1, 4)
        config = ModelConfig(
            dim=width, n_layers=draw.randint(2, 5), n_heads=8, n_kv_heads=draw.choice([2, 4]), head_dim=16,
            hidden_dim=64 * draw.randint(3, 9), vocab_size=64 * draw.randint(8, 30), moe=moe,
        )  # fmt: skip
        found.append((config, draw.choice([4, 8]), draw.choice([16, 32, 64])))
    return [*found, (ModelConfig.preset("mixtral-8x7b-v0.1"), 4, 32)]


def _parts(config: ModelConfig) -> tuple[int, int]:
    counted = config.count_parameters()
    kept = sum(counted.parts[name] for name in ("tok_embeddings", "norms", "gate"))
    return counted.total - kept, kept


def _no_scales(config: ModelConfig, bits: int, group_size: int) -> int:
    rounded, kept = _parts(config)
    return rounded * bits // 8 + kept * 2


def _scales_of_one_byte(config: ModelConfig, bits: int, group_size: int) -> int:
    rounded, kept = _parts(config)
    return rounded * bits // 8 + rounded // group_size + kept * 2


def _scales_of_four_bytes(config: ModelConfig, bits: int, group_size: int) -> int:
    rounded, kept = _parts(config)
    return rounded * bits // 8 + rounded // group_size * 4 + kept * 2


def _everything(config: ModelConfig, bits: int, group_size: int) -> int:
    total = config.count_parameters().total
    return total * bits // 8 + total // group_size * 2


def _kept_like_codes(config: ModelConfig, bits: int, group_size: int) -> int:
    rounded, kept = _parts(config)
    return (rounded + kept) * bits // 8 + rounded // group_size * 2


def _head_kept(config: ModelConfig, bits: int, group_size: int) -> int:
    rounded, kept = _parts(config)
    head = config.count_parameters().parts["output"]
    return (rounded - head) * bits // 8 + (rounded - head) // group_size * 2 + (kept + head) * 2


def _active(config: ModelConfig, bits: int, group_size: int) -> int:
    rounded, kept = _parts(config)
    counted = config.count_parameters()
    rounded -= counted.total - counted.active
    return rounded * bits // 8 + rounded // group_size * 2 + kept * 2


def _in_bits(config: ModelConfig, bits: int, group_size: int) -> int:
    return 8 * my_bytes(config, bits, group_size)


EXERCISE = Exercise(
    id="11.2",
    title="Bytes, scales included",
    minutes=8,
    difficulty=2,
    cases=cases,
    solution=my_bytes,
    rtol=0.0,
    atol=0.5,
    mistakes=(
        Mistake(
            "scales forgotten",
            "Without its scales nobody can read a code. One of 2 bytes for every group: with 4 bits in groups of 32 that is an "
            "eighth on top.",
            wrong=_no_scales,
        ),
        Mistake("scales of one byte", "Each scale takes 16 bits here, which is 2 bytes.", wrong=_scales_of_one_byte),
        Mistake(
            "scales of four bytes", "Scales of 32 bits were counted. Here they have 16.", wrong=_scales_of_four_bytes
        ),
        Mistake(
            "everything quantized",
            "Embeddings, norms and gates were counted as quantized. They stay as they are, 2 bytes a number.",
            wrong=_everything,
        ),
        Mistake(
            "the rest at the same bits",
            "The scales are right. But embeddings, norms and gates were counted at `bits` bits: they keep their 16.",
            wrong=_kept_like_codes,
        ),
        Mistake(
            "head left out",
            "The head (`output`) is a matrix like the others, and is quantized; only the embeddings stay.",
            wrong=_head_kept,
        ),
        Mistake(
            "only the chosen experts",
            "These are the bytes that one token reads. In memory lie all experts, chosen or not: .total, not .active.",
            wrong=_active,
        ),
        Mistake("bits", "This is 8 times too much: these are bits.", wrong=_in_bits),
    ),
    nudge="Print config.count_parameters().parts. Which of these parts are matrices that get quantized, and which stay?",
    shapes="""
| what | how many | bytes each |
|---|---|---|
| quantized weights: `attention`, `feed_forward`, `output` | their number | bits ÷ 8 |
| scales | that number ÷ group_size | 2 |
| kept: `tok_embeddings`, `norms`, `gate` | their number | 2 |
""",
    skeleton="""
def my_bytes(config, bits, group_size):
    parts = config.count_parameters().parts
    kept = ____
    rounded = sum(parts.values()) - kept
    return rounded * ____ + rounded // group_size * ____ + kept * ____
""",
    explanation="Three kinds of numbers: codes, of `bits` bits; scales, one a group; and what is kept at 16 bits. The kept part "
    "is small in a large model (1.8 % of the 7B), so the sum is near bits + 16 ÷ group_size for each weight.",
)
