"""Chapter 07's race: a small model and n-grams read the same text, byte by byte, and are asked how well they know another."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minimistral.data import bundled_texts
from minimistral.lab.lengths import text_config as byte_config  # chapter 03 reads bytes with the same model
from minimistral.ngram import KneserNey
from minimistral.train import TrainConfig, train
from minimistral.transformer import Transformer

CONTEXT, BATCH_SIZE = 64, 32
BYTES_A_STEP = CONTEXT * BATCH_SIZE


def byte_text(steps: int) -> tuple[Tensor, Tensor]:
    """Prose as bytes, int64: as much as so many steps read once (in rows), and 65,536 bytes that nobody trains on."""
    train_text = b"".join(document.text.encode() for document in bundled_texts("prose", held_out=False))
    held_out = b"".join(document.text.encode() for document in bundled_texts("prose", held_out=True))
    length = steps * BYTES_A_STEP + 2 * CONTEXT  # one epoch: draw_batch leaves a row over to shift its cuts
    if length > len(train_text):
        raise ValueError(
            f"the bundled prose has {len(train_text):,} bytes, enough for {len(train_text) // BYTES_A_STEP} steps."
        )
    return (torch.tensor(list(train_text[:length])), torch.tensor(list(held_out[:65_536])))


@torch.inference_mode()
def bits_a_byte(model: Transformer, text: Tensor) -> float:
    """Each row of CONTEXT bytes is read from its start, and judged on its second half, where enough stands before."""
    rows, half = text[: len(text) // CONTEXT * CONTEXT].view(-1, CONTEXT), CONTEXT // 2
    nats = 0.0
    for part in rows.split(64):
        logits = model(part[:, :-1])[:, half - 1 :]  # (B, T/2, V): they predict the second half
        nats += F.cross_entropy(logits.flatten(0, 1), part[:, half:].flatten(), reduction="sum").item()
    return nats / math.log(2) / (len(rows) * half)


def race(steps: int, seed: int, every: int, report: Callable[[dict], None] | None = None) -> list[tuple[int, float]]:
    """Train once through the text; (bytes read, bits a byte on the held-out text) every so many steps."""
    text, held_out = byte_text(steps)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Transformer(byte_config())
    config = TrainConfig(steps=steps, batch_size=BATCH_SIZE, context=CONTEXT, learning_rate=3e-3, final_learning_rate=3e-4,
                         warmup_steps=20, weight_decay=0.0, seed=seed)  # fmt: skip
    curve = []

    def measure(record: dict) -> None:
        done = record["step"] + 1
        if done % every == 0:
            curve.append((done * BYTES_A_STEP, bits_a_byte(model, held_out)))
        if report:
            report(record)

    train(model, text, config, on_step=measure, progress=False)
    return curve


def counting(n_bytes: int, order: int, steps: int) -> float:
    """Bits a byte of Kneser-Ney n-grams that have counted the first n_bytes of the same text, on the same held-out bytes."""
    text, held_out = byte_text(steps)
    model = KneserNey(text[:n_bytes].numpy(), order, 256)
    rows, half = held_out[: len(held_out) // CONTEXT * CONTEXT].view(-1, CONTEXT).numpy(), CONTEXT // 2
    before = half - (order - 1)  # a row's second half, and as many bytes before it as the longest gram looks back
    bits = sum(model.bits(row[before:]) - (model.bits(row[before:half]) if order > 1 else 0.0) for row in rows)
    return float(bits / (len(rows) * half))
