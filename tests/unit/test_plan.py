"""How to run which model where: known machines, the roofline by hand, and what is said when nothing fits."""

import dataclasses
import re

import pytest
import torch

from minimistral import ModelConfig, MoEConfig, Transformer
from minimistral.checkpoints import room
from minimistral.machine import Gpu, Machine, machine, measured_bandwidth
from minimistral.parallel import Part, held_config
from minimistral.plan import DISK, cache_bytes, expert_budget, plan, read_bytes, whole_bytes

GB = 10**9
DENSE, MIXTURE = "mistral-7b-v0.1", "mixtral-8x7b-v0.1"


def a_machine(memory: float, *gpus: Gpu, disk: float = 300) -> Machine:
    return Machine(8, int(memory * GB), int(0.8 * memory * GB), int(disk * GB), gpus, 50e9)


def a_gpu(memory: float, bandwidth: float = 1e12) -> Gpu:
    return Gpu(f"{memory} GB card", int(memory * GB), int(0.97 * memory * GB), "cuda", bandwidth, 25e9)


@pytest.mark.parametrize(
    ("model", "here", "device", "quantize", "offload", "n_gpus"),
    [
        (DENSE, a_machine(16), "cpu", "int8", None, 0),
        (DENSE, a_machine(8), "cpu", "int4", None, 0),
        (DENSE, a_machine(16, a_gpu(8)), "cuda", "int4", None, 1),
        (DENSE, a_machine(16, a_gpu(12)), "cuda", "int8", None, 1),
        (DENSE, a_machine(32, a_gpu(24)), "cuda", None, None, 1),
        (DENSE, a_machine(32, a_gpu(12), a_gpu(12)), "cuda", None, None, 2),
        (MIXTURE, a_machine(64), "cpu", "int4", None, 0),
        (MIXTURE, a_machine(16), "cpu", "int4", "disk", 0),
        (MIXTURE, a_machine(64, a_gpu(24)), "cuda", "int4", "host", 1),
        (MIXTURE, a_machine(24, a_gpu(24)), "cuda", "int4", "disk", 1),
        (MIXTURE, a_machine(128, a_gpu(80)), "cuda", "int8", None, 1),
        (MIXTURE, a_machine(128, a_gpu(80), a_gpu(80)), "cuda", None, None, 2),
        (MIXTURE, a_machine(128, a_gpu(141)), "cuda", None, None, 1),
        (MIXTURE, a_machine(64, a_gpu(24), a_gpu(24), a_gpu(24)), "cuda", "int4", None, 2),  # 8 KV heads: never 3
    ],
)
def test_known_machines(model, here, device, quantize, offload, n_gpus):
    found = plan(model, here)
    assert (found.device, found.quantize, found.offload, found.n_gpus) == (device, quantize, offload, n_gpus)
    assert found.layers is None and found.tokens_per_second > 0
    free = here.memory_free if device == "cpu" else sum(gpu.memory_free for gpu in here.gpus)
    assert found.bytes_needed <= free


def test_apple():
    gpu = Gpu("Apple GPU", 32 * GB, 26 * GB, "mps", 200e9, 200e9)
    assert plan(DENSE, a_machine(32, gpu)).device == "mps"
    assert plan(DENSE, a_machine(16, dataclasses.replace(gpu, memory_free=12 * GB))).device == "cpu"


def test_where_the_whole_does_not_fit_some_layers_do():
    few = plan(DENSE, a_machine(4))
    assert few.layers is not None and 1 <= few.layers < 32 and few.quantize is None and few.tokens_per_second is None
    assert few.bytes_needed <= 0.8 * 4 * GB and f"{few.layers} layers" in few.describe()
    assert plan(MIXTURE, a_machine(3)).layers == 1  # one layer of Mixtral is 2.9 GB: more than there is, and the least
    assert "too few even for its first layer" in plan(MIXTURE, a_machine(3)).why
    assert "too few even for its first layer" in plan(DENSE, a_machine(64, disk=0.1)).why
    long = plan("mistral-7b-v0.3", a_machine(64), context=1_000_000)  # a cache of 4.1 GB a layer counts too
    assert 1 < long.layers < 32 and long.bytes_needed <= 0.8 * 64 * GB and "can be run" in long.why
    assert "disk" in plan(DENSE, a_machine(64, disk=5)).why


def test_a_small_model_is_left_as_it_is():
    found = plan("tiny-mixtral", a_machine(4))
    assert (found.dtype, found.quantize, found.layers) == ("float32", None, None)
    assert re.search(r"\([1-9][\d.]+ MB with its cache\)", found.why), "not 0.0 GB"


