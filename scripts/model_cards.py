"""Measures the two bundled models on the held-out texts and writes their model cards. `make cards` calls it.

    python scripts/model_cards.py --packages FOLDER

Needs the whole corpus (fetched into FOLDER if it is not there) and about ten minutes on one core.
"""

import argparse
import json
import lzma
import platform
from datetime import date
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from train_bundled import PRETRAINED, RECIPE, STAGES, encode, read_texts

from minimistral import load
from minimistral.evaluate import bits_a_byte, samples
from minimistral.ngram import KneserNey
from minimistral.sources import DOMAINS, Document
from minimistral.train import TrainConfig

ORDERS = (2, 3, 4, 5)
PROMPT_TOKENS, NEW_TOKENS, TEMPERATURE, TOP_P, SEED = 24, 64, 0.8, 0.95, 0
FIGURES = PRETRAINED / "figures.json"


def compressed_bits_a_byte(train: list[Document], held_out: list[Document]) -> float:
    """What xz -9e needs for the held-out text once it has read the domain's training text."""
    before = "".join(d.text for d in train).encode()
    after = "".join(d.text for d in held_out).encode()
    sizes = [len(lzma.compress(part, preset=9 | lzma.PRESET_EXTREME)) for part in (before, before + after)]
    return 8 * (sizes[1] - sizes[0]) / len(after)


def ngram_bits_a_byte(train_ids: np.ndarray, held_out: dict, tokenizer) -> dict[str, dict[str, float]]:
    """By order and domain; every training document was read once, all domains together."""
    results = {}
    for order in tqdm(ORDERS, desc="n-grams"):
        model = KneserNey(train_ids, order, tokenizer.vocab_size)
        results[f"{order}-gram"] = {
            domain: sum(model.bits(np.array(encode(d, tokenizer))) for d in texts)
            / sum(len(d.text.encode()) for d in texts)
            for domain, texts in held_out.items()
        }
    return results


def measure(packages: Path) -> dict:
    train, held_out = read_texts(packages)
    _, tokenizer = load("tiny-mistral")
    ids = np.concatenate([encode(d, tokenizer) for domain in DOMAINS for d in train[domain]])
    texts = {domain: [document.text for document in held_out[domain]] for domain in DOMAINS}
    found = {"bits_a_byte": {}, "samples": {}}
    for name in ("tiny-mistral", "tiny-mixtral"):
        model = load(name, dtype="float32", device="cpu")[0]
        found["bits_a_byte"][name] = {
            domain: bits_a_byte(model, texts[domain], tokenizer, RECIPE.context) for domain in tqdm(DOMAINS, desc=name)
        }
        found["samples"][name] = samples(model, tokenizer, texts, PROMPT_TOKENS, NEW_TOKENS, TEMPERATURE, TOP_P, SEED)
    found["bits_a_byte"] |= ngram_bits_a_byte(ids, held_out, tokenizer)
    found["bits_a_byte"]["xz -9e"] = {
        domain: compressed_bits_a_byte(train[domain], held_out[domain]) for domain in tqdm(DOMAINS, desc="xz")
    }
    found["held_out_bytes"] = {d: sum(len(x.text.encode()) for x in held_out[d]) for d in DOMAINS}
    found["training_tokens"] = len(ids)
    found["date"] = date.today().isoformat()
    found["where"] = f"{platform.system()} on {platform.machine()}, torch {torch.__version__}, one thread"
    found["bits_a_byte"] = {
        model: {domain: round(bits, 3) for domain, bits in row.items()} for model, row in found["bits_a_byte"].items()
    }
    return found


def card(name: str, found: dict) -> str:
    template = (Path(__file__).parent / "model_card.md").read_text(encoding="utf-8")
    other = {"tiny-mistral": "tiny-mixtral", "tiny-mixtral": "tiny-mistral"}[name]
    rows = [name, other, *(f"{order}-gram" for order in ORDERS), "xz -9e"]
    table = [f"| | {' | '.join(DOMAINS)} |", "|---" * (len(DOMAINS) + 1) + "|"]
    for row in rows:
        figures = " | ".join(f"{found['bits_a_byte'][row][domain]:.3f}" for domain in DOMAINS)
        table.append(f"| {'**' + row + '**' if row == name else row} | {figures} |")
    shown = []
    for domain, (prompt, text) in found["samples"][name].items():
        shown.append(
            f"**{domain}**, after its first {PROMPT_TOKENS} tokens (before the bar):\n\n```\n{prompt}|{text}\n```\n"
        )
    model, _ = load(name)
    count = model.config.count_parameters()
    return template.format(
        name=name, other=other, total=count.total, active=count.active, config=model.config, table="\n".join(table),
        samples="\n".join(shown), stages=stages(), tokens_read=sum(tokens_read(stage.recipe) for stage in STAGES),
        verdict=verdict(name, found["bits_a_byte"]), temperature=TEMPERATURE, top_p=TOP_P, seed=SEED, **{
            key: found[key] for key in ("date", "where", "training_tokens")
        },
    )  # fmt: skip


def tokens_read(recipe: TrainConfig) -> int:
    return recipe.steps * recipe.batch_size * recipe.context


def stages() -> str:
    """The recipe of each stage, a list in Markdown."""
    lines = []
    for number, stage in enumerate(STAGES, 1):
        shares = ", ".join(f"{domain} {share:.0%}" for domain, share in stage.shares.items())
        lines.append(f"    {number}. `{stage.recipe}`; of the bytes {shares}.")
    return "\n".join(lines)


def verdict(name: str, bits: dict) -> str:
    """Where the model stands, in words that follow from the table."""
    lines = []
    for rival in ("4-gram", "5-gram", "xz -9e"):
        won = [domain for domain in DOMAINS if bits[name][domain] < bits[rival][domain]]
        lost = [domain for domain in DOMAINS if domain not in won]
        if not lost:
            lines.append(f"better than {rival} on every domain")
        elif not won:
            lines.append(f"worse than {rival} on every domain")
        else:
            lines.append(f"better than {rival} on {', '.join(won)}, worse on {', '.join(lost)}")
    return "; ".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--packages", type=Path, help="where downloaded packages are kept; without it, only write the cards"
    )
    packages = parser.parse_args().packages
    torch.set_num_threads(1)
    if packages:
        FIGURES.write_text(json.dumps(measure(packages), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    found = json.loads(FIGURES.read_text(encoding="utf-8"))
    for name in ("tiny-mistral", "tiny-mixtral"):
        (PRETRAINED / name / "README.md").write_text(card(name, found), encoding="utf-8")
        print(name, verdict(name, found["bits_a_byte"]))


if __name__ == "__main__":
    main()
