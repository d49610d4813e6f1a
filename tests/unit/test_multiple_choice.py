"""The set is what its rules make, its answers are right by other means, and scores are those of one slow pass over each text."""

import ast
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from minimistral import ModelConfig, MoEConfig, Transformer, load
from minimistral.data import aligned_verses, bundled_texts
from minimistral.multiple_choice import (
    RULES,
    Item,
    Scored,
    choice_items,
    chosen,
    continuation_ids,
    few_shot,
    lettered,
    log_likelihoods,
    right,
    score,
)

torch.set_num_threads(1)
ROOT = Path(__file__).parents[2]
ITEMS = choice_items()


class Bytes:
    """A tokenizer of single bytes, but for "ab", which is one piece: 257. 256 begins a text."""

    def encode(self, text, bos=False, eos=False):
        ids = list(text.encode().replace(b"ab", b"\xff"))
        return [256] * bos + [257 if id == 255 else id for id in ids]


def small_model(**changes):
    torch.manual_seed(0)
    sizes = dict(dim=24, n_layers=2, n_heads=6, n_kv_heads=2, head_dim=10, hidden_dim=40, vocab_size=258)
    return Transformer(ModelConfig(**sizes | changes))


def test_the_script_makes_the_bundled_set_again():
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import multiple_choice as script
    finally:
        sys.path.pop(0)
    assert script.make() == ITEMS


def test_there_are_1400_of_all_domains_and_every_item_is_in_order():
    assert len(ITEMS) == 1400 and len({item.id for item in ITEMS}) == 1400
    assert Counter(i.domain for i in ITEMS if i.kind == "continuation") == dict.fromkeys(
        ("drama", "prose", "spanish", "python", "mathematics"), 160
    )
    for item in ITEMS:
        assert len(set(item.choices)) == len(item.choices) in (3, 4) and 0 <= item.answer < len(item.choices)
        assert item.prompt and item.prompt == item.prompt.rstrip() and len(item.prompt) <= 200
    places = Counter(item.answer for item in ITEMS if len(item.choices) == 4)
    assert max(places.values()) < 1.2 * min(places.values()), "the right choice stands in every place about as often"


def test_continuations_are_those_of_the_held_out_texts_and_no_training_text():
    held_out = [d.text for d in bundled_texts(held_out=True)]
    seen = "\n".join(d.text for d in bundled_texts(held_out=False))
    for item in choice_items(kind="continuation"):
        follows = [bool(re.search(r"\s*".join(map(re.escape, (item.prompt, c.strip()))), "\n".join(held_out)))
                   for c in item.choices]  # fmt: skip
        assert follows[item.answer] and sum(follows) == 1, item.id
    copied = [i for i in choice_items(kind="continuation") if (i.prompt + i.choices[i.answer]) in seen]
    assert not copied


def test_arithmetic_is_what_python_computes():
    for item in choice_items(kind="arithmetic"):
        value = ast.literal_eval(item.prompt.split()[0]), item.prompt.split()[1], int(item.prompt.split()[2])
        expected = value[0] + value[2] if value[1] == "+" else value[0] - value[2]
        assert [c == f" {expected}" for c in item.choices].index(True) == item.answer


def test_parentheses_balance_with_the_right_choice_alone():
    for item in choice_items(kind="parentheses"):
        formula = item.prompt[item.prompt.rindex("\n|- ") :]
        balanced = [(formula + choice).count("(") == (formula + choice).count(")") for choice in item.choices]
        assert balanced.index(True) == item.answer and sum(balanced) == 1


def test_only_the_deepest_indentation_opens_the_block():
    for item in choice_items(kind="indentation"):
        header = len(item.prompt.splitlines()[-1]) - len(item.prompt.splitlines()[-1].lstrip())
        deep = [len(choice) - len(choice.lstrip()) - 1 for choice in item.choices]
        assert item.prompt.endswith(":") and deep.index(max(deep)) == item.answer
        if item.prompt.splitlines()[-1].lstrip().startswith(("if", "for", "while", "else", "elif", "try", "def")):
            assert all((depth > header) == (i == item.answer) for i, depth in enumerate(deep))


def test_verses_are_translations_by_their_number():
    pairs = {english: spanish for _, english, spanish in aligned_verses(held_out=True)}
    for item in choice_items(kind="translation"):
        english = item.prompt.removeprefix("English: ").removesuffix("\nSpanish:")
        assert item.choices[item.answer] == f" {pairs[english]}"


def test_no_bracket_is_right_much_more_often():
    answers = Counter(item.choices[item.answer] for item in choice_items(kind="bracket"))
    assert set(answers) == set(")]}") and max(answers.values()) < 50


def test_unknown_kinds_are_named():
    with pytest.raises(ValueError, match="no kind 'poem'. There are: arithmetic, bracket"):
        choice_items(kind="poem")
    assert {item.kind for item in choice_items(domain="spanish")} == {"continuation", "translation"}


# --- scoring ---

QUESTIONS = [
    Item("a", "k", "d", "one two", (" three", " 3", " fo"), 0),
    Item("b", "k", "d", "x", ("y", "yyyy é"), 1),
    Item("c", "k", "d", "a longer prompt, of other length", (" a", "b"), 1),
]