def test_what_decoding_reads_counted_by_hand():
    """Table of checkpoints: active parameters without the embeddings, two bytes each, and one token's keys and values."""
    assert read_bytes(ModelConfig.preset(MIXTURE), "bfloat16") == 2 * (12_879_925_248 - 32_000 * 4096) + 131_072
    assert (
        read_bytes(ModelConfig.preset(DENSE), "bfloat16", context=9_000) == 2 * (7_241_732_096 - 32_000 * 4096) + 2**29
    )


def test_what_decoding_reads_equals_the_tensors_it_touches():
    sizes = dict(dim=96, n_layers=3, n_heads=3, n_kv_heads=1, head_dim=32, hidden_dim=160, vocab_size=77)
    config = ModelConfig(**sizes, moe=MoEConfig(5, 2), sliding_window=7)
    with torch.device("meta"):
        weights = dict(Transformer(config).named_parameters())
    touched = sum(w.numel() for name, w in weights.items() if "experts" not in name and "tok_embeddings" not in name)
    one_expert = sum(w.numel() for name, w in weights.items() if ".experts.0." in name)
    assert read_bytes(config, "float32", context=20) == 4 * (touched + 2 * one_expert) + 4 * 2 * 3 * 1 * 32 * 7


def test_a_cache_is_as_large_as_it_says():
    config = ModelConfig.preset("tiny-mistral")
    for context in (1, 63, 64, 65, 1000):
        with torch.device("meta"):
            cache = Transformer(config).make_cache(1, context)
        assert cache_bytes(config, "float32", context) == cache.nbytes


def test_longer_contexts_need_more_until_the_window():
    config = ModelConfig.preset("mistral-7b-v0.2")
    assert (
        whole_bytes(config, "bfloat16", None, 32_768) - whole_bytes(config, "bfloat16", None, 16_384)
        == 16_384 * 131_072
    )
    windowed = ModelConfig.preset(DENSE)
    assert whole_bytes(windowed, "bfloat16", None, 32_768) == whole_bytes(windowed, "bfloat16", None, 4_096)
    assert plan("mistral-7b-v0.2", a_machine(32, a_gpu(17)), context=32_768).quantize == "int8"
    assert plan("mistral-7b-v0.2", a_machine(32, a_gpu(17)), context=512).quantize is None


def test_a_folder_that_is_there_needs_no_disk(tmp_path):
    from minimistral import load, save

    save(load("tiny-mistral")[0], tmp_path / "model")
    found = plan(tmp_path / "model", dataclasses.replace(a_machine(4), disk_free=0))
    assert found.layers is None and found.device == "cpu"


def test_a_published_model_is_planned_by_any_of_its_names():
    here = a_machine(16)
    assert (
        plan("mistral-7b-instruct-v0.2", here)
        == plan("mistralai/Mistral-7B-Instruct-v0.2", here)
        == plan("mistral-7b-v0.2", here)
    )
    assert plan("mistralai/Mixtral-8x7B-Instruct-v0.1", here) == plan(MIXTURE, here)


@pytest.mark.parametrize("model", ["mistral-8b", 7, None, "x" * 300, "a\0b", b"mistral"])
def test_an_unknown_model_is_named(model):
    with pytest.raises(ValueError, match="mixtral-8x7b-v0.1"):
        plan(model, a_machine(8))


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="context=0"):
        plan(DENSE, a_machine(8), context=0)
    with pytest.raises(ValueError, match="Machine"):
        plan(DENSE, machine="a laptop")


def test_this_machine():
    here = machine(measure=False)
    assert (
        0 < here.memory_free <= here.memory_total and here.disk_free > 0 and here.cores >= 1 and here.bandwidth is None
    )
    assert 1e8 < measured_bandwidth(torch.device("cpu")) < 1e13  # bytes a second: between an old phone and the future
    assert plan("tiny-mistral").device == "cpu" or here.gpus


def test_the_speed_is_bandwidth_by_bytes():
    here = a_machine(16)
    assert plan(DENSE, here).tokens_per_second == here.bandwidth / read_bytes(
        ModelConfig.preset(DENSE), "bfloat16", "int8"
    )
    assert plan(DENSE, dataclasses.replace(here, bandwidth=None)).tokens_per_second is None


EXPERT_IN_INT4 = 3 * 4096 * 14_336 * 9 // 16  # bytes of one of Mixtral's 256 experts: four bits and half a bit of scale


