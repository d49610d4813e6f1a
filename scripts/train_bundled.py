"""Trains the tokenizer and the two bundled models, tiny-mistral and tiny-mixtral, from the course's texts.

    python scripts/train_bundled.py tokenizer --packages FOLDER
    python scripts/train_bundled.py tiny-mistral --packages FOLDER --state FOLDER

Run it again after an interruption: it goes on where it stood. Both models see the same tokens in the same order.
"""

import argparse
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sentencepiece
import torch

from minimistral import ModelConfig, Tokenizer, Transformer, load, save
from minimistral.evaluate import bits_a_byte
from minimistral.sources import DOMAINS, Document, documents
from minimistral.train import TrainConfig, train

PRETRAINED = Path(__file__).parents[1] / "minimistral" / "pretrained"
TOKENIZER_BYTES = 800_000  # of each domain, held-out documents left out


@dataclass(frozen=True)
class Stage:
    """shares: of the training bytes, by domain; total_bytes: of the mixture, more than the recipe reads."""

    recipe: TrainConfig
    total_bytes: int
    shares: dict[str, float]


# After the first stage both models were still behind 4-grams on Spanish and prose, where whole phrases come back word for
# word; the second gives those domains more room.
STAGES = (
    Stage(
        TrainConfig(
            steps=4_000, batch_size=8, context=256, learning_rate=2e-3, final_learning_rate=1e-4, warmup_steps=200,
            balance_loss=0.01, seed=0, evaluate_every=500, save_every=100,
        ),
        24_000_000,
        dict(drama=0.25, prose=0.25, spanish=0.20, python=0.15, mathematics=0.15),
    ),
    Stage(
        TrainConfig(
            steps=6_000, batch_size=8, context=256, learning_rate=3e-3, final_learning_rate=1e-4, warmup_steps=100,
            balance_loss=0.01, seed=1, evaluate_every=500, save_every=100,
        ),
        32_000_000,
        dict(drama=0.15, prose=0.23, spanish=0.36, python=0.08, mathematics=0.18),
    ),
)  # fmt: skip
RECIPE = STAGES[0].recipe


def train_tokenizer(texts: dict[str, list[Document]], path: Path) -> None:
    """A sentencepiece BPE vocabulary of 2,048 pieces with Mistral's settings: byte fallback, single digits, no clean-up."""
    lines = []
    for domain in DOMAINS:
        size = 0
        for document in shuffled(texts[domain], seed=1):
            part = document.text[:40_000]
            lines += [line for line in part.split("\n") if line]
            size += len(part.encode())
            if size >= TOKENIZER_BYTES:
                break
    prefix = path.with_suffix("")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(prefix), model_type="bpe", vocab_size=2048,
        byte_fallback=True, split_digits=True, character_coverage=0.9999, normalization_rule_name="identity",
        remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, max_sentence_length=16_384,
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1, num_threads=1, minloglevel=2,
    )  # fmt: skip
    prefix.with_suffix(".vocab").unlink()


def shuffled(items: Iterable, seed: int) -> list:
    items = list(items)
    random.Random(seed).shuffle(items)
    return items


def encode(document: Document, tokenizer: Tokenizer) -> list[int]:
    return tokenizer.encode(document.text, bos=True, eos=True)


def mixture(texts: dict[str, list[Document]], tokenizer: Tokenizer, stage: Stage) -> torch.Tensor:
    """One long text: each domain's training documents, shuffled, as often as its share of the stage's bytes asks for."""
    parts = []
    for domain in DOMAINS:
        left = stage.shares[domain] * stage.total_bytes
        ids = {document.title: np.array(encode(document, tokenizer), dtype=np.uint16) for document in texts[domain]}
        for turn in range(1000):
            for document in shuffled(texts[domain], seed=turn):
                if left <= 0:
                    break
                parts.append(ids[document.title])
                left -= len(document.text.encode())
    return torch.from_numpy(np.concatenate(parts).astype(np.int64))


def read_texts(packages: Path) -> tuple[dict[str, list[Document]], dict[str, list[Document]]]:
    """The documents to train on and those held out, by domain."""
    train_texts = {domain: [] for domain in DOMAINS}
    held_out = {domain: [] for domain in DOMAINS}
    for document in documents(packages):
        (held_out if document.held_out else train_texts)[document.domain].append(document)
    return train_texts, held_out


def start(name: str, before: Path) -> Transformer:
    """The model as the stage before left it, in bfloat16, or with new weights drawn from seed 0."""
    if before.exists():
        return load(before, dtype="float32", device="cpu")[0]
    torch.manual_seed(0)
    return Transformer(ModelConfig.preset(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["tokenizer", "tiny-mistral", "tiny-mixtral"])
    parser.add_argument("--packages", type=Path, required=True, help="where downloaded packages are kept")
    parser.add_argument("--state", type=Path, help="where the unfinished run is kept")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    train_texts, held_out = read_texts(args.packages)
    tokenizer_file = PRETRAINED / "tiny-tokenizer" / "tokenizer.model"
    if args.what == "tokenizer":
        tokenizer_file.parent.mkdir(parents=True, exist_ok=True)
        train_tokenizer(train_texts, tokenizer_file)
        return

    tokenizer = Tokenizer(tokenizer_file)
    check = torch.tensor([i for domain in DOMAINS for i in encode(held_out[domain][0], tokenizer)[:8_193]])
    for number, stage in enumerate(STAGES, start=1):
        finished = args.state / args.what / f"after-stage-{number}"
        if not finished.exists():
            model = start(args.what, args.state / args.what / f"after-stage-{number - 1}")
            tokens = mixture(train_texts, tokenizer, stage)
            train(model, tokens, stage.recipe, held_out=check, folder=args.state / args.what / f"stage-{number}")
            save(model.bfloat16(), finished)
    model = load(finished, dtype="float32", device="cpu")[0]
    for domain in DOMAINS:
        texts = [document.text for document in held_out[domain]]
        print(f"{domain}: {bits_a_byte(model, texts, tokenizer, RECIPE.context):.3f} bits a byte")
    save(model.bfloat16(), PRETRAINED / args.what, tokenizer=tokenizer, overwrite=True)


if __name__ == "__main__":
    main()
