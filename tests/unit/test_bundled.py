"""The two models in the box: offline, at once, small, and a text that belongs to its prompt."""

import time
from pathlib import Path

import pytest
import torch

import minimistral
from minimistral import ModelConfig, generate, load, save

torch.set_num_threads(1)
PRETRAINED = Path(minimistral.__file__).parent / "pretrained"
NAMES = ["tiny-mistral", "tiny-mixtral"]


@pytest.fixture(scope="module", params=NAMES)
def bundled(request):
    return request.param, *load(request.param)


def test_it_is_what_its_preset_says_in_bfloat16(bundled):
    name, model, tokenizer = bundled
    assert model.config == ModelConfig.preset(name)
    assert {w.dtype for w in model.parameters()} == {torch.bfloat16}
    assert tokenizer.vocab_size == model.config.vocab_size
    assert sum(path.stat().st_size for path in (PRETRAINED / name).iterdir()) <= 12_000_000


def test_it_loads_in_less_than_a_second(bundled):
    started = time.perf_counter()
    load(bundled[0])
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("HAMLET:\n", [":\n", "my", "you", "the", "I "]),
        ("And it came to pass, that", ["and", "the", "of", "LORD", "unto"]),
        ("Y aconteció que", ["de", "que", "el", "la", "Jehová", "los"]),
        ("    def add_edge(self, ", ["self", "node", "nx", "G", "if ", "def ", "return", "]"]),
        ("|- ( ph -> ", ["ph", "ps", "->", "|-", "ch"]),
    ],
)
def test_it_goes_on_in_the_manner_of_the_prompt(bundled, prompt, words):
    _, model, tokenizer = bundled
    ids = tokenizer.encode(prompt, bos=True)
    texts = [tokenizer.decode(new) for new in generate(model, [ids] * 4, max_new_tokens=40, temperature=0.7, seed=0)]
    hits = [sum(f"{word}" in text for word in words) for text in texts]
    assert sum(hits) >= 6, texts


def test_both_share_one_tokenizer():
    one, other = ((PRETRAINED / name / "tokenizer.model").read_bytes() for name in NAMES)
    assert one == other


def test_transformers_opens_what_save_makes_of_it(bundled, tmp_path):
    transformers = pytest.importorskip("transformers")
    _, model, tokenizer = bundled
    save(model, tmp_path / "hub", layout="hub")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hub", dtype=torch.float32).eval()
    tokens = torch.tensor([tokenizer.encode("To be, or not to be, that is the question. " * 12, bos=True)])
    assert tokens.shape[1] > 2 * model.config.sliding_window
    with torch.no_grad():
        ours = load(tmp_path / "hub", dtype="float32")[0](tokens)
        torch.testing.assert_close(ours, theirs(tokens).logits, rtol=1e-4, atol=1e-4)
