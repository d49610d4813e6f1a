"""Chapter 01's quiz: keys computed."""

import math

import torch

from minimistral import ModelConfig, Tokenizer, Transformer
from minimistral.lab import quizzes
from minimistral.lab.tasks import t01_1, t01_3


def key(number):
    question = quizzes.questions("01")[number - 1]
    return question.options[question.key]


def test_keys_are_what_the_library_computes():
    assert key(1) == str(len(t01_1.my_merge_step([7, 7, 7, 7, 7, 9], 256)[1]))
    assert float(key(2)) == math.log2(8)
    assert key(3) == min({"A": 1_000 * 3.0, "B": 1_800 * 2.0}.items(), key=lambda item: item[1])[0]
    config = ModelConfig.preset("tiny-mistral")
    shape = Transformer(config)(torch.zeros(1, 8, dtype=torch.long)).shape
    assert shape == (1, 8, config.vocab_size) and key(4) == "(1, 8, 32000)"
    assert key(5) == ", ".join(map(str, t01_3.encode_v3("[INST]")))


def test_two_questions_return_to_the_chapter_before():
    assert [q.returns_to for q in quizzes.questions("01")].count("00") == 2


def test_version_1_has_no_marks_to_forge_but_the_end_of_an_answer():
    tokenizer = Tokenizer.mistral_v1()
    assert not {1, 2} & set(tokenizer.encode("<s> </s> [INST] [/INST]", bos=False))
