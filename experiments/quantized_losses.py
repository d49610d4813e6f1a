"""Chapter 11: what the whole held-out text costs the bundled models at 16, 8 and 4 bits, block by block."""

from functools import cache

from experiments.runner import Experiment
from minimistral import load
from minimistral.data import bundled_texts
from minimistral.lab.rounding import block_bits, round_model
from minimistral.sources import DOMAINS

GRIDS = [(16, "file"), (8, "row"), (4, "matrix"), (4, "row"), (4, 32)]  # 16: as in the file, nothing is rounded


@cache
def loaded(name: str):
    """Model in float32 (its weights are the file's bfloat16) and tokenizer."""
    return load(name, device="cpu", dtype="float32")


def run(model: str, bits: int, group: str | int) -> dict:
    whole, tokenizer = loaded(model)
    tried = whole if bits == 16 else round_model(whole, bits, group)
    found = {}
    for domain in DOMAINS:
        texts = [document.text for document in bundled_texts(domain, held_out=True)]
        ids = [tokenizer.encode(text, bos=True, eos=True) for text in texts]
        found[domain] = block_bits(tried, ids, sum(len(text.encode()) for text in texts))
    return found


SETTINGS = [
    dict(model=model, bits=bits, group=group) for model in ("tiny-mistral", "tiny-mixtral") for bits, group in GRIDS
]
EXPERIMENT = Experiment(
    name="quantized_losses",
    chapter="11",
    minutes=5,
    question="How many bits a byte do the bundled models need for each block of 1,024 held-out tokens, at 16, 8 and 4 bits?",
    settings=SETTINGS,
    run=run,
    is_random=False,
)
