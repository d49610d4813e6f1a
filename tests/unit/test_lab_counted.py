"""One thing is "1 thing": the sentences of the tools where their controls allow a single one."""

import re

import pytest

from minimistral.lab.counted import counted
from minimistral.lab.live_curve import describe as describe_curve
from minimistral.lab.overview import ChapterProgress, Overview
from minimistral.lab.tools import block_xray, buffer_player, heads, odometer, receptive_field, routing_map
from minimistral.lab.tools.chat import Said
from minimistral.lab.tools.routing_map import Routed
from minimistral.lab.tools.tokenizer_lens import TokenizerLens
from minimistral.lab.tools.tokenizer_lens import describe as describe_text

NOUNS = "head token layer slot byte step hint try prediction dial piece position expert pair"
SEVERAL = re.compile(rf"\b1 (?:(?:query|key/value|new|different) )?(?:{'|'.join(NOUNS.split())})s\b")


def of(tool, **controls) -> str:
    state = tool.State(**controls)
    return tool.describe(state, tool.compute(state))


SENTENCES = {
    "one head": lambda: of(heads, n_heads=1, n_kv_heads=1),
    "one key/value head": lambda: of(heads, n_heads=4, n_kv_heads=1),
    "one token back": lambda: of(receptive_field, n_layers=4, window=4, n_tokens=2, token=1),
    "one layer, one token": lambda: of(receptive_field, n_layers=1, window=1, n_tokens=2, token=0),
    "a block": lambda: of(block_xray, n_layers=1),
    "one slot": lambda: of(buffer_player, window=1, chunk=1, n_prompt=1, step=0),
    "one token a chunk": lambda: of(buffer_player, window=1, chunk=1, n_prompt=1, step=1),
    "one dial": lambda: of(odometer, position=9_000, head_dim=8),
    "one byte": lambda: describe_text("a"),
    "one byte of a sign": lambda: describe_text("é"),
    "one layer of a mixture": lambda: routing_map.sentence([Routed("a", [[2, 7]], [[0.6, 0.4]])], 1, 1),
    "a token said": lambda: Said(text="a", n_tokens=1, position=1, n_slots=1).describe(),
    "a step": lambda: describe_curve([{"loss": 1.0}]),
    "a try": lambda: repr(Overview([ChapterProgress("05", 1, 4, 1, 1, 1, 1, 6, None)])),
}


def test_a_count_and_its_noun():
    assert [counted(n, "query head") for n in (0, 1, 2, 8_192)] == [
        "0 query heads", "1 query head", "2 query heads", "8,192 query heads"
    ]  # fmt: skip


@pytest.mark.parametrize("name", SENTENCES)
def test_one_thing_is_no_plural(name):
    said = SENTENCES[name]()
    assert not SEVERAL.findall(said), said


def test_the_sentences_say_one():
    assert "MHA: 1 query head, 1 key/value head; 1 query head reads each." in SENTENCES["one head"]()
    assert SENTENCES["one token back"]().endswith("but the text begins 1 token back.")
    assert SENTENCES["one byte"]().startswith("1 byte of UTF-8. 1 token for")
    assert SENTENCES["a try"]().startswith("chapter 05: 1 of 4 exercises (1 try, 1 hint), 1 prediction, ")


def test_the_pattern_finds_a_plural():
    assert SEVERAL.findall("MHA: 1 query heads") and SEVERAL.findall("begins 1 tokens back")
    assert "1 token" in TokenizerLens("a").picture().alt
