"""Chapter 11's tool: bits a byte of tiny-mistral for every number of bits and every grouping, on a part of each domain."""

from experiments.quantized_losses import loaded
from experiments.runner import Experiment
from minimistral.data import bundled_texts
from minimistral.lab.rounding import block_bits, round_model
from minimistral.sources import DOMAINS

TOKENS = 4 * 1024 + 1  # of each domain, from the opening of its longest held-out text
GROUPS = (8, 16, 32, 64, "row", "matrix")


def run(bits: int, group: str | int) -> dict:
    model, tokenizer = loaded("tiny-mistral")
    tried = model if bits == 16 else round_model(model, bits, group)
    found = []
    for domain in DOMAINS:
        text = max((document.text for document in bundled_texts(domain, held_out=True)), key=len)
        ids = tokenizer.encode(text, bos=True, eos=False)[:TOKENS]
        n_bytes = len(tokenizer.decode(ids).encode())
        found += [sum(blocks) / len(blocks) for blocks in [block_bits(tried, [ids], n_bytes)]]
    return {"bits_a_byte": round(sum(found) / len(found), 4)}


SETTINGS = [dict(bits=16, group="file")] + [dict(bits=bits, group=group) for bits in range(2, 9) for group in GROUPS]
EXPERIMENT = Experiment(
    name="quantized_grid",
    chapter="11",
    minutes=2,
    question="How many bits a byte does tiny-mistral need for each number of bits and grouping, the mean of five domains?",
    settings=SETTINGS,
    run=run,
    is_random=False,
)
