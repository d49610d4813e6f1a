"""Chapter 13 on rungs that this machine has not: its cells over small checkpoints in the hub's layout; real shapes on meta."""

import io
import json
import math
import os
import re
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
import torch

from minimistral import ModelConfig, MoEConfig, Transformer, generate, load, save, writer
from minimistral.lab import RoutingMap, real_mixture, rungs
from minimistral.lab.mixture_pictures import draw_batch, draw_missed, draw_neighbours, draw_slots, trace_slots
from minimistral.lab.routing import text_rows
from minimistral.lab.rungs import find_rung
from minimistral.machine import Gpu, Machine
from minimistral.memory import weight_bytes
from minimistral.offload import lru_hits
from minimistral.plan import Plan, expert_budget, plan

torch.set_num_threads(1)
GB = 10**9
CHAPTER = Path(__file__).parents[2] / "chapters" / "13_mixtral_8x7b.ipynb"
SIZES = dict(dim=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=32, hidden_dim=32, vocab_size=2048)
CONFIG = ModelConfig(**SIZES, moe=MoEConfig(8, 2), rope_theta=1e6)
CPU = Plan("cpu", "bfloat16", None, None, 0, None, GB, None, "Small.")
EXPERTS = 16 * 3 * 32 * 34 // 2  # bytes in int4: half a byte a weight, and two for the scale of a row


