"""lm-evaluation-harness as an oracle: through the adapter it gives our own numbers, item by item. Needs `minimistral[eval]`."""

import json
import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip("lm_eval", reason="needs pip install 'minimistral[eval]'")

from minimistral import generate
from minimistral.evaluate import negative_log_likelihood
from minimistral.lm_eval_adapter import MinimistralLM, main, write_task
from minimistral.multiple_choice import choice_items, chosen, right, score

torch.set_num_threads(1)
SUBSET = [item for item in choice_items() if item.id.endswith(("-003", "-017", "-058", "-111"))]


@pytest.fixture(scope="module", autouse=True)
def offline(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE"):
            patch.setenv(name, "1")
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hub")))
        yield


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """The task of the course, cut down to a few items of each kind."""
    path = write_task(tmp_path_factory.mktemp("task"))
    lines = path.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1400
    kept = [line for line in lines if json.loads(line)["id"] in {item.id for item in SUBSET}]
    path.with_suffix(".jsonl").write_text("\n".join(kept) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def adapter():
    return MinimistralLM("tiny-mistral", device="cpu", dtype="float32", batch_size=8)


@pytest.fixture(scope="module")
def found(task, adapter, tmp_path_factory):
    from datasets import config
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        manager = TaskManager(include_path=str(task.parent), include_defaults=False)
        return simple_evaluate(
            model=adapter, tasks=["minimistral_choices"], task_manager=manager, bootstrap_iters=0, log_samples=True
        )


def test_accuracies_and_log_likelihoods_are_ours(found, adapter):
    ours = score(adapter.model, adapter.tokenizer, SUBSET)
    samples = {sample["doc"]["id"]: sample for sample in found["samples"]["minimistral_choices"]}
    assert len(samples) == len(SUBSET) == 40
    for item, choices in zip(SUBSET, ours):
        theirs = [float(reply[0]) for reply in samples[item.id]["filtered_resps"]]
        assert theirs == pytest.approx([choice.log_p for choice in choices], abs=1e-4)
        context, *_ = samples[item.id]["arguments"]["gen_args_0"].values() if isinstance(
            samples[item.id]["arguments"], dict) else samples[item.id]["arguments"][0]  # fmt: skip
        assert context == item.prompt
    for rule, metric in (("sum", "acc"), ("per byte", "acc_bytes")):
        answers = right(SUBSET, chosen(ours, rule))
        assert [samples[item.id][metric] for item in SUBSET] == answers
        assert found["results"]["minimistral_choices"][f"{metric},none"] == pytest.approx(sum(answers) / len(answers))


def test_the_harness_cuts_prompt_and_choice_at_the_same_token(adapter):
    """lm_eval's own rule for the seam, on every item of the set."""
    from lm_eval.api.model import TemplateLM

    from minimistral.multiple_choice import continuation_ids

    class Theirs(TemplateLM):
        eot_token_id = 2
        tok_encode = staticmethod(lambda text, **_: adapter.tokenizer.encode(text, bos=True))
        _loglikelihood_tokens = loglikelihood_rolling = generate_until = None

    pairs = [(item.prompt, choice) for item in choice_items() for choice in item.choices]
    pairs += [(prompt, choice) for prompt in ("x = ", "Two  spaces  ", "def f():\n    ", "Q: why?\nA:\n", "tab\t", " ", "\n")
              for choice in ("12", "foo", " and more", "é")]  # fmt: skip
    for prompt, choice in pairs:
        assert Theirs()._encode_pair(prompt, choice) == continuation_ids(adapter.tokenizer, prompt, choice)


class Request:
    def __init__(self, *args):
        self.args = args


def test_whole_texts_get_what_evaluate_gives_them(adapter):
    text = "Call me Ishmael. Some years ago"
    [log_p] = adapter.loglikelihood_rolling([Request(text)])
    assert log_p == -negative_log_likelihood(adapter.model, adapter.tokenizer.encode(text, bos=True))
    assert adapter.loglikelihood_rolling([Request(""), Request(text)]) == [0.0, log_p]


def test_a_whole_text_is_a_choice_after_nothing(adapter):
    text = "Call me Ishmael. Some years ago"
    [(log_p, greedy)] = adapter.loglikelihood([Request("", text)])
    assert log_p == pytest.approx(adapter.loglikelihood_rolling([Request(text)])[0], abs=1e-4) and not greedy


def test_text_is_written_up_to_the_first_stop(adapter):
    prompt = "MACBETH:\nI have"
    ids = adapter.tokenizer.encode(prompt, bos=True)
    [new] = generate(adapter.model, [ids], 20)
    whole = adapter.tokenizer.decode(ids + new)[len(prompt) :]
    assert adapter.generate_until([Request(prompt, {"max_gen_toks": 20, "until": []})]) == [whole]
    stop = whole[len(whole) // 2 :][:3]
    [short] = adapter.generate_until([Request(prompt, {"max_gen_toks": 20, "until": ["no such text", stop]})])
    assert short == whole[: whole.index(stop)]


def test_a_task_says_how_to_write_in_its_own_words(adapter):
    prompt, five = "The sea", {"until": [""], "max_gen_toks": 5}  # an empty stop stops nothing

    def written(**options):
        return adapter.generate_until([Request(prompt, options)])[0]

    short = written(**five)
    assert len(short) > 5
    for name in ("max_new_tokens", "max_tokens", "max_completion_tokens"):
        assert written(**{name: 5}) == short
    assert written(**five, do_sample=False, temperature=0.7) == written(**five, temperature=0.0) == short
    assert written(**five, do_sample=True, temperature=0.8, top_k=1) == short
    for options in (dict(temperature=1.5), dict(do_sample=True)):
        torch.manual_seed(0)
        drawn = [written(**five, **options) for _ in range(4)]
        torch.manual_seed(0)
        assert [written(**five, **options) for _ in range(4)] == drawn and len(set(drawn)) > 1


def test_what_is_to_be_written_has_its_room_in_max_length():
    adapter = MinimistralLM("tiny-mistral", device="cpu", max_length=8)
    long = "The sea, the sea, the sea, the sea"
    kept = adapter.tokenizer.encode(long)[-3:]
    assert adapter._cut(adapter.tokenizer.encode(long), [], 4) == ([1, *kept], [])
    [new] = generate(adapter.model, [[1, *kept]], 4)
    text = adapter.tokenizer.decode([1, *kept, *new])[len(adapter.tokenizer.decode([1, *kept])) :]
    assert adapter.generate_until([Request(long, {"max_gen_toks": 4})]) == [text]


def test_a_prompt_that_is_too_long_loses_its_beginning_not_its_bos():
    adapter = MinimistralLM("tiny-mistral", device="cpu", max_length=6)
    assert adapter._cut([1, 10, 11, 12, 13], [14, 15]) == ([1, 11, 12, 13], [14, 15])
    assert adapter._cut([1, 10], [14, 15]) == ([1, 10], [14, 15])
    with pytest.raises(ValueError, match="whole number of 1 or more"):
        MinimistralLM("tiny-mistral", batch_size="auto")
    with pytest.raises(ValueError, match="max_length=1"):
        MinimistralLM("tiny-mistral", max_length=1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_the_device_that_lm_eval_gives_unasked_is_no_demand():
    assert next(MinimistralLM("tiny-mistral", device="cuda:0").model.parameters()).device.type in ("cpu", "mps")
    with pytest.raises(ValueError, match="device"):
        MinimistralLM("tiny-mistral", device="abacus")


def test_lm_eval_s_own_command_line_knows_the_model_by_its_name(task, adapter, tmp_path):
    """As a reader types it: offline, some items only, the samples kept."""
    arguments = ["--model", "minimistral", "--model_args", "pretrained=tiny-mistral,dtype=float32", "--device", "cpu"]
    arguments += [
        "--tasks",
        "minimistral_choices",
        "--include_path",
        str(task.parent),
        "--limit",
        "6",
        "--batch_size",
        "2",
    ]
    arguments += ["--log_samples", "--output_path", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "minimistral.lm_eval_adapter", "run", *arguments],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "HF_HOME": str(tmp_path / "hub")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    [written] = (tmp_path / "out").rglob("samples_*.jsonl")
    samples = sorted(map(json.loads, written.read_text(encoding="utf-8").splitlines()), key=lambda s: s["doc_id"])
    ours = score(adapter.model, adapter.tokenizer, SUBSET[:6])
    assert [sample["doc"]["id"] for sample in samples] == [item.id for item in SUBSET[:6]]
    for sample, choices in zip(samples, ours):
        theirs = [float(reply[0]) for reply in sample["filtered_resps"]]
        assert theirs == pytest.approx([choice.log_p for choice in choices], abs=1e-4)
    assert "|minimistral_choices|" in done.stdout and "acc_bytes" in done.stdout


def test_the_command_writes_a_task_and_explains_itself(tmp_path, capsys):
    assert main(["task", str(tmp_path / "new")]) == 0
    assert (tmp_path / "new" / "minimistral_choices.yaml").exists()
    assert main([]) == 2 and "pip install" in capsys.readouterr().out
