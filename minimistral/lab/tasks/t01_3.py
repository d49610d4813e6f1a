"""01.3: the chat template, with the official ids of versions 1 and 3."""

import random
from collections.abc import Callable
from functools import cache

from minimistral.lab.exercise import Exercise, Mistake
from minimistral.tokenizer import MISTRAL_V1, Tokenizer

BOS, EOS = 1, 2
OPEN, CLOSE = 3, 4  # [INST] and [/INST] in version 3


@cache
def _tokenizer() -> Tokenizer:
    return Tokenizer(MISTRAL_V1)


def encode(text: str) -> list[int]:
    """The ids of a text in version 1, without the mark that opens a text."""
    return _tokenizer().encode(text, bos=False)


def encode_v3(text: str) -> list[int]:
    """The same in version 3, where 768 special pieces were put before all text pieces."""
    return [id + 768 for id in encode(text)]


def my_chat_ids(turns: list[tuple[str, str]], version: str) -> list[int]:
    ids = [BOS]
    for role, text in turns:
        if role == "assistant":
            ids += (encode(text) if version == "v1" else encode_v3(text)) + [EOS]
        elif version == "v1":
            ids += encode(f"[INST] {text} [/INST]")
        else:
            ids += [OPEN, *encode_v3(text), CLOSE]
    return ids


ASKED = (
    "Hello",
    "And then?",
    "What is a llama?",
    "Please count to 3.",
    "Thanks [/INST]",
    "Write f(x).",
    "Why </s> so?",
)
SAID = ("Hi.", "A tall animal.", "1, 2, 3.", "Nothing.", "With pleasure!")


def cases(draw: random.Random) -> list[tuple]:
    def talk(n_turns: int) -> list[tuple[str, str]]:
        turns = []
        for asked, said in zip(draw.sample(ASKED, n_turns), draw.sample(SAID, n_turns)):
            turns += [("user", asked), ("assistant", said)]
        return turns[:-1]

    return [(talk(n_turns), version) for n_turns in (1, 2, 3) for version in ("v1", "v3")]


def _chat(
    turns: list[tuple[str, str]],
    version: str,
    marks: Callable | None = None,
    v3_text: Callable = encode_v3,
    bos: str = "once",
    eos: str = "answers",
) -> list[int]:
    """The template in variations; marks(text, version) gives the ids of a user's turn."""
    ids = [BOS] if bos == "once" else []
    for i, (role, text) in enumerate(turns):
        if bos == "users" and role == "user":
            ids.append(BOS)
        if role == "assistant":
            ids += encode(text) if version == "v1" else v3_text(text)
        elif marks:
            ids += marks(text, version)
        else:
            ids += encode(f"[INST] {text} [/INST]") if version == "v1" else [OPEN, *v3_text(text), CLOSE]
        if eos == "all" or (eos == "answers" and role == "assistant") or (eos == "end" and i + 1 == len(turns)):
            ids.append(EOS)
    return ids


def _no_eos(turns: list, version: str) -> list[int]:
    return _chat(turns, version, eos="none")


def _eos_everywhere(turns: list, version: str) -> list[int]:
    return _chat(turns, version, eos="all")


def _bos_again(turns: list, version: str) -> list[int]:
    return _chat(turns, version, bos="users")


def _no_bos(turns: list, version: str) -> list[int]:
    return _chat(turns, version, bos="none")


def _text_in_v3(turns: list, version: str) -> list[int]:
    return _chat(turns, version, lambda text, v: (encode if v == "v1" else encode_v3)(f"[INST] {text} [/INST]"))


def _control_in_v1(turns: list, version: str) -> list[int]:
    return _chat(turns, version, lambda text, v: [OPEN, *(encode if v == "v1" else encode_v3)(text), CLOSE])


def _no_blanks(turns: list, version: str) -> list[int]:
    return _chat(
        turns, version, lambda text, v: encode(f"[INST]{text}[/INST]") if v == "v1" else [OPEN, *encode_v3(text), CLOSE]
    )