def offloading(place):
    """A plan that keeps half of the experts in place."""
    nothing = Plan("cpu", "bfloat16", "int4", place, 0, None, 0, None, "")
    return replace(nothing, bytes_needed=EXPERTS // 2 - expert_budget(CONFIG, nothing), why="Experts outside.")


PLANS = {"cpu": CPU, "experts in memory": offloading("host"), "experts in a file": offloading("disk")}


@pytest.fixture(scope="module")
def fake(tmp_path_factory):
    """A Mixtral in little, as the hub has it: shards, its names, bfloat16, a tokenizer."""
    torch.manual_seed(0)
    model = Transformer(CONFIG).bfloat16().eval()
    tokenizer = load("tiny-mixtral")[1]
    folder = tmp_path_factory.mktemp("hub") / "Mixtral"
    save(model, folder, tokenizer=tokenizer, layout="hub", max_shard_size=150_000)
    return folder


@pytest.fixture(scope="module")
def part(fake, tmp_path_factory):
    """Its layer 0 alone, as `minimistral download --layers 0` leaves it."""
    folder = tmp_path_factory.mktemp("part") / "Mixtral--part"
    model, tokenizer = load(fake, layers=[0])
    save(model, folder, tokenizer=tokenizer)
    record = dict(model="a/b", commit="c", layers=[0], n_layers=2, files={"params.json": {"size": 1}})
    (folder / "download.json").write_text(json.dumps(record))
    return folder


def run_cells(folder, stop, skip):
    """The chapter's code cells up to the one that begins the section `stop`, with WEIGHTS set; what they print, by name."""
    names, printed = {"__name__": "chapter"}, io.StringIO()
    for cell in nbformat.read(CHAPTER, 4).cells:
        if cell.cell_type == "markdown" and re.search(rf"^##+ {stop}", cell.source, re.MULTILINE):
            break
        if cell.cell_type == "code" and not any(word in cell.source for word in skip):
            source = cell.source.replace("WEIGHTS = None", f"WEIGHTS = {str(folder)!r}")
            with redirect_stdout(printed):
                exec(compile(source, cell.source.splitlines()[0], "exec"), names)
    return names, printed.getvalue()


SLOW = ("layer_times(blocks", "in_processes(", "predict(", "TIMED", "reveal(")


@pytest.mark.parametrize("planned", PLANS.values(), ids=PLANS)
def test_its_cells_run_on_a_whole_model(fake, monkeypatch, planned):
    monkeypatch.setattr(rungs, "plan", lambda *_: planned)
    names, said = run_cells(fake, "5e", SLOW)
    rung, model = names["rung"], names["model"]
    assert rung.name == ("offload" if planned.offload else "cpu") and rung.is_whole
    assert "two experts by hand" in said and "exactly the hits foretold" in said
    assert names["n_here"] == 2 and len(names["in_all"]) == 65
    assert names["has_loss"] and len(names["rows"]) == 10
    if planned.offload:
        cache = model.expert_cache
        assert EXPERTS / 4 < cache.nbytes <= EXPERTS / 2 and cache.hits > 0 < cache.misses
        assert (rung.folder / "experts-int4.bin").exists() == (planned.offload == "disk")
        assert names["seen"].shape == (2, 5)  # first and last layer


def test_its_cells_run_where_the_step_is_that_of_a_gpu(fake, monkeypatch):
    """Which joins the weights of a layer's experts: routes, hooks and losses of the cells after it are those of the plain model."""
    monkeypatch.setattr(rungs, "plan", lambda *_: replace(CPU, tokens_per_second=1e4))
    plain = run_cells(fake, "5d", SLOW)[0]
    monkeypatch.setattr(writer, "_on_gpu", lambda model: True)
    monkeypatch.setattr(writer, "why_not_compiled", lambda *_: "no compiler")
    said = run_cells(fake, "4 Play", SLOW)[1]
    assert "so it is slower: no compiler" in said
    monkeypatch.setattr(writer, "why_not_compiled", lambda *_: None)
    names, said = run_cells(fake, "5d", SLOW)
    assert names["writer"].is_fast and re.search(r"\d+% of the bound, 10000\.0", said)
    assert torch.equal(names["ids"], plain["ids"]) and names["new_ids"] == plain["new_ids"]
    for measured in ("whole", "one_free", "alone", "lost"):
        torch.testing.assert_close(names[measured], plain[measured])


def test_its_cells_run_on_one_layer(part):
    names, said = run_cells(part, "5d", SLOW)
    assert names["rung"].name == "some layers" and names["L"] == 1 and not names["has_loss"]
    assert names["n_here"] == 1 and len(names["rows"]) == 20
    assert "two experts by hand" in said and names["LAYERS"] == [0]


def test_its_cells_run_on_stacked_pickles(fake, tmp_path, monkeypatch):
    """The files consolidated.00.pt to .07.pt of Mixtral's own repository: a layer's experts in one tensor, w2 transposed."""
    model, tokenizer = load(fake)
    save(model, tmp_path / "native", tokenizer=tokenizer)
    folder, state = tmp_path / "pt", model.state_dict()
    folder.mkdir()
    for name in ("params.json", "tokenizer.model"):
        (folder / name).write_bytes((tmp_path / "native" / name).read_bytes())
    stacked = {k.replace("feed_forward", "block_sparse_moe"): w for k, w in state.items() if ".experts." not in k}
    for layer in range(2):
        for w in ("w1", "w2", "w3"):
            experts = [state[f"layers.{layer}.feed_forward.experts.{e}.{w}.weight"] for e in range(8)]
            experts = [each.T if w == "w2" else each for each in experts]
            stacked[f"layers.{layer}.block_sparse_moe.{w}"] = torch.cat(experts)
    for n in range(8):
        torch.save({name: stacked[name].clone() for name in list(stacked)[n::8]}, folder / f"consolidated.{n:02}.pt")
    monkeypatch.setattr(rungs, "plan", lambda *_: CPU)
    names, said = run_cells(folder, "4 Play", SLOW)
    assert "23 tensors in 8 file(s)" in said and "two experts by hand" in said and names["n_here"] == 2
    ids = torch.tensor([names["prompt_ids"]])
    torch.testing.assert_close(names["model"](ids), model(ids))


def test_pictures_of_some_layers_claim_no_more_than_they_show():
    seen = torch.rand(2, 5)
    found, paper = {"first": (seen, seen / 2), "in common": (seen, seen / 2)}, {"first": [[14.0], [28.0], [23.0]]}
    paper["in common"] = paper["first"]
    whole, part = (draw_neighbours(found, paper, numbers).png for numbers in (None, [15, 17]))
    assert whole != part != draw_neighbours(found, paper, [16, 17]).png  # the paper has layer 15, and not 16
    both, left = (draw_missed(torch.rand(5, 8), lost, "abcde") for lost in (torch.rand(8, 5).T, None))
    assert "bits a token lost" in both.alt and "lost" not in left.alt


@pytest.mark.filterwarnings("error")
def test_pictures_say_their_numbers():
    seen = torch.tensor([[10.0, 20.0], [30.0, 41.0], [50.0, 49.0]])
    paper = {"first": [[14.0, 15.0], [28.4, 23.6], [19.7, 26.3]]}
    alt = draw_neighbours({"first": (seen, seen - 7)}, paper).alt
    assert "same first expert: first layer 10 to 20, 3 to 13 from the load alone, 14 to 15 in the paper;" in alt
    assert "last layer 49 to 50, 42 to 43 from the load alone, 20 to 26 in the paper." in alt
    alt = draw_neighbours({"first": (seen, seen - 7)}, paper, [0, 7, 15]).alt
    assert "layer 7 30 to 41, 23 to 34 from the load alone;" in alt and "layer 15 49 to 50, " in alt
    shares, lost = torch.tensor([[0.1, 0.9], [0.6, 0.4]]), torch.tensor([[0.3, 0.02], [0.0, 0.25]])
    alt = draw_missed(shares, lost, ("prose", "python")).alt
    assert "prose 1 (90 %), python 0 (60 %)." in alt and "without it: prose 0 (0.30), python 1 (0.25)." in alt
    counted = {"all kinds": torch.tensor([[2.0, 2.0], [3.1, 3.2], [5.0, 6.0]])}
    alt = draw_batch((1, 8, 64), (2.0, 7.2, 8.0), counted, (1, 16), {"mixture": [1, 7.71], "dense": [1, 3.04]}).alt
    assert "of 8: 8 tokens all kinds 3.2, by the formula 7.2; 64 tokens all kinds 6.0, by the formula 8.0." in alt
    assert alt.endswith("Time for 16 tokens in place of 1: the mixture 7.7 times, the dense 3.0 times as long.")


HUB = {"attention.wq": "self_attn.q_proj", "attention.wk": "self_attn.k_proj", "attention.wv": "self_attn.v_proj"}
HUB |= {
    "attention.wo": "self_attn.o_proj",
    "feed_forward.": "block_sparse_moe.",
    "ffn_norm": "post_attention_layernorm",
}
HUB |= {"attention_norm": "input_layernorm", "tok_embeddings": "model.embed_tokens", "layers.": "model.layers."}


def hub_name(name):
    if name == "output.weight":
        return "lm_head.weight"
    if name == "norm.weight":
        return "model.norm.weight"
    for ours, theirs in HUB.items():
        name = name.replace(ours, theirs)
    return name


def test_section_2_reads_a_table_of_real_shapes(tmp_path, monkeypatch, write_hole):
    """19 files, 93 GB, nearly all hole: names and shapes of the hub's Mixtral, and nothing to read behind them."""
    real = ModelConfig.preset("mixtral-8x7b-v0.1")
    with torch.device("meta"):
        shapes = {hub_name(name): list(w.shape) for name, w in Transformer(real).named_parameters()}
    names, places = list(shapes), {}
    for n, shard in enumerate(names[i::19] for i in range(19)):
        path = tmp_path / f"model-{n + 1:05}-of-00019.safetensors"
        write_hole(path, {name: shapes[name] for name in shard})
        places |= dict.fromkeys(shard, path.name)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(dict(metadata={}, weight_map=places)))
    config = dict(architectures=["MixtralForCausalLM"], model_type="mixtral", hidden_size=4096, num_hidden_layers=32)
    config |= dict(num_attention_heads=32, num_key_value_heads=8, intermediate_size=14336, vocab_size=32_000)
    config |= dict(num_local_experts=8, num_experts_per_tok=2, rms_norm_eps=1e-5, rope_theta=1e6, sliding_window=None)
    (tmp_path / "config.json").write_text(json.dumps(config | dict(torch_dtype="bfloat16")))
    monkeypatch.setattr(rungs, "plan", lambda folder, _: plan(folder, laptop(64)))
    names, said = run_cells(tmp_path, "3 Build it", SLOW)
    assert names["rung"].name == "cpu" and names["rung"].plan.quantize == "int4"
    assert names["n_here"] == 32 and "995 tensors, 46,702,792,704 weights" in said
    assert sum(entry.n_bytes for entry in names["in_all"].values()) == 93_405_585_408


