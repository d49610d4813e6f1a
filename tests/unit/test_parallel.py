"""Two processes on the gloo backend share one model: logits and tokens of one process, and each holds only its part."""

import json
import os
import subprocess
import sys
from unittest import mock

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from minimistral import CheckpointError, ModelConfig, MoEConfig, Tokenizer, Transformer, generate, load, save
from minimistral.config import PRESETS
from minimistral.conversation import Conversation
from minimistral.parallel import Part, part_config
from minimistral.quantize import KINDS, dequantize_int4, dequantize_int8, is_quantized_name

torch.set_num_threads(1)

SIZES = dict(dim=24, n_layers=2, n_heads=8, n_kv_heads=4, head_dim=6, hidden_dim=20, vocab_size=42)
CASES = {  # changes to SIZES, and the file's layout
    "dense": (dict(), "native"),
    "window": (dict(sliding_window=3), "hub"),
    "tied, odd vocabulary": (dict(tie_embeddings=True, vocab_size=41), "native"),
    "odd vocabulary": (dict(vocab_size=41), "hub"),
    "mixture": (dict(moe=MoEConfig(4, 2), hidden_dim=13), "native"),
    "mixture, window": (dict(moe=MoEConfig(4, 3), sliding_window=5), "hub"),
    "three experts": (dict(moe=MoEConfig(3, 2)), "hub"),
    "one expert a rank": (dict(moe=MoEConfig(2, 2), sliding_window=4), "native"),
    "stacked experts": (dict(moe=MoEConfig(4, 2)), "stacked"),
    "three stacked experts": (dict(moe=MoEConfig(3, 1)), "stacked"),
}
WIDE = dict(dim=64, head_dim=16, hidden_dim=128)  # whole groups of 32 in each half of a row
QUANTIZED = {"halves": (WIDE, "hub"), "experts": (WIDE | dict(moe=MoEConfig(4, 2)), "native")}
LARGE = SIZES | dict(dim=512, n_layers=3, head_dim=256, hidden_dim=1024, vocab_size=3000)  # 69 MB
PROMPTS = [[1, 5, 6, 7, 9, 11, 30], [1, 8], [1, 40, 3, 22]]
BEGIN = f"""
import sys
from pathlib import Path
sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_parallel import *
"""


def torchrun(arguments, n=2, **options):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONUTF8": "1", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n), *arguments]
    return subprocess.run(
        [*map(str, command)], capture_output=True, text=True, encoding="utf-8", env=environment, timeout=240, **options
    )


def write_case(name, folder):
    """The checkpoint of a case, and its model as it was before any file."""
    changes, layout = (CASES | QUANTIZED)[name]
    torch.manual_seed(len(name))
    model = Transformer(ModelConfig(**SIZES | changes)).eval().requires_grad_(False)
    for weight_name, weight in model.named_parameters():
        weight.uniform_(0.5, 2) if "norm" in weight_name else weight.normal_(std=weight.shape[-1] ** -0.5)
    if layout == "stacked":
        write_stacked(model, folder)
    else:
        save(model, folder, layout=layout, max_shard_size=20_000)
    return model


def write_damaged(folder):
    """A tied model with another head in its file, and one with a weight that is no number."""
    for name, changes in (("another head", dict(tie_embeddings=True)), ("not a number", dict())):
        save(Transformer(ModelConfig(**SIZES | changes)), folder / name)
        path = folder / name / "consolidated.safetensors"
        tensors = load_file(path)
        tensors["output.weight"] = tensors["tok_embeddings.weight"] + 1
        tensors["layers.1.feed_forward.w1.weight"][13, 2] = torch.nan
        save_file(tensors, path)


def write_stacked(model, folder):
    """As Mixtral's .pt files have it: the experts of a layer one above the other, w2 transposed."""
    config, state = model.config, dict(model.state_dict())
    for layer in range(config.n_layers):
        before = f"layers.{layer}.feed_forward."
        for w in ("w1", "w2", "w3"):
            one_by_one = [state.pop(f"{before}experts.{e}.{w}.weight") for e in range(config.moe.num_experts)]
            rows = torch.cat([expert.T if w == "w2" else expert for expert in one_by_one])
            state[f"layers.{layer}.block_sparse_moe.{w}"] = rows
        state[f"layers.{layer}.block_sparse_moe.gate.weight"] = state.pop(f"{before}gate.weight")
    folder.mkdir()
    torch.save(state, folder / "consolidated.00.pt")
    sizes = {name: getattr(config, name) for name in SIZES} | dict(norm_eps=config.norm_eps, rope_theta=1e4)
    experts = {"num_experts": config.moe.num_experts, "num_experts_per_tok": config.moe.num_experts_per_tok}
    (folder / "params.json").write_text(json.dumps(sizes | {"moe": experts}))


