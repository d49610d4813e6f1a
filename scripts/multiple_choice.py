"""Makes the course's multiple-choice set, minimistral/texts/multiple_choice.jsonl.xz, by rule from the held-out texts.

    python scripts/multiple_choice.py

The same items each time: the draws are seeded. No item was looked at and thrown out because of what a model made of it.
"""

import io
import json
import lzma
import random
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from minimistral.data import aligned_verses, bundled_texts
from minimistral.multiple_choice import FILE, Item
from minimistral.sources import DOMAINS
from minimistral.tokenizer import MISTRAL_V1, Tokenizer

TINY = Path(__file__).parents[1] / "minimistral/pretrained/tiny-tokenizer/tokenizer.model"
TOKENIZERS = Tokenizer(TINY), Tokenizer(MISTRAL_V1)
SHOWN = 200  # characters of text before the gap, less the word that this cuts in two
N_CONTINUATIONS, N_OTHERS = 160, 120  # a domain; a kind
OPEN, CLOSE = "([{", ")]}"
F_BEGINS, F_ENDS = (getattr(tokenize, name, None) for name in ("FSTRING_START", "FSTRING_END"))

Draft = tuple[str, str, list[str]]  # prompt, the right choice, wrong ones


def continuations(domain: str, draw: random.Random) -> Iterator[Draft]:
    """The line or sentence that really follows, against three from elsewhere in the domain that look like it."""
    trained = "\n".join(document.text for document in bundled_texts(domain, held_out=False))
    gaps = [gap for document in bundled_texts(domain, held_out=True) for gap in _gaps(document.text, domain)
            if gap[0] + gap[1] not in trained]  # fmt: skip
    for prompt, right in draw.sample(gaps, len(gaps)):
        alike = {unit for _, unit in gaps if unit != right and _look(unit) == _look(right)}
        if len(alike) >= 3:
            yield prompt, right, draw.sample(sorted(alike), 3)


def _gaps(text: str, domain: str) -> Iterator[tuple[str, str]]:
    """Each unit of a text with what stands before it; a unit begins with the space or line break before its first word."""
    pattern = r"(?<=[.!?;])\s+[^.!?;]+[.!?;]" if domain == "prose" else r"\n[^\n]+"
    for found in re.finditer(pattern, text):
        unit = found[0].rstrip()
        words = unit.split()
        is_name = domain == "drama" and (unit.endswith(":") or "[" in unit)
        if 15 <= len(unit) <= 120 and len(words) > 2 and not is_name and found.start() > SHOWN:
            yield _before(text, found.start()), unit


def _before(text: str, end: int) -> str:
    """About SHOWN characters before a place, from the beginning of a word or of an indented line, without the last spaces."""
    shown = text[:end].rstrip()[-SHOWN:]
    return re.sub(r"^\S*(?:\n| +(?=\S))", "", shown, count=1)


def _look(unit: str) -> tuple:
    """What gives a unit away without reading it: how it is indented, and whether it is a formula or a console's line."""
    return re.match(r"\s*", unit)[0], unit.lstrip().startswith("|-"), unit.lstrip().startswith(">>>")


def translations(draw: random.Random) -> Iterator[Draft]:
    """A verse of Mark in English; which of four verses says it in Spanish?"""
    verses = [(number, english, spanish) for number, english, spanish in aligned_verses(held_out=True)
              if max(len(english), len(spanish)) <= 120]  # fmt: skip
    for number, english, spanish in draw.sample(verses, len(verses)):
        others = [theirs for other, _, theirs in verses if abs(other - number) > 3 and theirs != spanish]
        yield f"English: {english}\nSpanish:", f" {spanish}", [f" {verse}" for verse in draw.sample(others, 3)]


def brackets(draw: random.Random) -> Iterator[Draft]:
    """Python up to a closing bracket. Which one? The innermost that is open says it."""
    places = []
    for document in bundled_texts("python", held_out=True):
        lines = document.text.splitlines(keepends=True)
        starts = [sum(map(len, lines[:n])) for n in range(len(lines) + 1)]
        stack, inside = [], 0  # inside: of how many f-strings, which Python 3.12 cuts into tokens and 3.11 leaves whole
        for token in tokenize.generate_tokens(io.StringIO(document.text).readline):
            place = starts[token.start[0] - 1] + token.start[1]
            inside += (token.type == F_BEGINS) - (token.type == F_ENDS)
            if inside:
                continue
            if token.type == tokenize.OP and token.string in OPEN:
                stack.append(place)
            elif token.type == tokenize.OP and token.string in CLOSE:
                prompt, opened = _before(document.text, place), stack.pop()
                if place - opened < 100 and not document.text[place - 1].isspace():
                    places.append((token.string, prompt))
    for right in "}])":  # curly ones are rare: all there are; of the other two as many, so that none is a good guess
        prompts = sorted({prompt for bracket, prompt in places if bracket == right and _clean(prompt, CLOSE)})
        for prompt in draw.sample(prompts, min(len(prompts), 49)):
            yield prompt, right, [bracket for bracket in CLOSE if bracket != right]