def laptop(memory, *gpus):
    return Machine(8, memory * GB, int(0.8 * memory) * GB, 200 * GB, gpus, 50e9)


def card(gb):
    return Gpu("card", gb * GB, int(0.96 * gb * GB), "cuda", 1e12, 25e9)


def test_an_offloading_plan_leaves_room_for_its_experts():
    real = ModelConfig.preset("mixtral-8x7b-v0.1")
    found = plan("mixtral-8x7b-v0.1", laptop(64, card(24)))
    assert found.offload == "host"
    experts = weight_bytes(real, "bfloat16", "int4") - weight_bytes(
        replace(real, moe=MoEConfig(1, 1)), "bfloat16", "int4"
    )
    experts = (experts - 7 * 32 * 4096 * 2) * 8 / 7  # without the gates' rows
    budget = expert_budget(real, found)
    assert f"{budget / experts:.0%} of them" in found.why
    assert 0.5 * experts < budget < 0.92 * 0.96 * 24 * GB


def test_of_several_gpus_the_notebook_takes_one(fake, monkeypatch):
    here = laptop(64, card(24), card(24))
    monkeypatch.setattr(rungs, "machine", lambda measure: here)
    monkeypatch.setattr(rungs, "plan", lambda _, machine=None: plan("mixtral-8x7b-v0.1", machine or here))
    rung = find_rung("mixtral-8x7b-v0.1", "tiny-mixtral", fake)
    assert rung.name == "several gpus" and rung.plan.n_gpus == 2 and rung.plan.offload is None
    assert rung.alone().n_gpus == 1 and rung.alone().offload == "host" and rung.is_whole
    assert rung.why.endswith(" This notebook is one process, and runs 4-bit on one GPU, experts in memory.")


