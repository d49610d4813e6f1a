"""lm-evaluation-harness as an oracle: through the adapter it gives our own numbers, item by item. Needs `minimistral[eval]`."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("lm_eval", reason="needs pip install 'minimistral[eval]'")

from minimistral import ModelConfig, Tokenizer, Transformer, generate, save
from minimistral.evaluate import negative_log_likelihood
from minimistral.lm_eval_adapter import MinimistralLM, main, up_to_a_stop, write_task
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


def text_the_slow_way(tokenizer, ids, written, stops):
    """All of it decoded anew after every token: the text, and how many tokens were taken."""
    before, text, n = tokenizer.decode(ids), "", 0
    for n in range(1, len(written) + 1):
        text = tokenizer.decode(ids + written[:n])[len(before) :]
        if any(stop in text for stop in stops):
            break
    return text[: min((text.index(stop) for stop in stops if stop in text), default=len(text))], n


@pytest.mark.parametrize("seed", range(40))
def test_each_token_is_decoded_once_and_the_text_is_that_of_the_slow_way(adapter, seed):
    """Prompts and texts of whole and half characters; stops that lie across tokens, in one another, and nowhere."""
    draw, tokenizer = random.Random(seed), adapter.tokenizer
    ids = tokenizer.encode(draw.choice(["", " ", "x", "The sea ", "é", "日本", "🙂", "a\n", "\n"]))
    pieces = tokenizer.encode("日本🙂é ünd the sea, and\n\nthe sea. ", bos=False) * 6
    written = pieces[draw.randrange(len(pieces) // 2) :] if seed % 2 else draw.choices(pieces, k=80)
    whole, _ = text_the_slow_way(tokenizer, ids, written, [])
    stops = ["no such text"]
    for _ in range(draw.randrange(4)):
        at = draw.randrange(len(whole))
        stops.append(whole[at : at + draw.choice((1, 2, 3, 8, 30))].replace("\ufffd", "x"))
    taken = []
    parts = adapter._after(ids[-1], (taken.append(id) or id for id in written))
    found = up_to_a_stop(parts, stops)
    assert (found, len(taken)) == text_the_slow_way(tokenizer, ids, written, stops)


def test_no_token_is_decoded_twice(adapter, monkeypatch):
    decoded, one = [], adapter.tokenizer._bytes
    monkeypatch.setattr(adapter.tokenizer, "_bytes", lambda id: decoded.append(id) or one(id))
    prompt = "The sea, " * 20
    text = adapter.generate_until([Request(prompt, {"max_gen_toks": 50, "until": ["no such text"]})])[0]
    assert len(text) > 50 and len(decoded) <= 52  # the prompt's last token, twice, and each new one


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
    with pytest.raises(ValueError, match="max_length=1"):
        MinimistralLM("tiny-mistral", max_length=1)


def test_how_many_rows_are_read_together():
    for given, most, rows in ((3, None, 3), ("7", 2, 7), ("auto", None, 16), ("auto", 4, 4), ("auto:3", 64, 16)):
        assert MinimistralLM("tiny-mistral", batch_size=given, max_batch_size=most).batch_size == rows
    for given in (0, "-1", "many", "1.5", "automatic"):
        with pytest.raises(ValueError, match=f"batch_size='?{given}'?: give a whole number of 1 or more, or 'auto'"):
            MinimistralLM("tiny-mistral", batch_size=given)
    with pytest.raises(ValueError, match="max_batch_size=0"):
        MinimistralLM("tiny-mistral", batch_size="auto", max_batch_size=0)


USER, SYSTEM = {"role": "user", "content": "Who? [INST]"}, {"role": "system", "content": "Be brief."}
TURNS = [SYSTEM, USER, {"role": "assistant", "content": "I."}, {"role": "user", "content": "Who else?"}]


@pytest.fixture(scope="module", params=["v1", "v3"])
def chatting(request, tmp_path_factory):
    """An adapter of a random model whose tokenizer has a chat format, and mistral_common's tokenizer of that version."""
    mistral_common = pytest.importorskip("mistral_common")
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    files = {"v1": "tokenizer.model.v1", "v3": "mistral_instruct_tokenizer_240323.model.v3"}
    tokenizer = Tokenizer(Path(mistral_common.__file__).parent / "data" / files[request.param])
    torch.manual_seed(3)
    sizes = dict(dim=16, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=8, hidden_dim=24)
    model = Transformer(ModelConfig(**sizes, vocab_size=tokenizer.vocab_size))
    folder = tmp_path_factory.mktemp("chat") / "model"
    save(model, folder, tokenizer=tokenizer)
    theirs = getattr(MistralTokenizer, request.param)()
    return MinimistralLM(str(folder), device="cpu", dtype="float32"), theirs


