"""What transformers says of the bundled models: stored once, so that chapters can compare without it. `make cards` calls it.

python scripts/stored_logits.py
"""

import json
import tempfile
from pathlib import Path

import torch
import transformers

import minimistral
from minimistral import load, save

STORED = Path(minimistral.__file__).parent / "lab" / "stored" / "transformers_logits.json"
TEXT = "And it came to pass in those days, that"


def last_logits(name: str, folder: Path) -> dict:
    """The ids of TEXT and transformers' float32 logits behind the last of them, four decimals."""
    model, tokenizer = load(name, dtype="float32", device="cpu")
    save(model, folder / name, layout="hub")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder / name, dtype=torch.float32)
    ids = tokenizer.encode(TEXT, bos=True)
    with torch.inference_mode():
        logits = theirs(torch.tensor([ids]), use_cache=False).logits[0, -1]
    return {"ids": ids, "logits": [round(value, 4) for value in logits.tolist()]}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = {name: last_logits(name, Path(folder)) for name in ("tiny-mistral", "tiny-mixtral")}
    about = {
        "repeat": "python scripts/stored_logits.py",
        "text": TEXT,
        "versions": f"transformers {transformers.__version__}",
    }
    STORED.write_text(json.dumps(about | found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