def test_the_stand_in_says_how_to_get_what_fits(monkeypatch):
    monkeypatch.setattr(rungs, "_folder", lambda *_: None)
    small = replace(laptop(64), memory_free=8 * GB, disk_free=20 * GB)
    why = find_rung("mixtral-8x7b-v0.1", "tiny-mixtral", machine=small).why
    n = plan("mixtral-8x7b-v0.1", small).layers
    assert why.endswith("--layers 0" if n == 1 else f"--layers 0-{n - 1}")


@pytest.fixture(scope="module")
def tiny():
    return load("tiny-mixtral", device="cpu", dtype="float32")


def test_routes_come_in_parts_and_are_those_of_one_pass(tiny):
    rows = text_rows(tiny[1], 1, 32)[0]
    at_once = real_mixture.route(tiny[0], rows)[0]
    assert torch.equal(real_mixture.route_all(tiny[0], rows, at_a_time=2), at_once)


def test_favourites_by_counting():
    first = torch.randint(8, (3, 6, 20), generator=torch.Generator().manual_seed(0)) % torch.tensor([4, 8, 2]).view(
        3, 1, 1
    )
    kinds = torch.tensor([0, 1, 1, 0, 2, 2])
    found = real_mixture.favourites(first, kinds, 3)
    for kind in range(3):
        for layer in range(3):
            own = [int(e) for row, k in zip(first[layer], kinds) if k == kind for e in row]
            assert own.count(int(found[kind, layer])) == max(map(own.count, own))


def test_bits_and_the_list_of_words(tiny):
    from minimistral.lab.real_model import losses

    model, tokenizer = tiny
    rows, kinds = text_rows(tokenizer, 2, 24)
    by_row = torch.stack([losses(model, row.tolist()).mean() for row in rows])
    torch.testing.assert_close(real_mixture.mean_bits(model, rows, kinds, at_a_time=3), by_row.view(5, 2).mean(1))
    words = real_mixture.table_words(tokenizer, rows, kinds)
    rare = torch.full((5, 3), tokenizer.vocab_size - 1)
    assert (real_mixture.table_words(tokenizer, rare, torch.arange(5)) > 12).all()  # rarer than one in 4,096
    assert (words < math.log2(tokenizer.vocab_size)).all() and (words > 5).all()


def test_steps_foretell_what_a_cache_of_experts_finds(tiny):
    from minimistral.offload import load_offloaded

    one = 3 * 192 * 160 * 4
    slow, tokenizer = load_offloaded("tiny-mixtral", 20 * one, device="cpu", dtype="float32")
    ids = tokenizer.encode("And Moses said", bos=True)
    new = generate(slow, [ids], max_new_tokens=12, temperature=0.0)[0]
    routes = real_mixture.route_all(tiny[0], torch.tensor([ids + new[:-1]]))[:, 0]
    steps = real_mixture.expert_steps(routes, len(ids))
    assert len(steps) == 6 * len(new) and len(steps[-1]) == 2
    assert lru_hits(steps, 20) == (slow.expert_cache.hits, slow.expert_cache.misses)


@pytest.mark.parametrize("planned", [CPU, offloading("host")], ids=["whole", "offloaded"])
def test_a_model_that_is_let_go_holds_nothing(fake, planned):
    model, _ = rungs.Rung("offload" if planned.offload else "gpu", fake, None, planned, "").load()
    tensors = [*model.parameters(), *model.buffers()] + ([model.expert_cache._slots] if planned.offload else [])
    if not planned.offload:
        model = model.float()  # mapped weights are the file's, a GPU's are its own
        tensors = [*model.parameters()]
    assert all(tensor.untyped_storage().size() for tensor in tensors)
    rungs.let_go(model)
    assert not any(tensor.untyped_storage().size() for tensor in tensors)
    assert not planned.offload or model.expert_cache.store.nbytes == 0


