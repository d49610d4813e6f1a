"""Mistral's chat templates: which ids stand around what the system, the user and the assistant say.

Each message is encoded by itself and the ids are joined. v1 writes [INST] as ordinary text, so a user can write it too;
v2 and v3 have control ids for it, which no text can become.
"""

from typing import TYPE_CHECKING

from minimistral.tokenizer_file import CONTROL

if TYPE_CHECKING:
    from minimistral.tokenizer import Tokenizer

ROLES = ("system", "user", "assistant")


def chat_version(pieces: list[str], types: list[int]) -> str | None:
    """ "v1", "v2" or "v3" from the vocabulary itself, whatever the file is called; None if it is none of them."""
    if pieces[3:5] == ["[INST]", "[/INST]"] and types[3] == types[4] == CONTROL:
        if "[SYSTEM_PROMPT]" in pieces:  # v7 and later
            return None
        return "v3" if "[IMG]" in pieces else "v2"
    # v1 has no control pieces to know it by: its size and the pieces that spell its [INST] must do.
    spelling = (733, "▁["), (16289, "INST"), (28748, "/"), (28793, "]")
    return "v1" if len(pieces) == 32_000 and all(pieces[i] == piece for i, piece in spelling) else None


def chat_ids(tokenizer: "Tokenizer", messages: list[dict]) -> list[int]:
    """See `Tokenizer.encode_chat`."""
    version = tokenizer.version
    if version is None:
        raise ValueError(
            f"{tokenizer.path} is not one of Mistral's tokenizers v1, v2 or v3, so it has no chat template. "
            "Encode the text yourself: tokenizer.encode(…)."
        )
    system, turns = _arrange(messages)
    # v1 tells the system's words to the first user message, v2 and v3 to the last.
    users = [i for i, turn in enumerate(turns) if turn["role"] == "user"]
    told = users[0] if version == "v1" else users[-1]
    ids = [tokenizer.bos_id]
    for i, turn in enumerate(turns):
        text = turn["content"]
        if turn["role"] == "user":
            text = f"{system}\n\n{text}" if system and i == told else text
            if version == "v1":
                ids += tokenizer.encode(f"[INST] {text} [/INST]", bos=False)
            else:
                ids += [3, *tokenizer.encode(text, bos=False), 4]  # [INST] and [/INST]
        else:
            # What a model said itself is best given as the ids it chose: its text may be encoded into others.
            ids += turn.get("ids") or tokenizer.encode(text if version == "v1" else text.rstrip(" "), bos=False)
            ids += [] if turn.get("prefix") else [tokenizer.eos_id]
    return ids


def _arrange(messages: list[dict]) -> tuple[str, list[dict]]:
    """The system's words, and the turns, as mistral_common orders them: neighbours of one role become one message."""
    _check(messages)
    merged: list[dict] = []
    for message in messages:
        if merged and merged[-1]["role"] == message["role"]:
            merged[-1] = {**message, "content": f"{merged[-1]['content']}\n\n{message['content']}"}
        else:
            merged.append(dict(message))
    system = "\n\n".join(message["content"] for message in merged if message["role"] == "system")
    turns = [message for message in merged if message["role"] != "system"]
    if not turns or turns[0]["role"] == "assistant":
        turns.insert(0, {"role": "user", "content": ""})
    return system, turns


def _check(messages: list[dict]) -> None:
    if not isinstance(messages, (list, tuple)) or not messages:
        raise ValueError('messages: give a list with at least one message, [{"role": "user", "content": "Hello"}].')
    before = None
    for i, message in enumerate(messages):
        where = f"messages[{i}]"
        if not isinstance(message, dict) or "role" not in message or "content" not in message:
            raise ValueError(f'{where}: given {message!r:.80}; give {{"role": …, "content": …}}.')
        role, content = message["role"], message["content"]
        if role not in ROLES:
            raise ValueError(
                f"{where}: the role {role!r} is unknown; allowed are {', '.join(ROLES)}. Tools are not supported."
            )
        if not isinstance(content, str):
            raise ValueError(f"{where}: the content is a {type(content).__name__}; give a str.")
        if role == "assistant" and not content and not message.get("ids"):
            raise ValueError(f"{where}: an assistant message needs content.")
        if role == "system" and before == "assistant":
            raise ValueError(f"{where}: a system message cannot follow an assistant's; put it before a user's.")
        if message.get("prefix") and (role != "assistant" or i + 1 < len(messages)):
            raise ValueError(f"{where}: only the last message, an assistant's, can have prefix=True.")
        before = role
    if before == "assistant" and not messages[-1].get("prefix"):
        raise ValueError(
            "messages: the last one is the assistant's, so there is nothing to answer. "
            'Add a user message, or mark it with "prefix": True to have it continued.'
        )
    if len(messages) == 1 and before == "assistant":
        raise ValueError("messages: a conversation starts with a user or a system message.")