@pytest.mark.parametrize("changes", [{}, dict(sliding_window=5), dict(moe=MoEConfig(4, 2))], ids=str)
@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_a_choice_gets_the_logarithms_of_its_own_tokens_and_no_others(changes, batch_size):
    model = small_model(**changes)
    scored = score(model, Bytes(), QUESTIONS, batch_size)
    for item, choices in zip(QUESTIONS, scored):
        for text, found in zip(item.choices, choices):
            given, wanted = Bytes().encode(item.prompt, bos=True), Bytes().encode(text)
            expected = 0.0
            for id in wanted:  # one token at a time, without a batch
                with torch.no_grad():
                    expected += float(model(torch.tensor([given]))[0, -1].log_softmax(-1)[id])
                given = [*given, id]
            assert found.log_p == pytest.approx(expected, abs=1e-4)
            assert (found.n_tokens, found.n_bytes) == (len(wanted), len(text.encode()))


def test_whether_the_model_would_have_written_it_itself():
    model = small_model()
    ids = [256, 5, 6]
    with torch.no_grad():
        likeliest = int(model(torch.tensor([ids]))[0, -1].argmax())
    found = log_likelihoods(model, [(ids, [likeliest]), (ids, [(likeliest + 1) % 258])])
    assert [greedy for _, greedy in found] == [True, False]


def test_a_seam_inside_a_token_moves_back_to_where_the_tokens_agree():
    assert continuation_ids(Bytes(), "xa", "c") == ([256, 120, 97], [99])
    assert continuation_ids(Bytes(), "xa", "bc") == ([256, 120], [257, 99])  # "ab" is one piece
    assert continuation_ids(Bytes(), "", "c") == ([256], [99])
    with pytest.raises(ValueError, match="empty"):
        continuation_ids(Bytes(), "x", "")


def test_space_at_the_prompts_end_is_scored_with_every_choice():
    tokenizer = load("tiny-mistral")[1]
    for choice in ("foo", "12", "("):  # with the space before it, foo is one piece, and 12 three
        given, scored = continuation_ids(tokenizer, "x = ", choice)
        assert given == tokenizer.encode("x =") and given + scored == tokenizer.encode("x = " + choice)
    assert continuation_ids(Bytes(), "x:\n\t", "c") == ([256, 120, 58], [10, 9, 99])
    assert continuation_ids(Bytes(), " \n", "c") == ([256], [32, 10, 99])


def test_nothing_to_read_to_score_or_to_choose_from_is_said():
    model = small_model()
    for pairs, batch_size in (([([], [1])], 1), ([([256], [])], 1), ([([256], [1])], 0)):
        with pytest.raises(ValueError, match="a token or more to read"):
            log_likelihoods(model, pairs, batch_size)
    assert log_likelihoods(model, []) == []
    with pytest.raises(ValueError, match="no choices"):
        chosen(score(model, Bytes(), [Item("e", "k", "d", "x", (), 0)]))


def test_a_single_choice_is_chosen_and_of_equals_the_first():
    assert chosen([[Scored(-9.0, 1, 1)], [Scored(-2.0, 1, 1), Scored(-1.0, 1, 1), Scored(-1.0, 1, 1)]]) == [0, 1]


def test_rules_rank_the_same_scores_differently():
    scored = [[Scored(-3.0, 1, 2), Scored(-4.0, 2, 2), Scored(-6.0, 2, 6)]]
    assert [chosen(scored, rule) for rule in RULES] == [[0], [1], [2]]
    with pytest.raises(ValueError, match="There are: sum, per token, per byte"):
        chosen(scored, "average")


def test_right_is_item_by_item():
    assert right(QUESTIONS, [0, 0, 1]) == [True, False, True]
    with pytest.raises(ValueError):
        right(QUESTIONS, [0])


def test_letters_name_the_choices_in_their_order():
    item = lettered(QUESTIONS[0])
    assert item.prompt == "one two ...\n\nWhat comes next?\nA. three\nB. 3\nC. fo\nAnswer:"
    assert item.choices == (" A", " B", " C") and item.answer == 0
    five = lettered(Item("f", "k", "d", "x", tuple("vwxyz"), 4))
    assert five.prompt.endswith("\nE. z\nAnswer:") and five.choices[five.answer] == " E"
    with pytest.raises(ValueError, match="27 choices"):
        lettered(Item("g", "k", "d", "x", tuple(map(str, range(27))), 0))


def test_shots_are_solved_items_of_the_same_kind_never_itself():
    pool = choice_items(kind="arithmetic")
    asked = few_shot(pool[0], pool, 3)
    *examples, last = asked.prompt.split("\n\n")
    assert last == pool[0].prompt and (asked.choices, asked.answer) == (pool[0].choices, pool[0].answer)
    solved = {item.prompt + item.choices[item.answer] for item in pool[1:]}
    assert len(set(examples)) == 3 and set(examples) <= solved
    assert few_shot(pool[0], pool, 3) == asked != few_shot(pool[0], pool, 3, seed=1)
    assert few_shot(pool[0], pool, 0) == pool[0]
    with pytest.raises(ValueError, match="119 other items"):
        few_shot(pool[0], pool, 120)