def results(model):
    """What a model gives: logits of a batch, prefill and steps with a cache, ragged rows, greedy and drawn tokens."""
    tokens = torch.randint(41, (2, 11), generator=torch.Generator().manual_seed(3))
    cache = model.make_cache(2, 11)
    with torch.inference_mode():
        found = {"batch": model(tokens), "last": model(tokens, lengths=torch.tensor([11, 4]), last_only=True)}
        found["prefill"] = model(tokens[:, :6], cache=cache)
        found["steps"] = torch.cat([model(tokens[:, [t]], cache=cache) for t in range(6, 11)], 1)
    found["heads in the cache"] = cache.layers[0].k.shape[1]
    found["greedy"] = generate(model, PROMPTS, max_new_tokens=9, stop_ids=())
    found["drawn"] = generate(model, PROMPTS, max_new_tokens=9, temperature=1.0, seed=5, stop_ids=())
    return found


def on_each_rank(folder):
    """What the script of `two_ranks` does on each rank."""
    from minimistral import ranks
    from minimistral.parallel import load_parallel

    found = {"refused": []}
    with ranks.joined():
        for name in CASES:
            model, tokenizer = load_parallel(folder / name)
            found[name] = results(model) | {
                "weights": {key: value.clone() for key, value in model.state_dict().items()}
            }
            assert tokenizer is None and model.whole.n_heads == 8 and model.config.n_heads == 4
        drawn = [generate(model, PROMPTS, max_new_tokens=20, temperature=5.0, stop_ids=()) for _ in range(2)]
        found["drawn without a seed"] = drawn
        found["bfloat16"] = load_parallel(folder / "dense", dtype="bfloat16")[0].output.weight
        before = private_bytes()
        model, _ = load_parallel(folder / "large")
        found["private"] = private_bytes() - before
        found["held"] = sum(weight.nbytes for weight in model.parameters())
        for bits, name in (("int8", "halves"), ("int4", "halves"), ("int8", "experts"), ("int4", "experts")):
            model, _ = load_parallel(folder / name, quantize=bits)
            found[bits, name] = results(model) | {
                "codes": {key: value.clone() for key, value in model.state_dict().items()}
            }
        nowhere = folder / "nowhere" if ranks.rank() == 1 else folder / "dense"  # wrong on one of two
        dense = folder / "dense"
        for wrong in (
            dict(name_or_path=nowhere),
            dict(name_or_path=dense, device="meta"),
            dict(name_or_path=folder / "three groups", quantize="int4"),
            dict(name_or_path=dense, quantize="int3"),
            dict(name_or_path=folder / "another head"),
            dict(name_or_path=folder / "not a number", quantize="int8"),
        ):
            try:
                load_parallel(**wrong)
            except ValueError as error:
                found["refused"].append(str(error))
        with mock.patch("minimistral.checkpoints.room.available_bytes", lambda device: 10**6):
            try:
                load_parallel(folder / "large")
            except CheckpointError as error:
                found["no room"] = str(error)
    torch.save(found, folder / f"{ranks.rank() or os.environ['RANK']}.pt")


