"""Our models under lm-evaluation-harness, the program that most published scores come from (lm_eval 0.4.13).

    pip install "minimistral[eval]"
    python -m minimistral.lm_eval_adapter task FOLDER          # the course's own set as a task: a YAML file and its JSONL
    python -m minimistral.lm_eval_adapter run --model minimistral --model_args pretrained=tiny-mistral \\
        --tasks minimistral_choices --include_path FOLDER      # offline; everything after `run` is lm_eval's own
    python -m minimistral.lm_eval_adapter run --model minimistral --num_fewshot 5 --tasks mmlu \\
        --model_args pretrained=mistralai/Mistral-7B-v0.1      # connected: fetches the model and the questions

An Instruct model is asked in its chat format with lm_eval's own --apply_chat_template (and --fewshot_as_multiturn true):
in the ids of `Tokenizer.encode_chat`, which no text that lm_eval could pass on would give.

Source of the interface: https://github.com/EleutherAI/lm-evaluation-harness/blob/main/docs/model_guide.md
"""

import json
import os
import sys
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path

import torch
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from tqdm.auto import tqdm

from minimistral import load, stream
from minimistral.evaluate import negative_log_likelihood
from minimistral.multiple_choice import choice_items, continuation_ids, cut_where_they_part, log_likelihoods

TASK = """\
task: minimistral_choices
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{prompt}}}}"
doc_to_choice: choices
doc_to_target: answer
target_delimiter: ""
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
  - metric: acc_bytes
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""
# how tasks say how much to write, each in its own word
LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
AUTO_BATCH = 16  # rows: what "auto" stands for
show = partial(tqdm, delay=2, leave=False)


class Chat(str):
    """A conversation on its way from `apply_chat_template` to a request, which wants a text: its messages as JSON."""


@register_model("minimistral")
class MinimistralLM(LM):
    """What lm_eval asks of a model: log-likelihoods of continuations, of whole texts, and text up to a stop.

    pretrained: what `minimistral.load` takes. max_length: prompts are cut on the left until they and what follows are so
    many tokens, their bos kept and the choice whole; None never cuts. Each text begins with one bos, as in the course.
    batch_size: rows that are read together, or "auto": 16, or max_batch_size if that is less.
    """

    def __init__(self, pretrained: str = "tiny-mistral", device: str | None = None, dtype: str = "auto",
                 batch_size: int | str = "auto", max_length: int | None = None, quantize: str | None = None,
                 max_batch_size: int | None = None):  # fmt: skip
        super().__init__()
        if str(device).startswith("cuda") and not torch.cuda.is_available():
            device = None  # lm_eval says cuda:0 where nobody said anything
        self.model, self.tokenizer = load(pretrained, device=device or "auto", dtype=dtype, quantize=quantize)
        if self.tokenizer is None:
            raise ValueError(
                f"{pretrained} comes without a tokenizer.model: lm_eval asks in text. Give a folder with one."
            )
        if max_length is not None and max_length < 2:
            raise ValueError(f"max_length={max_length}: give 2 tokens or more (bos and one besides), or None.")
        self.batch_size, self.max_length = _rows(batch_size, max_batch_size), max_length

    def loglikelihood(self, requests: list) -> list[tuple[float, bool]]:
        """(Σ log p of the continuation in nats, whether it is what the model would write) for each (context, continuation)."""
        pairs = [self._cut(*self._pair(*request.args)) for request in requests]
        return log_likelihoods(self.model, pairs, self.batch_size, partial(show, desc="choices", unit="batch"))

    def loglikelihood_rolling(self, requests: list) -> list[float]:
        """Σ log p of each whole text, from bos on, in nats; read through the rolling cache, never cut. 0 for an empty text.

        lm_eval's own hf model puts bos before what its tokenizer gives, which for Mistral's begins with bos already: there
        the first token is a second bos, and its surprise is counted.
        """
        texts = [request.args[0] for request in requests]
        return [
            -negative_log_likelihood(self.model, self.tokenizer.encode(text, bos=True)) if text else 0.0
            for text in show(texts, desc="texts", unit="text")
        ]

    def generate_until(self, requests: list) -> list[str]:
        """What the model writes after each context, up to the first of its stop texts, eos, or max_gen_toks (256) tokens.

        As a task asks: greedily, or with do_sample or a temperature above 0 by temperature, top_p and top_k, drawn from
        seeds that torch's generator gives (lm_eval sets it by --seed).
        """
        return [self._write(*request.args) for request in show(requests, desc="texts written", unit="text")]

    def _write(self, context: str, options: dict) -> str:
        until = options.get("until") or []
        stops = [stop for stop in ([until] if isinstance(until, str) else until) if stop]
        limit = next((int(options[name]) for name in LIMITS if options.get(name) is not None), 256)
        is_chat = isinstance(context, Chat)
        given = self.tokenizer.encode_chat(json.loads(context)) if is_chat else self.tokenizer.encode(context, bos=True)
        ids, _ = self._cut(given, [], limit)
        written = stream(self.model, ids, limit, stop_ids=self.tokenizer.eos_id, **_drawing(options))
        parts = self.tokenizer.decode_stream(written) if is_chat else self._after(ids[-1], written)
        return up_to_a_stop(parts, stops)

    def _after(self, last: int, written: Iterator[int]) -> Iterator[str]:
        """The text of what is written after a token, in parts; a space that it begins with stays."""
        n_before = len(self.tokenizer.decode([last]))
        for part in self.tokenizer.decode_stream(chain([last], written)):
            part, n_before = part[n_before:], max(0, n_before - len(part))
            yield part

    def _pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """What is given and what is scored; of a chat, what the assistant says next."""
        if not isinstance(context, Chat):
            return continuation_ids(self.tokenizer, context, continuation)
        messages = json.loads(context)
        begun = messages.pop()["content"] if messages[-1].get("prefix") else ""

        def ids(answer: str) -> list[int]:
            said = [{"role": "assistant", "content": answer, "prefix": True}] if answer else []
            return self.tokenizer.encode_chat([*messages, *said])

        before, whole = ids(begun.rstrip()), ids(begun + continuation)
        if whole == before:
            raise ValueError(f"a choice, {continuation!r}, is no answer in a chat: there is nothing to score.")
        return cut_where_they_part(before, whole)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> Chat:
        """The conversation for a request; without add_generation_prompt its last message is an answer to be continued."""
        opened = {} if add_generation_prompt else {"prefix": True}
        messages = [*chat_history[:-1], {**chat_history[-1], **opened}]
        self.tokenizer.encode_chat(messages)  # ValueError here, before anything is read
        return Chat(json.dumps(messages, ensure_ascii=False))

    def chat_template(self, chat_template: bool | str = False) -> str:
        """What lm_eval notes beside its results. A tokenizer has one template: ValueError where another is named."""
        if isinstance(chat_template, str) and chat_template != self.tokenizer.version:
            raise ValueError(
                f"--apply_chat_template {chat_template}: this tokenizer has the chat format {self.tokenizer.version}. "
                "Give no name."
            )
        return self.tokenizer_name if chat_template else ""

    @property
    def tokenizer_name(self) -> str:
        """The chat format, for lm_eval's notes and caches."""
        return f"Mistral's chat format {self.tokenizer.version}"

    def _cut(self, given: list[int], scored: list[int], new: int = 0) -> tuple[list[int], list[int]]:
        """Room is left for what is scored, and for `new` tokens to write."""
        room = None if self.max_length is None else self.max_length - len(scored) - new - 1
        if room is None or len(given) - 1 <= room:
            return given, scored
        return given[:1] + given[len(given) - max(room, 0) :], scored


