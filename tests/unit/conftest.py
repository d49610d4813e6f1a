"""What several unit tests share."""

import json
import math

import pytest
import torch

from minimistral import ModelConfig, Transformer

SIZES = dict(dim=12, n_layers=3, n_heads=4, n_kv_heads=2, head_dim=6, hidden_dim=14, vocab_size=23)


def make_random_model(sizes: dict | None = None, seed: int = 0, **changes) -> Transformer:
    """A small model with weights from this seed, in evaluation mode; no two of its sizes are equal."""
    torch.manual_seed(seed)
    model = Transformer(ModelConfig(**(sizes or SIZES) | changes)).eval().requires_grad_(False)
    for name, weight in model.named_parameters():
        if "norm" in name:
            weight.uniform_(0.5, 2)  # all ones would hide that one norm stands for another
    return model


@pytest.fixture(scope="session")  # a function, so that tests that draw their inputs may use it too
def random_model():
    return make_random_model


@pytest.fixture(scope="session")
def write_hole():
    """write(path, shapes by name): a safetensors file in bfloat16 whose table is true, and whose numbers are a hole in the disk."""

    def write(path, shapes):
        table, at = {}, 0
        for name, shape in shapes.items():
            n_bytes = 2 * math.prod(shape)
            table[name] = dict(dtype="BF16", shape=list(shape), data_offsets=[at, at + n_bytes])
            at += n_bytes
        header = json.dumps(table).encode()
        with path.open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(8 + len(header) + at)

    return write