def in_place_of_python(monkeypatch, path, script):
    """A shell script that is run for what would be torchrun."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(real_mixture.sys, "executable", str(path))


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_of_mapped_weights_nothing_is_let_go_and_of_others_all(fake, quantize):
    """A notebook that is run again finds the memory that it took before; what is mapped took none."""
    model, _ = load(fake, device="cpu", quantize=quantize)
    rungs.let_go(model)
    left = {name for name, w in (*model.named_parameters(), *model.named_buffers()) if w.untyped_storage().size()}
    assert ("layers.0.feed_forward.experts.0.w1.weight" in left) == (quantize is None)
    assert not any(name.endswith((".q", ".scale")) for name in left)
    rungs.let_go(model)


@pytest.mark.skipif(os.name == "nt", reason="plays torchrun by a shell script")
def test_what_torchrun_says_is_told(tmp_path, monkeypatch):
    in_place_of_python(monkeypatch, tmp_path / "torchrun", 'echo "no such folder, $*" >&2; exit 1')
    with pytest.raises(RuntimeError, match="ended with 1:\nno such folder") as told:
        real_mixture.in_processes(3, Path("x"), "Once", ["--quantize", "int4"])
    assert "--nproc-per-node 3 " in str(told.value) and "generate x Once --quantize int4" in str(told.value)


@pytest.mark.skipif(os.name == "nt", reason="plays torchrun by a shell script")
def test_processes_that_take_too_long_are_asked_to_end(tmp_path, monkeypatch):
    """Torchrun ends those that it started when it is asked to, not when it is killed."""
    monkeypatch.setattr(real_mixture, "PATIENCE", 0.5)
    script = f"trap 'kill $!; touch {tmp_path}/asked; exit 1' TERM; sleep 60 >/dev/null 2>&1 & wait"
    in_place_of_python(monkeypatch, tmp_path / "torchrun", script)
    with pytest.raises(RuntimeError, match="^2 processes were not ready .* torchrun --nproc-per-node 2 -m minimistral"):
        real_mixture.in_processes(2, Path("x"), "Once")
    assert (tmp_path / "asked").exists()


def test_the_routing_map_of_another_model(fake):
    model, tokenizer = load(fake, device="cpu")
    shown = RoutingMap("And he said", layer=2, token=2, model=model, tokenizer=tokenizer)
    ids = torch.tensor([tokenizer.encode("And he said", bos=True)])
    chosen = real_mixture.route(model, ids)[0][:, 0, 2].tolist()
    assert shown.answer({"text": "And he said"})["found"][1]["experts"] == chosen
    assert f"goes to expert {chosen[1][0]} " in repr(shown) and shown.data()["layers"] == 2
    assert shown.picture().alt == repr(shown)
    with pytest.raises(ValueError, match="a layer from 1 to 2"):
        RoutingMap(layer=3, model=model, tokenizer=tokenizer)
    with pytest.raises(ValueError, match="neither"):
        RoutingMap(model=model)


def test_the_store_is_drawn_as_it_works():
    """By hand, two layers of three experts, three slots: the prompt uses four, then a token uses one of each layer."""
    steps = [{(0, 0), (0, 1)}, {(1, 0), (1, 1)}, {(0, 1)}, {(1, 2)}]
    states = trace_slots(steps, 2, 3, 3)
    assert states[:, 0].tolist() == [3, 3, 0, 3, 3, 0]  # (0, 0) was brought, and pushed out by (1, 1)
    assert states[:, 1].tolist() == [0, 2, 0, 0, 1, 3]  # (1, 0) is the one unused the longest
    picture = draw_slots(steps, 2, 3, 3)
    assert "Which 3 of 6 experts" in picture.alt and "1 uses find" in picture.alt and "5 have it brought" in picture.alt


def test_the_picture_of_the_store_counts_as_the_store_does():
    ids = torch.stack([torch.randperm(8, generator=torch.Generator().manual_seed(i))[:2] for i in range(4 * 30)])
    steps = real_mixture.expert_steps(ids.view(4, 30, 2), 7)
    states = trace_slots(steps, 4, 8, 11)
    assert (int((states == 2).sum()), int((states == 3).sum())) == lru_hits(steps, 11)
    assert states.shape == (32, 24) and ((states > 0).sum(0)[1:] >= 11).all()
