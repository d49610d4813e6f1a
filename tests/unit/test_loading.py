"""What a plan loads, and what the options of `generate` and `chat` choose: on this CPU, with machines that are not here."""

import io
import re
import sys
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close
from typer.testing import CliRunner

import minimistral.plan
from minimistral import MoEConfig, Tokenizer, expert_stores, generate, load, loading, save
from minimistral.checkpoints import read
from minimistral.checkpoints.bar import loading_bar
from minimistral.checkpoints.errors import CheckpointError
from minimistral.checkpoints.place import find_folder
from minimistral.cli import app
from minimistral.expert_stores import FileStore, HostStore
from minimistral.loading import choose, load_planned, stored_dtype, torchrun
from minimistral.machine import Gpu, Machine
from minimistral.memory import ROOM, weight_bytes, whole_bytes
from minimistral.plan import Plan, plan, plan_offload

torch.set_num_threads(1)

SIZES = dict(dim=32, n_layers=3, n_heads=4, n_kv_heads=2, head_dim=8, hidden_dim=64, vocab_size=30)
EXPERT = {None: 3 * 32 * 64 * 4, "int4": 3 * 32 * 64 // 2 + 3 * 64 * 2}  # bytes in float32, and in int4 with its scales
PLANNED = Plan("cpu", "float32", None, None, 0, None, 10**6, None, "So.")


@pytest.fixture(scope="module")
def folder(random_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("loading") / "mixture"
    save(random_model(SIZES, moe=MoEConfig(4, 2)), path)
    return path


def room_for(n_experts, quantize, config):
    """A machine whose memory holds everything but experts, and so many of these and a bit."""
    rest = whole_bytes(config, "float32", quantize) - 12 * EXPERT[quantize]
    free = int((rest + (n_experts + 0.9) * EXPERT[quantize]) / ROOM)
    return Machine(1, free, free, 10**12, (), 1e9)


@pytest.mark.parametrize("quantize", [None, "int4"])
@pytest.mark.parametrize("where", ["memory", "disk"])
def test_an_offloading_plan_is_loaded_as_it_says(folder, where, quantize):
    plain, _ = load(folder, "cpu", quantize=quantize)
    n_in_memory = 12 if where == "memory" else 0
    here = room_for(5 + n_in_memory, quantize, plain.config)
    planned = plan_offload(folder, where, "cpu", "float32", quantize, here)
    for _ in range(2):  # the second time the file is there
        model, tokenizer = load_planned(folder, planned)
        assert tokenizer is None and model.expert_cache.capacity == 5
        assert isinstance(model.expert_cache.store, HostStore if where == "memory" else FileStore)
        with torch.no_grad():
            assert_close(model(torch.arange(20)[None]), plain(torch.arange(20)[None]), rtol=1e-4, atol=1e-4)
    if where == "disk" and quantize:
        packed, there = (folder / "experts-int4.bin").stat().st_size, weight_bytes(plain.config, "bfloat16")
        full = minimistral.plan._machine_for(folder, plain.config, replace(here, disk_free=0))
        assert packed > 12 * EXPERT["int4"] and full.disk_free == there + packed  # neither needs room once more


@pytest.mark.parametrize("whose", ["the library's", "read-only"])
def test_packed_experts_lie_elsewhere_where_a_folder_takes_no_files(folder, tmp_path, monkeypatch, whose):
    name = "tiny-mixtral" if whose == "the library's" else folder
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new" / "cache"))
    if whose == "read-only":
        monkeypatch.setattr(minimistral.plan.os, "access", lambda *_: False)  # whoever tests as root may write anywhere
    planned = replace(PLANNED, offload="disk", quantize="int8", bytes_needed=10**9)
    before = sorted(find_folder(name).iterdir())
    model, _ = load_planned(name, planned)
    [packed] = (tmp_path / "new" / "cache").rglob("experts-int8.bin")
    assert sorted(find_folder(name).iterdir()) == before and isinstance(model.expert_cache.store, FileStore)
    assert packed.parent.name.startswith(find_folder(name).name + "-")
    read_at = packed.stat().st_mtime_ns
    load_planned(name, planned)
    assert packed.stat().st_mtime_ns == read_at  # written once
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(CheckpointError, match="cannot be written"):
        load_planned(name, planned)


def test_other_plans_are_load(folder):
    assert load_planned(folder, replace(PLANNED, layers=2))[0].config.n_layers == 2
    assert load_planned("tiny-mistral", replace(PLANNED, dtype="bfloat16"))[0].norm.weight.dtype == torch.bfloat16
    with pytest.raises(ValueError, match="2 GPUs"):
        load_planned(folder, replace(PLANNED, n_gpus=2))
    assert stored_dtype(folder) == "float32"


def test_what_no_expert_is_never_held_in_floats(folder, monkeypatch):
    """Quantized as it is read: `quantize_` on the loaded model finds nothing left."""
    from minimistral import offload

    monkeypatch.setattr(offload, "quantize_", lambda *_: pytest.fail("floats were loaded first"))
    planned = plan_offload(folder, "memory", "cpu", "float32", "int8", Machine(1, 10**9, 10**9, 10**12))
    model, _ = load_planned(folder, planned)
    assert type(model.layers[0].attention.wq).__name__ == type(model.output).__name__ == "Int8Linear"


def test_a_bar_counts_what_is_read_wherever_a_plan_keeps_it(folder, monkeypatch):
    counted = []

    class Counting(loading_bar.func):
        def __init__(self, *args, **options):
            super().__init__(*args, **options | {"disable": False, "file": io.StringIO()})
            counted.append(self)

    for module in (read, expert_stores):
        monkeypatch.setattr(module, "loading_bar", Counting)
    (folder / "experts-int8.bin").unlink(missing_ok=True)
    for quantize, where in ((None, None), ("int8", None), ("int8", "host"), ("int8", "disk")):
        load_planned(folder, replace(PLANNED, quantize=quantize, offload=where, bytes_needed=10**8))
    (folder / "experts-int8.bin").unlink()
    n_tensors = 3 + 3 * (4 + 2 + 1 + 4 * 3)
    assert [(bar.n, bar.total) for bar in counted] == [(n_tensors, n_tensors)] * 2 + [(12, 12)] * 2


def test_the_bar_is_for_people_who_wait():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    assert loading_bar(range(3), file=io.StringIO()).disable  # standard error in a file
    shown = Terminal()
    with loading_bar(total=9, file=shown, mininterval=0, desc="weights") as bar:
        bar.update(3)
        assert shown.getvalue() == ""  # until now it has taken less than five seconds
        bar.start_t -= 6
        bar.update(3)
        assert "weights:  67%" in shown.getvalue()
    assert shown.getvalue().endswith("\r")  # gone


def test_options_that_are_none_choose_nothing_and_contradictions_are_told(folder, monkeypatch):
    assert choose(str(folder), "generate", device="cpu", quantize="int8") is None
    for options in (dict(offload="disk"), dict(device="cpu"), dict(dtype="float32"), dict(quantize="int8")):
        with pytest.raises(ValueError, match="--auto chooses"):
            choose(str(folder), "generate", auto=True, **options)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for options in (dict(auto=True), dict(offload="auto")):
        with pytest.raises(ValueError, match="one process"):
            choose(str(folder), "generate", **options)


def test_auto_says_the_command_for_several_gpus_and_refuses_a_part(folder, monkeypatch):
    several = replace(PLANNED, device="cuda", dtype="bfloat16", quantize="int8", n_gpus=4)
    assert torchrun("m", "chat", several) == (
        "torchrun --nproc-per-node 4 -m minimistral chat m … --dtype bfloat16 --quantize int8"
    )
    for planned, said in ((several, "torchrun --nproc-per-node 4"), (replace(PLANNED, layers=7), "layers=7")):
        monkeypatch.setattr(loading, "plan", lambda *_, planned=planned: planned)
        with pytest.raises(ValueError, match=said):
            choose(str(folder), "generate", auto=True)


def test_where_experts_go_by_themselves():
    mixture, card = "mixtral-8x7b-v0.1", Gpu("card", 24 * 10**9, 23 * 10**9, "cuda", 1e12, 25e9)
    roomy, small = Machine(8, 64 * 10**9, 50 * 10**9, 10**12), Machine(8, 16 * 10**9, 13 * 10**9, 10**12)
    for here, place, device in (
        (replace(roomy, gpus=(card,)), "host", "cuda"),
        (replace(small, gpus=(card,)), "disk", "cuda"),
        (replace(roomy, gpus=(replace(card, memory_free=10**9), card)), "host", "cuda:1"),
        (roomy, "disk", "cpu"),
    ):
        found = plan_offload(mixture, quantize="int4", machine=here)
        assert (found.offload, found.device, found.quantize) == (place, device, "int4")
    with pytest.raises(ValueError, match=r"--offload memory with 4-bit weights: experts take 25\.4 GB"):
        plan_offload(mixture, "memory", quantize="int4", machine=replace(small, gpus=(card,)))
    for model, options, said in (
        ("mistral-7b-v0.1", {}, "dense"), (mixture, {"where": "cloud"}, "choose auto, memory or disk"),
        (mixture, {"device": "cuda:1"}, "cuda:1"), (mixture, {"device": "mps"}, "mps"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            plan_offload(model, machine=replace(roomy, gpus=(card,)), **options)


def ran(*arguments, **options):
    """stdout, and the lines of stderr."""
    done = CliRunner().invoke(app, list(map(str, arguments)), **options)
    assert done.exit_code == 0, done.stderr
    return done.stdout, done.stderr.splitlines()


def test_the_commands_do_what_is_chosen_and_say_how_fast_it_was(folder, monkeypatch):
    here = Machine(1, 10**9, 10**9, 10**12, (), 1e9)
    monkeypatch.setattr(sys.modules["minimistral.plan"], "this_machine", lambda **_: here)
    model, _ = load(folder, "cpu")
    expected = " ".join(map(str, generate(model, [[1, 5, 6]], 9)[0])) + " \n"
    command = ["generate", folder, "--ids", "1,5,6", "--max-new-tokens", 9]
    speed = r"\d tokens, [\d.,]+ a second after the first"
    for option, first, last in (
        (["--device", "cpu"], None, rf"{speed}\."),
        (["--device", "cpu", "--fast"], "compiled", rf"{speed}\."),
        (["--auto"], plan(folder, here).describe(), rf"{speed}\."),
        (["--offload", "memory"], "stay in the machine's memory", rf"{speed}; experts found in place: \d+%, .*\."),
        (["--offload", "disk"], "read from the checkpoint", rf"{speed}; experts found in place: \d+%, .*\."),
    ):
        out, err = ran(*command, *option)
        assert out == expected and re.fullmatch(last, err[-1]), err
        assert len(err) == 1 if first is None else first in err[0]
    refused = CliRunner().invoke(app, list(map(str, [*command, "--offload", "memory", "--fast"])))
    assert refused.exit_code == 1 and "offloaded" in refused.stderr.splitlines()[-1]


def test_chat_too(random_model, tmp_path):
    save(random_model(SIZES | dict(vocab_size=32_000)), tmp_path / "m", tokenizer=Tokenizer.mistral_v1())
    arguments = ["chat", tmp_path / "m", "--max-new-tokens", 5, "--device", "cpu"]
    plain, fast = (ran(*arguments, *option, input="Hello\nAnd?\n") for option in ([], ["--fast"]))
    assert plain[0] == fast[0] != "" and "10 tokens" in plain[1][-1] and "10 tokens" in fast[1][-1]
    assert "compiled" in fast[1][0] and len(fast[1]) == len(plain[1]) + 1
