"""03.3, a bug hunt: angles computed in the model's own dtype, which cannot count to 257."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake

DTYPES = (torch.bfloat16, torch.float16)


def mended_tables(positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    frequency = theta ** (-torch.arange(0, head_dim, 2) / head_dim)  # (D/2,), float32
    angle = positions[:, None].float() * frequency  # (T, D/2), float32
    return angle.cos().to(dtype), angle.sin().to(dtype)


def given(positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    frequency = theta ** (-torch.arange(0, head_dim, 2) / head_dim)  # (D/2,)
    angle = positions[:, None].to(dtype) * frequency.to(dtype)  # (T, D/2)
    return angle.cos(), angle.sin()


def cases(draw: random.Random) -> list[tuple]:
    near = draw.randint(1_001, 1_800)
    far = [draw.randint(2_500, 30_000) for _ in range(3)]
    short = (torch.arange(4), 4, 10_000.0, torch.bfloat16)
    return [
        (torch.tensor([near, near + 1, near + 2]), 4, 100.0, torch.bfloat16),
        short,
        *((torch.tensor([*far, 5_001]), 8, draw.choice([1e4, 1e6]), dtype) for dtype in DTYPES),
    ]


def _frequency(head_dim: int, theta: float) -> Tensor:
    return theta ** (-torch.arange(0, head_dim, 2) / head_dim)


def _tables(angle: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return angle.cos().to(dtype), angle.sin().to(dtype)


def _positions_only(positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return _tables(positions[:, None].float() * _frequency(head_dim, theta).to(dtype).float(), dtype)


def _frequencies_only(positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return _tables(positions[:, None].to(dtype).float() * _frequency(head_dim, theta), dtype)


def _product_cast(positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return _tables((positions[:, None].float() * _frequency(head_dim, theta)).to(dtype).float(), dtype)


def _product_cast_raw(positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    angle = (positions[:, None].float() * _frequency(head_dim, theta)).to(dtype)
    return angle.cos(), angle.sin()


def _too_late(positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return _tables((positions[:, None].to(dtype) * _frequency(head_dim, theta).to(dtype)).float(), dtype)


def _both_rounded(positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    rounded = _frequency(head_dim, theta).to(dtype).float()
    return _tables(positions[:, None].to(dtype).float() * rounded, dtype)


def _other_half(positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return _tables((positions[:, None].half() * _frequency(head_dim, theta).half()).float(), dtype)


LATE = (
    "The digits are lost when the angle is computed in `dtype`; turning it into float32 afterwards brings none of them back. "
    "Positions, frequencies and their product must all be float32."
)
CAST = (
    "Positions and frequencies are float32 now, but the angle is rounded to `dtype` before cos and sin. At 5,001 radians a "
    "bfloat16 is off by up to 16 radians. Round what comes out of cos and sin instead: these are numbers from -1 to 1."
)
EXERCISE = Exercise(
    id="03.3",
    title="Find the bug: positions that run together",
    minutes=10,
    difficulty=2,
    cases=cases,
    solution=mended_tables,
    given=given,
    mistakes=(
        Mistake(
            "only the positions are mended",
            "The positions are exact now, the frequencies still rounded: an error of one part in 500 grows with the "
            "position, to radians at a few thousand tokens.",
            wrong=_positions_only,
        ),
        Mistake(
            "only the frequencies are mended",
            "The frequencies are exact now, the positions still rounded: bfloat16 has 8 significant bits, so 257 becomes 256. "
            "Print torch.arange(256, 262).bfloat16().",
            wrong=_frequencies_only,
        ),
        Mistake("angle rounded", CAST, wrong=_product_cast),
        Mistake("angle rounded", CAST, wrong=_product_cast_raw),
        Mistake("float32 too late", LATE, wrong=_too_late),
        Mistake("float32 too late", LATE, wrong=given),
        Mistake("float32 too late", LATE, wrong=_both_rounded),
        Mistake(
            "float16 instead",
            "float16 counts to 2,048 without a gap, bfloat16 to 256: the bug has moved, and waits for a longer text. float32 "
            "counts to 16,777,216.",
            wrong=_other_half,
        ),
    ),
    nudge="Run the cell after the check. Which positions get the same angles? Which numbers can a bfloat16 hold near there?",
    shapes="""
| name | shape | dtype |
|---|---|---|
| `positions` | (T,) | int64 |
| `frequency` | (D/2,) | float32, until someone rounds it |
| `angle` | (T, D/2) | must be float32: it grows with the position |
| result | two of (T, D/2) | `dtype`: numbers from -1 to 1 lose little |
""",
    skeleton="""
def mended_tables(positions, head_dim, theta, dtype):
    frequency = theta ** (-torch.arange(0, head_dim, 2) / head_dim)
    angle = positions[:, None].____ * frequency
    return angle.cos().____, ...
""",
    explanation="bfloat16 keeps 8 significant bits, float16 11. Near 3,000 radians, neighbours are 2 radians apart in float16 and "
    "16 in bfloat16: more than two turns. Compute the angle in float32, and round only cos and sin.",
    report="Real projects shipped it: EleutherAI/gpt-neox#1003, huggingface/transformers#25681, #29285 and, for Mistral, #29496.",
    rtol=6e-3,  # one rounding of bfloat16 more or less is no mistake
    atol=6e-3,
)
