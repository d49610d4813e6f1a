"""01.3: templates as people write them; `encode` and `encode_v3` are at hand in the chapter."""

from minimistral import Tokenizer

tokenizer = Tokenizer.mistral_v1()


def encode(text):
    return tokenizer.encode(text, bos=False)


def encode_v3(text):
    return [i + 768 for i in encode(text)]


def with_the_library_for_v1(turns, version):
    if version == "v1":
        return tokenizer.encode_chat([{"role": role, "content": text} for role, text in turns])
    ids = [1]
    for role, text in turns:
        ids.extend([3] + encode_v3(text) + [4] if role == "user" else encode_v3(text) + [2])
    return ids


def shifted_afterwards(turns, version):
    """Everything from version 1's ids; text is shifted when it is version 3."""
    shift = 0 if version == "v1" else 768
    parts = [[1]]
    for role, text in turns:
        if role == "user" and not shift:
            parts.append(tokenizer.encode("[INST] " + text + " [/INST]", bos=False))
        elif role == "user":
            parts.append([3] + [i + shift for i in tokenizer.encode(text, bos=False)] + [4])
        else:
            parts.append([i + shift for i in tokenizer.encode(text, bos=False)] + [tokenizer.eos_id])
    return sum(parts, [])


RIGHT = [with_the_library_for_v1, shifted_afterwards]


def _build(turns, version, user=None, end=2, first=(1,), again=False):
    ids = list(first)
    enc = encode if version == "v1" else encode_v3
    for n, (role, text) in enumerate(turns):
        if role == "assistant":
            ids += enc(text) + ([end] if end else [])
            continue
        if again and n:
            ids.append(1)
        ids += user(enc, text) if user else encode(f"[INST] {text} [/INST]") if version == "v1" else [3, *enc(text), 4]
    return ids


def forgot_eos(turns, version):
    return _build(turns, version, end=None)


def bos_each_time(turns, version):
    return _build(turns, version, again=True)


def forgot_bos(turns, version):
    return _build(turns, version, first=())


def text_marks(turns, version):
    return _build(turns, version, user=lambda enc, text: enc("[INST] " + text + " [/INST]"))


def control_marks(turns, version):
    return _build(turns, version, user=lambda enc, text: [3] + enc(text) + [4])


def tight_marks(turns, version):
    return _build(turns, version, user=(lambda enc, text: enc(f"[INST]{text}[/INST]")) if version == "v1" else None)


def v1_ids_in_v3(turns, version):
    ids = [1]
    for role, text in turns:
        mine = encode(text)
        if role == "assistant":
            ids += mine + [2]
        else:
            ids += encode(f"[INST] {text} [/INST]") if version == "v1" else [3] + mine + [4]
    return ids


def one_long_text(turns, version):
    text = " ".join(f"[INST] {t} [/INST]" if role == "user" else f"{t}</s>" for role, t in turns)
    return [1] + (encode(text) if version == "v1" else encode_v3(text))


def eos_after_each_turn(turns, version):
    ids = [1]
    for role, text in turns:
        body = encode(text) if version == "v1" else encode_v3(text)
        if role == "user":
            body = encode(f"[INST] {text} [/INST]") if version == "v1" else [3, *body, 4]
        ids += [*body, 2]
    return ids


WRONG = {
    "answers not closed": [forgot_eos],
    "opened again": [bos_each_time],
    "not opened": [forgot_bos],
    "marks as text in v3": [text_marks],
    "control ids in v1": [control_marks],
    "blanks left out": [tight_marks],
    "ids not shifted": [v1_ids_in_v3],
    "one string": [one_long_text],
    "closed too often": [eos_after_each_turn],
}