def chat_ids_of(theirs, messages):
    from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, UserMessage
    from mistral_common.protocol.instruct.request import ChatCompletionRequest

    kinds = {"user": UserMessage, "assistant": AssistantMessage, "system": SystemMessage}
    made = [kinds[m["role"]](**{key: value for key, value in m.items() if key != "role"}) for m in messages]
    return theirs.encode_chat_completion(ChatCompletionRequest(messages=made)).tokens


def log_p(model, given, scored):
    with torch.inference_mode():
        found = model(torch.tensor([given + scored])).log_softmax(-1)[0]
    return sum(float(found[len(given) + i - 1, id]) for i, id in enumerate(scored))


def test_a_chat_is_asked_in_the_ids_of_mistral_common(chatting):
    adapter, theirs = chatting
    encode = theirs.instruct_tokenizer.tokenizer.encode
    for messages in ([USER], [SYSTEM, USER], TURNS):
        chat, given = adapter.apply_chat_template(messages), chat_ids_of(theirs, messages)
        assert isinstance(chat, str) and json.loads(chat) == messages
        for choice in ("A", "yes and no", "日本"):
            scored = encode(choice, bos=False, eos=False)
            assert adapter._pair(chat, choice) == (given, scored)
            [(found, _)] = adapter.loglikelihood([Request(chat, choice)])
            assert found == pytest.approx(log_p(adapter.model, given, scored), abs=1e-4)
        [new] = generate(adapter.model, [given], 12)
        assert adapter.generate_until([Request(chat, {"max_gen_toks": 12})]) == [adapter.tokenizer.decode(new)]
        assert adapter._pair(str(chat), "A") != adapter._pair(chat, "A"), "the same letters as a plain text are one"


def test_an_answer_that_is_begun_is_gone_on_with(chatting):
    adapter, theirs = chatting
    begun = [*TURNS, {"role": "assistant", "content": "Answer:"}]
    chat = adapter.apply_chat_template(begun, add_generation_prompt=False)
    for choice in (" A", " B and C"):
        whole = chat_ids_of(theirs, [*TURNS, {"role": "assistant", "content": f"Answer:{choice}", "prefix": True}])
        given, scored = adapter._pair(chat, choice)
        assert given + scored == whole and adapter.tokenizer.decode(scored) == choice.strip()
    given = chat_ids_of(theirs, [*TURNS, {**begun[-1], "prefix": True}])
    [new] = generate(adapter.model, [given], 5)
    assert adapter.generate_until([Request(chat, {"max_gen_toks": 5})]) == [adapter.tokenizer.decode(new)]


def test_what_cannot_be_asked_in_a_chat(chatting, adapter):
    chatty, _ = chatting
    with pytest.raises(ValueError, match="nothing to score"):
        chatty.loglikelihood([Request(chatty.apply_chat_template([USER]), "")])
    with pytest.raises(ValueError, match="nothing to answer"):
        chatty.apply_chat_template([USER, {"role": "assistant", "content": "I."}])
    with pytest.raises(ValueError, match="has no chat template"):
        adapter.apply_chat_template([USER])
    version = chatty.tokenizer.version
    assert chatty.chat_template(False) == "" and version in chatty.chat_template(True) == chatty.chat_template(version)
    with pytest.raises(ValueError, match=f"tool_use: this tokenizer has the chat format {version}"):
        chatty.chat_template("tool_use")


@pytest.mark.parametrize("shots, multiturn", [(0, False), (2, True)])
def test_the_harness_asks_in_chats(task, chatting, tmp_path, shots, multiturn):
    from datasets import config
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    adapter, theirs = chatting
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "HF_DATASETS_CACHE", tmp_path)
        found = simple_evaluate(
            model=adapter, tasks=["minimistral_choices"], num_fewshot=shots, limit=3, bootstrap_iters=0, log_samples=True,
            task_manager=TaskManager(include_path=str(task.parent), include_defaults=False), apply_chat_template=True,
            system_instruction="Go on.", fewshot_as_multiturn=multiturn,
        )  # fmt: skip
    for sample in found["samples"]["minimistral_choices"]:
        for (chat, choice), (said, _) in zip(sample["arguments"], sample["filtered_resps"], strict=True):
            messages = json.loads(chat)
            assert messages[0] == {"role": "system", "content": "Go on."} and len(messages) == 2 + 2 * shots
            assert messages[-1] == {"role": "user", "content": sample["doc"]["prompt"]}
            given = chat_ids_of(theirs, messages)
            scored = chat_ids_of(theirs, [*messages, {"role": "assistant", "content": choice, "prefix": True}])[
                len(given) :
            ]
            assert float(said) == pytest.approx(log_p(adapter.model, given, scored), abs=1e-4)


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