def private_bytes():
    return psutil.Process().memory_full_info().uss if sys.platform == "linux" else 0


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """The models, and what each of two ranks found with its part of them."""
    folder = tmp_path_factory.mktemp("parts")
    models = {name: write_case(name, folder / name) for name in CASES | QUANTIZED}
    save(Transformer(ModelConfig(**SIZES | dict(dim=64, head_dim=12))), folder / "three groups")  # 96 columns of wo
    save(Transformer(ModelConfig(**LARGE)), folder / "large", layout="hub")
    write_damaged(folder)
    (folder / "script.py").write_text(BEGIN + "on_each_rank(Path(sys.argv[1]))", encoding="utf-8")
    done = torchrun([folder / "script.py", folder])
    assert done.returncode == 0, done.stderr
    return models, [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_give_the_logits_and_tokens_of_one(two_ranks, name):
    models, ranks = two_ranks
    expected = results(models[name])
    for rank in ranks:
        for what in ("batch", "last", "prefill", "steps"):
            torch.testing.assert_close(rank[name][what], expected[what], rtol=1e-4, atol=1e-5)
            assert torch.equal(rank[name][what], ranks[0][name][what]), "both have the same bits, or they would part"
        assert rank[name]["greedy"] == expected["greedy"] and rank[name]["drawn"] == expected["drawn"]
        assert rank[name]["heads in the cache"] == 2 and expected["heads in the cache"] == 4


def test_each_rank_holds_its_part_and_together_they_hold_the_model(two_ranks):
    models, ranks = two_ranks
    for name in CASES:
        whole = models[name].state_dict()
        parts = [rank[name]["weights"] for rank in ranks]
        assert parts[0].keys() | parts[1].keys() == whole.keys()
        for key, weight in whole.items():
            held = [part[key] for part in parts if key in part]
            axes = [axis for axis in range(weight.ndim) if held[0].shape[axis] < weight.shape[axis]]
            assert torch.equal(torch.cat(held, axes[0]) if axes else held[0], weight), f"{name}: {key}"
            assert (
                axes
                or len(held) == 1
                or key.split(".")[-2] in ("attention_norm", "ffn_norm", "norm", "gate")
                or (key == "tok_embeddings.weight" or (key == "output.weight" and weight.shape[0] % 2))
            ), f"{name}: {key} is whole on both ranks"


@pytest.mark.parametrize("name", QUANTIZED)
@pytest.mark.parametrize("bits", ["int8", "int4"])
def test_quantized_parts_compute_what_their_codes_say_together(two_ranks, bits, name):
    models, ranks = two_ranks
    parts = [rank[bits, name]["codes"] for rank in ranks]
    restored, whole = {}, models[name].state_dict()
    for key, weight in whole.items():
        stem = key.removesuffix(".weight")
        held = [part[key] for part in parts if key in part]
        if not held:
            assert is_quantized_name(key)
            kind = {"int8": dequantize_int8, "int4": dequantize_int4}[bits]
            held = [kind(part[f"{stem}.q"], part[f"{stem}.scale"]) for part in parts if f"{stem}.q" in part]
        axes = [axis for axis in range(weight.ndim) if held[0].shape[axis] < weight.shape[axis]]
        restored[key] = torch.cat(held, axes[0]) if axes else held[0]
        one = KINDS[bits].from_weight(weight).dequantized() if is_quantized_name(key) else weight
        assert torch.equal(restored[key], one), key  # what one process would have made of it
    float_model = Transformer(models[name].config).eval()
    float_model.load_state_dict(restored)
    expected = results(float_model)
    for rank in ranks:
        for what in ("batch", "last", "prefill", "steps"):
            torch.testing.assert_close(rank[bits, name][what], expected[what], rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(sys.platform != "linux", reason="private memory is read from Linux")
def test_private_memory_is_what_had_to_be_put_in_another_order(two_ranks):
    # Rows are views of the file. wo and w2, cut by columns, and the hub's wq and wk, are copies of this rank's part.
    C, F, rows = 512, 1024 // 2, 8 * 256 // 2
    copies = 3 * 4 * (C * F + C * (rows + rows + rows // 2))
    for rank in two_ranks[1]:
        assert copies < 0.6 * rank["held"]
        assert 0.9 * copies < rank["private"] < copies + 5e6  # wq and wk kept whole would be 9e6 more


def test_without_a_seed_all_ranks_draw_the_same_and_another_time_something_else(two_ranks):
    first, second = (rank["drawn without a seed"] for rank in two_ranks[1])
    assert first == second
    assert first[0] != first[1]


def test_dtype_is_the_callers_and_what_one_rank_cannot_load_every_rank_refuses(two_ranks):
    for i, rank in enumerate(two_ranks[1]):
        assert rank["bfloat16"].dtype == torch.bfloat16 and rank["bfloat16"].shape == (21, 24)
        nowhere, meta, groups, bits, head, number = rank["refused"]
        assert "nowhere" in nowhere and ("process 1 of 2" in nowhere) == (i == 0)
        assert "meta" in meta and "CPU" in meta
        assert "attention.wo" in groups and "(64, 48)" in groups and "group_size=32" in groups
        assert "int3" in bits and "int8" in bits
        assert "another head" in head and "tensor output.weight differs from the embeddings" in head
        # of the 20 rows of w1 the second process has the last ten
        said = "not a number/consolidated.safetensors: tensor layers.1.feed_forward.w1.weight: row 13 holds an infinity"
        assert said in number.replace(os.sep, "/") and ("process 1 of 2" in number) == (i == 0)
        assert "1.0 MB free" in rank["no room"] and "large" in rank["no room"]


@pytest.mark.parametrize("name", CASES)
def test_a_part_is_never_saved_as_if_it_were_the_model(tmp_path, name):
    part = Part(ModelConfig(**SIZES | CASES[name][0]), 0, 2)
    for layout in ("native", "hub"):
        with pytest.raises(CheckpointError, match="one process's part, 4 of 8 heads"):
            save(part, tmp_path / "part", layout=layout)
    assert not list(tmp_path.iterdir())


def test_the_published_models_can_be_cut_among_as_many_as_their_key_heads_allow():
    for name in ("mistral-7b-v0.1", "mistral-7b-v0.3", "mixtral-8x7b-v0.1"):
        config = ModelConfig.preset(name)
        for n in (1, 2, 4, 8):
            with torch.device("meta"):
                parts = [Part(config, rank, n) for rank in range(n)]
            # All weights once, and what is whole on every rank n times.
            held = sum(weight.numel() for part in parts for weight in part.parameters())
            parts_of = config.count_parameters().parts
            assert held == config.count_parameters().total + (n - 1) * sum(
                parts_of[whole] for whole in ("tok_embeddings", "norms", "gate")
            )
            assert parts[0].config.n_kv_heads == 8 // n
            slots = config.sliding_window or 8192
            cache = parts[0].make_cache(1, 8192)
            assert cache.nbytes == config.n_layers * 2 * slots * (8 // n) * 128 * 4
    assert set(PRESETS) >= {"mistral-7b-v0.1", "mixtral-8x7b-v0.1"}


@pytest.mark.parametrize(
    "changes, n, possible",
    [
        (dict(), 3, "1, 2, 4"),  # n_kv_heads = 4
        (dict(), 8, "1, 2, 4"),  # more processes than key/value heads
        (dict(hidden_dim=21), 2, "1"),
        (dict(hidden_dim=21, moe=MoEConfig(4, 2)), 3, "1, 2, 4"),  # whole experts need no even hidden_dim
        (dict(hidden_dim=22, moe=MoEConfig(3, 2)), 4, "1, 2"),
    ],
)
def test_a_number_of_processes_that_does_not_fit_is_told_which_do(changes, n, possible):
    config = ModelConfig(**SIZES | changes)
    with pytest.raises(ValueError, match=rf"{n} processes .*n_kv_heads=4.*Possible: {possible}\. Start"):
        part_config(config, n)
    for m in map(int, possible.split(", ")):
        assert part_config(config, m).n_kv_heads == 4 // m


@pytest.fixture(scope="module")
def chat_folder(tmp_path_factory):
    torch.manual_seed(1)
    model = Transformer(ModelConfig(**SIZES | dict(vocab_size=32_000))).eval().requires_grad_(False)
    for name, weight in model.named_parameters():
        weight.fill_(1.0) if "norm" in name else weight.normal_(std=weight.shape[-1] ** -0.5)
    folder = tmp_path_factory.mktemp("command") / "model"
    save(model, folder, tokenizer=Tokenizer.mistral_v1())
    return folder


def test_chat_under_torchrun_is_one_conversation(chat_folder):
    options = ["--max-new-tokens", 6, "--temperature", 1, "--seed", 2]
    done = torchrun(["-m", "minimistral", "chat", chat_folder, *options], input="Hello\nAnd?\n/reset\nHello\n")
    assert done.returncode == 0, done.stderr
    chat = Conversation(*load(chat_folder))
    first, second = (
        "".join(chat.answer(text, max_new_tokens=6, temperature=1.0, seed=2)) for text in ("Hello", "And?")
    )
    assert done.stdout == f"{first}\n{second}\n{first}\n"
    assert done.stderr.count("starts anew") == 1 and "process 1" not in done.stderr


def test_generate_under_torchrun_writes_once_what_one_process_writes(chat_folder):
    options = ["--max-new-tokens", 6, "--dtype", "float32"]
    done = torchrun(["-m", "minimistral", "generate", chat_folder, "-", *options], input="To be, or")
    assert done.returncode == 0, done.stderr
    model, tokenizer = load(chat_folder)
    ids = tokenizer.encode("To be, or", bos=True)
    assert done.stdout == tokenizer.decode(ids + generate(model, [ids], max_new_tokens=6)[0]) + "\n"


def test_three_processes_are_refused_in_one_line_that_says_how_many_may_be(chat_folder):
    done = torchrun(["-m", "minimistral", "generate", chat_folder, "To be"], n=3)
    assert done.returncode != 0 and done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if "error: " in line]
    assert len(errors) == 1 and "n_kv_heads=4" in errors[0] and "--nproc-per-node 2" in errors[0]