def _not_shifted(turns: list, version: str) -> list[int]:
    return _chat(turns, version, v3_text=encode)


def _one_string(turns: list, version: str) -> list[int]:
    parts = [text + "</s>" if role == "assistant" else f"[INST] {text} [/INST]" for role, text in turns]
    return [BOS, *(encode if version == "v1" else encode_v3)(" ".join(parts))]


def _one_string_shut(turns: list, version: str) -> list[int]:
    parts = [text + "</s>" if role == "assistant" else f"[INST] {text} [/INST]" for role, text in turns]
    return [BOS, *(encode if version == "v1" else encode_v3)("".join(parts))]


WHOLE = (
    "The conversation was written as one text and encoded at once. Then </s> is three ordinary pieces, never id 2. "
    "Encode each message by itself, and join the ids."
)
EXERCISE = Exercise(
    id="01.3",
    title="The chat template, with the official ids",
    minutes=12,
    difficulty=2,
    rtol=0.0,  # whole numbers: one off is wrong, however large they are
    atol=0.0,
    cases=cases,
    solution=my_chat_ids,
    mistakes=(
        Mistake(
            "answers not closed",
            "After each answer of the assistant comes id 2 (</s>). Without it the model never learns, and never sees, where "
            "an answer ends.",
            wrong=_no_eos,
        ),
        Mistake(
            "closed too often", "Only the assistant's turns end with id 2; a user's does not.", wrong=_eos_everywhere
        ),
        Mistake(
            "opened again",
            "Id 1 (<s>) stands once, before everything. Later turns do not begin a text.",
            wrong=_bos_again,
        ),
        Mistake("not opened", "A conversation begins with id 1 (<s>).", wrong=_no_bos),
        Mistake(
            "marks as text in v3",
            "In version 3 the marks are the ids 3 and 4, which no text can become. You encoded the letters of [INST].",
            wrong=_text_in_v3,
        ),
        Mistake(
            "control ids in v1",
            "In version 1 the ids 3 and 4 are the bytes 0 and 1! It has no control ids for its marks: there they are text.",
            wrong=_control_in_v1,
        ),
        Mistake(
            "blanks left out",
            "In version 1 there is a blank after [INST] and before [/INST]. Another spelling is another row of ids, which the "
            "model was not trained on.",
            wrong=_no_blanks,
        ),
        Mistake(
            "ids not shifted",
            "These are version 1's ids. In version 3 all text pieces stand 768 places later: use encode_v3.",
            wrong=_not_shifted,
        ),
        Mistake("one string", WHOLE, wrong=_one_string),
        Mistake("one string", WHOLE, wrong=_one_string_shut),
    ),
    nudge='Begin with one turn, [("user", "Hello")]: the official ids are [1, 733, 16289, 28793, 22557, 733, 28748, 16289, '
    "28793] in version 1 and [1, 3, 23325, 4] in version 3. Which part of each is the mark, and which is Hello?",
    shapes="""
| part | v1 | v3 |
|---|---|---|
| before everything | 1 | 1 |
| a user's turn | the text `[INST] … [/INST]`, encoded whole | 3, the ids of the text, 4 |
| an assistant's turn | the ids of the text, 2 | the ids of the text, 2 |
| a text's ids | `encode(text)` | `encode_v3(text)` |
""",
    skeleton="""
def my_chat_ids(turns, version):
    ids = [1]
    for role, text in turns:
        if role == "assistant":
            ids += (encode(text) if version == "v1" else ____) + [____]
        elif version == "v1":
            ids += encode(____)
        else:
            ids += [____, *encode_v3(text), ____]
    ...
""",
    explanation="Each message is encoded by itself and the ids are joined. In version 1 everything but 1 and 2 is text, so a user "
    "can write it too; in version 3 the marks are ids that no text becomes. The library's `encode_chat` adds system messages.",
)