def test_experts_from_disk_are_read_in_the_bits_they_were_packed_in():
    here = a_machine(16)
    found, config = plan(MIXTURE, here), ModelConfig.preset(MIXTURE)
    kept = expert_budget(config, found) / (256 * EXPERT_IN_INT4)
    assert 0.2 < kept < 0.5
    seconds = read_bytes(config, "bfloat16", "int4") / 50e9 + 64 * EXPERT_IN_INT4 * (1 - kept) / DISK
    assert found.tokens_per_second == pytest.approx(1 / seconds) and "written once" in found.why


def test_without_room_for_the_packed_file_they_are_read_as_they_lie():
    tight = plan(MIXTURE, a_machine(16, disk=93.5 + 25))  # 93.4 GB of checkpoint; its experts in 4 bits are 25.4 GB
    assert (tight.offload, tight.quantize, tight.dtype) == ("disk", None, "bfloat16") and "the checkpoint" in tight.why
    assert tight.tokens_per_second < plan(MIXTURE, a_machine(16, disk=93.5 + 25.4)).tokens_per_second / 3
    assert tight.bytes_needed <= 0.8 * 16 * GB


def test_int4_only_where_groups_divide_each_gpus_piece():
    two = a_machine(64, a_gpu(4), a_gpu(4))
    assert (plan(DENSE, two).quantize, plan(DENSE, two).n_gpus) == ("int4", 2)
    odd = dataclasses.replace(ModelConfig.preset(DENSE), hidden_dim=14_368)  # 449 groups: whole ones, but not halves
    assert plan(odd, two).device == "cpu" and plan(odd, a_machine(8)).quantize == "int4"
    none = dataclasses.replace(ModelConfig.preset(MIXTURE), hidden_dim=14_337)  # no groups at all
    assert plan(none, a_machine(64, a_gpu(24))).quantize == plan(none, a_machine(16)).quantize == "int8"


@pytest.mark.parametrize("changes", [{}, {"moe": MoEConfig(4, 2)}, {"moe": MoEConfig(3, 2)}])
def test_what_each_gpu_holds_is_what_a_rank_holds(changes):
    """Embeddings and norms whole, the rest its share; a rank's gate knows all experts, which here are a few rows less."""
    config = ModelConfig(
        dim=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=8, hidden_dim=64, vocab_size=31, **changes
    )
    with torch.device("meta"):
        rank = sum(weight.numel() for weight in Part(config, 1, 2).parameters())
    held = held_config(config, 2)
    less = 0 if held.moe is None else 2 * 32 * (config.moe.num_experts - held.moe.num_experts)
    assert held.count_parameters().total == rank - less


def test_a_gpu_that_is_not_the_first_is_named_and_several_are_those_torchrun_takes():
    big, small = a_gpu(24), a_gpu(4)
    assert plan(DENSE, a_machine(32, small, big)).device == "cuda:1"
    assert plan(DENSE, a_machine(32, big, small)).device == "cuda"
    assert plan(DENSE, a_machine(32, small, a_gpu(12), a_gpu(12))).n_gpus == 1  # torchrun's two would be the first two


def test_load_advises_what_plan_plans():
    config, said = ModelConfig.preset(DENSE), set()
    for free in range(2 * GB, 14 * GB, GB // 10):
        advice = room._advice(config, torch.bfloat16, None, free)
        planned = plan(DENSE, Machine(8, 64 * GB, free, 300 * GB))
        said.add(planned.quantize)
        assert (f"'{planned.quantize}'" in advice) if planned.layers is None else ("layers=" in advice)
    assert said == {None, "int4", "int8"}


@pytest.mark.parametrize(
    ("model", "here", "short"),
    [
        (DENSE, a_machine(16), "8-bit on the CPU"),
        (DENSE, a_machine(32, a_gpu(12), a_gpu(12)), "16-bit on 2 GPUs"),
        (MIXTURE, a_machine(64, a_gpu(24)), "4-bit on one GPU, experts in memory"),
        (MIXTURE, a_machine(16), "4-bit on the CPU, experts on disk"),
        (MIXTURE, a_machine(3), "the first layer"),
        (DENSE, a_machine(32, Gpu("Apple GPU", 32 * GB, 26 * GB, "mps")), "16-bit on the Apple GPU"),
        ("tiny-mistral", a_machine(4), "32-bit on the CPU"),
    ],
)
def test_in_a_few_words(model, here, short):
    assert plan(model, here).short() == short
