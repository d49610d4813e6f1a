"""Our models under lm-evaluation-harness, the program that most published scores come from (lm_eval 0.4.13).

    pip install "minimistral[eval]"
    python -m minimistral.lm_eval_adapter task FOLDER          # the course's own set as a task: a YAML file and its JSONL
    python -m minimistral.lm_eval_adapter run --model minimistral --model_args pretrained=tiny-mistral \\
        --tasks minimistral_choices --include_path FOLDER      # offline; everything after `run` is lm_eval's own
    python -m minimistral.lm_eval_adapter run --model minimistral --num_fewshot 5 --tasks mmlu \\
        --model_args pretrained=mistralai/Mistral-7B-v0.1      # connected: fetches the model and the questions

Source of the interface: https://github.com/EleutherAI/lm-evaluation-harness/blob/main/docs/model_guide.md
"""

import json
import os
import sys
from pathlib import Path

import torch
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model

from minimistral import load, stream
from minimistral.evaluate import negative_log_likelihood
from minimistral.multiple_choice import choice_items, continuation_ids, log_likelihoods

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
  - metric: acc_bytes
metadata:
  version: 1.0
"""


@register_model("minimistral")
class MinimistralLM(LM):
    """What lm_eval asks of a model: log-likelihoods of continuations, of whole texts, and text up to a stop.

    pretrained: what `minimistral.load` takes. max_length: prompts are cut on the left to so many tokens, their bos kept;
    None never cuts. One token sequence begins each text (bos), as in the course.
    """

    def __init__(self, pretrained: str = "tiny-mistral", device: str | None = None, dtype: str = "auto",
                 batch_size: int | str = 16, max_length: int | None = None, quantize: str | None = None,
                 max_batch_size: int | None = None):  # fmt: skip
        super().__init__()
        if str(device).startswith("cuda") and not torch.cuda.is_available():
            device = None  # lm_eval says cuda:0 where nobody said anything
        self.model, self.tokenizer = load(pretrained, device=device or "auto", dtype=dtype, quantize=quantize)
        if self.tokenizer is None:
            raise ValueError(
                f"{pretrained} comes without a tokenizer.model: lm_eval asks in text. Give a folder with one."
            )
        if not str(batch_size).isdecimal() or int(batch_size) < 1:
            raise ValueError(f"batch_size={batch_size!r}: give a whole number of 1 or more ('auto' is not known here).")
        self.batch_size, self.max_length = int(batch_size), max_length

    def loglikelihood(self, requests: list) -> list[tuple[float, bool]]:
        """(Σ log p of the continuation in nats, whether it is what the model would write) for each (context, continuation)."""
        pairs = [self._cut(*continuation_ids(self.tokenizer, *request.args)) for request in requests]
        return log_likelihoods(self.model, pairs, self.batch_size)

    def loglikelihood_rolling(self, requests: list) -> list[float]:
        """Σ log p of each whole text, from bos on, in nats; read through the rolling cache, never cut."""
        return [
            -negative_log_likelihood(self.model, self.tokenizer.encode(request.args[0], bos=True))
            for request in requests
        ]

    def generate_until(self, requests: list) -> list[str]:
        """What the model writes after each context, up to the first of its stop texts or max_gen_toks (256) tokens."""
        return [self._write(context, dict(options)) for context, options in (request.args for request in requests)]

    def _write(self, context: str, options: dict) -> str:
        until = options.get("until") or []
        stops = [until] if isinstance(until, str) else list(until)
        temperature = options.get("temperature", 0.0) if options.get("do_sample") else 0.0
        ids, _ = self._cut(self.tokenizer.encode(context, bos=True), [])
        written: list[int] = []
        text = ""
        for id in stream(
            self.model, ids, options.get("max_gen_toks", 256), temperature=temperature, stop_ids=self.tokenizer.eos_id
        ):
            written.append(id)
            text = self.tokenizer.decode(ids + written)[len(self.tokenizer.decode(ids)) :]
            if any(stop in text for stop in stops):
                break
        return text[: min((text.index(stop) for stop in stops if stop in text), default=len(text))]

    def _cut(self, given: list[int], scored: list[int]) -> tuple[list[int], list[int]]:
        room = None if self.max_length is None else self.max_length - len(scored) - 1
        if room is None or len(given) - 1 <= room:
            return given, scored
        return given[:1] + given[len(given) - max(room, 0) :], scored


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
