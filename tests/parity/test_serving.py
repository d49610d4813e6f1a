"""What the guide says of vLLM, as far as it can be seen without it: the class by which it reads tokenizers finds our ids."""

from pathlib import Path

import mistral_common
import pytest
import torch
from mistral_common.protocol.instruct.validator import ValidationMode
from transformers.tokenization_mistral_common import MistralCommonBackend  # vllm/tokenizers/mistral.py uses it

from minimistral import ModelConfig, Tokenizer, Transformer, save

DATA = Path(mistral_common.__file__).parent / "data"
FILES = {
    "v1": "tokenizer.model.v1",
    "v2": "mistral_instruct_tokenizer_240216.model.v2",
    "v3": "mistral_instruct_tokenizer_240323.model.v3",
}
TALK = [
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Good day."},
    {"role": "user", "content": "And  now?"},
]


def theirs(folder):
    return MistralCommonBackend.from_pretrained(str(folder), mode=ValidationMode.test)


@pytest.mark.parametrize("version", FILES)
def test_a_saved_folder_is_read_for_serving_with_our_ids(tmp_path, version):
    tokenizer = Tokenizer(DATA / FILES[version])
    sizes = dict(dim=8, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=4, hidden_dim=8, vocab_size=tokenizer.vocab_size)
    torch.manual_seed(0)
    save(Transformer(ModelConfig(**sizes)), tmp_path / "m", tokenizer=tokenizer, layout="hub")
    plain = theirs(tmp_path / "m").apply_chat_template(TALK, tokenize=True)["input_ids"]
    assert (plain == tokenizer.encode_chat(TALK)) == (version == "v1"), "why the guide has v2 and v3 renamed"
    (tmp_path / "m" / "tokenizer.model").rename(tmp_path / "m" / f"tokenizer.model.{version}")
    named = theirs(tmp_path / "m")
    assert named.apply_chat_template(TALK, tokenize=True)["input_ids"] == tokenizer.encode_chat(TALK)
    assert named.encode("To be,  or\nnot") == tokenizer.encode("To be,  or\nnot", bos=True)
