"""The logits that chapters compare with are what transformers says of the bundled weights today."""

import json
import runpy
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")
SCRIPT = Path(__file__).parents[2] / "scripts" / "stored_logits.py"


@pytest.mark.parametrize("name", ["tiny-mistral", "tiny-mixtral"])
def test_stored_logits_are_those_of_transformers_and_of_the_library(name, tmp_path):
    from minimistral import load

    script = runpy.run_path(str(SCRIPT))
    kept = json.loads(script["STORED"].read_text(encoding="utf-8"))[name]
    fresh = script["last_logits"](name, tmp_path)
    assert kept["ids"] == fresh["ids"]
    torch.testing.assert_close(torch.tensor(kept["logits"]), torch.tensor(fresh["logits"]), rtol=1e-3, atol=1e-3)
    model, _ = load(name, dtype="float32", device="cpu")
    with torch.inference_mode():
        ours = model(torch.tensor([kept["ids"]]))[0, -1]
    torch.testing.assert_close(ours, torch.tensor(kept["logits"]), rtol=1e-3, atol=1e-3)