def indentations(draw: random.Random) -> Iterator[Draft]:
    """Python up to a colon that opens a block. Of four indentations of what follows only the deepest is Python."""
    found = []
    for document in bundled_texts("python", held_out=True):
        lines = document.text.splitlines(keepends=True)
        tokens = [
            t for t in tokenize.generate_tokens(io.StringIO(document.text).readline) if t.type != tokenize.COMMENT
        ]
        for token, after in zip(tokens, tokens[1:]):
            if token.type == tokenize.INDENT and len(token.string) in (12, 16, 20):
                row, deep = token.start[0] - 1, len(token.string)
                before = "".join(lines[:row])
                if before.rstrip().endswith(":") and after.type == tokenize.NAME:
                    wrong = [f"\n{' ' * (deep - less)}{after.string}" for less in (4, 8, 12)]
                    found.append((_before(before, len(before)), f"\n{' ' * deep}{after.string}", wrong))
    yield from draw.sample(found, len(found))


def parentheses(draw: random.Random) -> Iterator[Draft]:
    """A formula without its last parentheses. How many are missing? Counting says it."""
    found = []
    for document in bundled_texts("mathematics", held_out=True):
        for line in re.finditer(r"\|- .*?((?: \))+)(?=\n)", document.text):
            if line[0].count("(") == line[0].count(")") and len(line[0]) <= 160:
                found.append((_before(document.text, line.start(1)), line[1].count(")")))
    for _ in range(5 * N_OTHERS):  # each number as often
        missing = draw.randint(1, 4)
        prompt = draw.choice([prompt for prompt, number in found if number == missing])
        yield prompt, " )" * missing + "\n", [" )" * n + "\n" for n in range(1, 5) if n != missing]


def arithmetic(draw: random.Random) -> Iterator[Draft]:
    """Sums and differences of two numbers below 100, with near misses."""
    while True:
        a, b, sign = draw.randint(10, 99), draw.randint(10, 99), draw.choice("+-")
        a, b = max(a, b), min(a, b)
        right = a + b if sign == "+" else a - b
        near = {right + step for step in (-10, -2, -1, 1, 2, 10)} | {a + b if sign == "-" else a - b}
        wrong = draw.sample(sorted(n for n in near if n >= 0), 3)
        yield f"{a} {sign} {b} =", f" {right}", [f" {n}" for n in wrong]


def kinds() -> Iterator[tuple[str, str, int, Callable[[random.Random], Iterator[Draft]]]]:
    """Kind, domain, how many, and the rule."""
    for domain in DOMAINS:
        yield "continuation", domain, N_CONTINUATIONS, lambda draw, domain=domain: continuations(domain, draw)
    for kind, domain, rule in (
        ("translation", "spanish", translations),
        ("bracket", "python", brackets),
        ("indentation", "python", indentations),
        ("parentheses", "mathematics", parentheses),
        ("arithmetic", "mathematics", arithmetic),
    ):
        yield kind, domain, N_OTHERS, rule


def make() -> list[Item]:
    """The whole set. An item whose choices do not begin where a token begins is passed over: see `continuation_ids`."""
    made = []
    for kind, domain, number, rule in kinds():
        draw, kept, seen = random.Random(f"{kind} {domain}"), [], set()
        for prompt, right, wrong in rule(draw):
            choices = draw.sample([right, *wrong], len(wrong) + 1)
            if (prompt, right) in seen or not _clean(prompt, choices):
                continue
            seen.add((prompt, right))
            kept.append(
                Item(f"{kind}-{domain}-{len(kept):03}", kind, domain, prompt, tuple(choices), choices.index(right))
            )
            if len(kept) == number:
                break
        else:
            raise RuntimeError(f"the rule for {kind} in {domain} gives {len(kept)} items, and {number} are wanted.")
        made += kept
    return made


def _clean(prompt: str, choices: Iterable[str]) -> bool:
    """Whether each choice begins where a token begins, to the course's tokenizer and to Mistral's."""
    for tokenizer in TOKENIZERS:
        before = tokenizer.encode(prompt)
        wholes = [tokenizer.encode(prompt + choice) for choice in choices]
        if any(whole[: len(before)] != before or len(whole) == len(before) for whole in wholes):
            return False
    return True


if __name__ == "__main__":
    lines = [json.dumps(vars(item), ensure_ascii=False) for item in make()]
    FILE.write_bytes(lzma.compress("".join(f"{line}\n" for line in lines).encode(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{len(lines)} items, {FILE.stat().st_size:,} bytes: {FILE.name}")