def up_to_a_stop(parts: Iterator[str], stops: list[str]) -> str:
    """The text that parts make together, up to the first of the stops; no part is taken after that.

    A stop is looked for only where it can have become whole with the newest part.
    """
    longest, text = max(map(len, stops), default=0), ""
    for part in parts:
        start = max(0, len(text) - longest + 1)
        text += part
        if found := [at for stop in stops if (at := text.find(stop, start)) >= 0]:
            return text[: min(found)]
    return text


def _rows(batch_size: int | str, most: int | None) -> int:
    """How many rows are read together; ValueError for what is no number of rows."""
    if most is not None and most < 1:
        raise ValueError(f"max_batch_size={most}: give a whole number of 1 or more, or None.")
    if str(batch_size).partition(":")[0] == "auto":  # "auto:4": four times anew, which a fixed number needs not
        return min(AUTO_BATCH, most or AUTO_BATCH)
    if not str(batch_size).isdecimal() or int(batch_size) < 1:
        raise ValueError(f"batch_size={batch_size!r}: give a whole number of 1 or more, or 'auto'.")
    return int(batch_size)


def _drawing(options: dict) -> dict:
    """How to choose the next token, in the words of `stream`, from a task's options."""
    asked = options.get("do_sample")
    temperature = options.get("temperature")
    if asked is False or not (asked or temperature):
        return {"temperature": 0.0}
    return {
        "temperature": 1.0 if temperature is None else float(temperature),
        "top_p": float(options.get("top_p") or 1.0),
        "top_k": options.get("top_k") or None,
        "seed": int(torch.randint(2**31, ())),
    }


def write_task(folder: str | Path) -> Path:
    """The course's multiple-choice set as a task named minimistral_choices; the path of its YAML file."""
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "minimistral_choices.jsonl"
    lines = [json.dumps(vars(item), ensure_ascii=False) for item in choice_items()]
    data.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    task = folder / "minimistral_choices.yaml"
    task.write_text(TASK.format(data=json.dumps(str(data))), encoding="utf-8")
    return task


def main(arguments: list[str]) -> int:
    """`task FOLDER` or `run …`; everything after `run` goes to lm_eval as it is."""
    if len(arguments) == 2 and arguments[0] == "task":
        print(f"{write_task(arguments[1])}: give its folder to --include_path.")
        return 0
    if arguments[:1] != ["run"]:
        print(__doc__)
        return 2
    from lm_eval.__main__ import cli_evaluate

    # run as a script, this file is __main__; lm_eval then knows the model by its registered name
    sys.argv = ["lm_eval", *arguments]
    cli_evaluate()
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(main(sys.argv[1:]))
