"""Every layout in which the weights were published, written by hand here and read by `load`."""

import json

import pytest
import torch
from safetensors.torch import save_file

from minimistral import CheckpointError, ModelConfig, MoEConfig, Transformer, load
from minimistral.checkpoints import names

torch.set_num_threads(1)

SIZES = dict(dim=24, n_layers=2, n_heads=6, n_kv_heads=3, head_dim=10, hidden_dim=36, vocab_size=41)
EIGHT = MoEConfig(num_experts=8, num_experts_per_tok=2)
PARAMS = {
    "dim": 24,
    "n_layers": 2,
    "head_dim": 10,
    "hidden_dim": 36,
    "n_heads": 6,
    "n_kv_heads": 3,
    "norm_eps": 1e-05,
    "vocab_size": 41,
    "rope_theta": 10000.0,
}
MOE = {"moe": {"num_experts_per_tok": 2, "num_experts": 8}}


def random_model(**changes):
    torch.manual_seed(0)
    return Transformer(ModelConfig(**SIZES | changes))


def write_json(path, value):
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(json.dumps(value))


def state(model):
    return {name: weight.detach().clone() for name, weight in model.state_dict().items()}


def assert_same_weights(model, expected):
    loaded = model.state_dict()
    assert loaded.keys() == expected.keys()
    for name, weight in expected.items():
        assert loaded[name].dtype == weight.dtype and torch.equal(loaded[name].cpu(), weight), name


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("moe", [None, MoEConfig(num_experts=3, num_experts_per_tok=1)])
def test_the_native_table_is_the_model(moe, tied):
    model = random_model(moe=moe, tie_embeddings=tied)
    table = {piece.name: piece.shape for piece in names.native_pieces(model.config)}
    assert table == {name: tuple(weight.shape) for name, weight in model.state_dict().items()}


@pytest.mark.parametrize("variant", [names.native_pieces, names.stacked_pieces, names.hub_pieces, names.fused_pieces])
@pytest.mark.parametrize("n_experts", [1, 3])
def test_every_variant_gives_each_weight_once_and_in_its_shape(variant, n_experts):
    model = random_model(moe=MoEConfig(num_experts=n_experts, num_experts_per_tok=1))
    found = {}
    for piece in variant(model.config):
        for name, weight in zip(piece.weights, piece.unpack(torch.zeros(piece.shape)), strict=True):
            assert name not in found
            found[name] = weight.shape
    assert found == {name: weight.shape for name, weight in model.state_dict().items()}


@pytest.mark.parametrize("n_heads, head_dim", [(1, 2), (1, 8), (3, 4), (6, 10)])
def test_rows_move_as_the_definition_says_and_back(n_heads, head_dim):
    native = torch.arange(n_heads * head_dim * 5).view(n_heads * head_dim, 5)
    hub = names.to_halves(native, n_heads)
    for head in range(n_heads):
        for i in range(head_dim // 2):
            first = head * head_dim
            assert torch.equal(hub[first + i], native[first + 2 * i])
            assert torch.equal(hub[first + i + head_dim // 2], native[first + 2 * i + 1])
    assert torch.equal(names.to_pairs(hub, n_heads), native)


def test_v01_one_pickle_and_a_window_in_a_string(tmp_path):
    model = random_model(sliding_window=7)
    params = PARAMS | {"sliding_window": "7"}
    del params["rope_theta"]
    write_json(tmp_path / "params.json", params)
    torch.save(state(model), tmp_path / "consolidated.00.pth")
    with pytest.warns(UserWarning, match="rope_theta is missing; taken as 10000"):
        loaded, tokenizer = load(tmp_path)
    assert loaded.config == model.config and tokenizer is None and not loaded.training
    assert_same_weights(loaded, state(model))


def test_v03_one_safetensors_file_is_mapped_and_never_written_to(tmp_path):
    model = random_model()
    write_json(tmp_path / "params.json", PARAMS)
    file = tmp_path / "consolidated.safetensors"
    save_file(state(model), file)
    before = file.read_bytes()
    loaded, _ = load(tmp_path, device="cpu")
    assert_same_weights(loaded, state(model))
    with torch.no_grad():
        for weight in loaded.parameters():
            weight.add_(1)  # training goes on in memory
    assert file.read_bytes() == before
    assert all(weight.requires_grad for weight in loaded.parameters())


def test_mixtral_with_experts_one_by_one(tmp_path):
    model = random_model(moe=EIGHT, rope_theta=1e6)
    write_json(tmp_path / "params.json", {**PARAMS, **MOE, "rope_theta": 1e6})
    torch.save(state(model), tmp_path / "consolidated.00.pth")
    assert_same_weights(load(tmp_path)[0], state(model))


@pytest.mark.parametrize("moe, hidden_dim", [(EIGHT, 36), (MoEConfig(3, 2), 22), (MoEConfig(1, 1), 24)])
def test_mixtral_in_eight_files_with_stacked_experts_and_w2_transposed(tmp_path, moe, hidden_dim):
    model = random_model(moe=moe, hidden_dim=hidden_dim, rope_theta=1e6)
    weights = state(model)
    stored = {name: weight for name, weight in weights.items() if "feed_forward" not in name}
    for i in range(2):
        before = f"layers.{i}.feed_forward."
        stored[f"layers.{i}.block_sparse_moe.gate.weight"] = weights[f"{before}gate.weight"]
        for w in ("w1", "w2", "w3"):
            each = [weights[f"{before}experts.{e}.{w}.weight"] for e in range(moe.num_experts)]
            rows = [row for expert in each for row in (expert.T if w == "w2" else expert)]
            stored[f"layers.{i}.block_sparse_moe.{w}"] = torch.stack(rows)
    params = {**PARAMS, "hidden_dim": hidden_dim, "moe": vars(moe)}
    del params["rope_theta"]
    write_json(tmp_path / "params.json", params)
    for number in range(8):
        part = {name: weight for at, (name, weight) in enumerate(stored.items()) if at % 8 == number}
        torch.save(part, tmp_path / f"consolidated.{number:02}.pt")
    with pytest.warns(UserWarning, match="rope_theta is missing; taken as 1e.06"):
        loaded, _ = load(tmp_path)
    assert_same_weights(loaded, weights)
    assert loaded.config == model.config
    (tmp_path / "consolidated.03.pt").unlink()
    with pytest.raises(CheckpointError, match="number 3 is missing"):
        load(tmp_path)


@pytest.mark.parametrize("with_index", [True, False])
def test_native_shards(tmp_path, with_index):
    weights = state(random_model())
    write_json(tmp_path / "params.json", PARAMS)
    placed = {name: f"consolidated-0000{at % 3 + 1}-of-00003.safetensors" for at, name in enumerate(weights)}
    for file in set(placed.values()):
        save_file({name: weights[name] for name in weights if placed[name] == file}, tmp_path / file)
    if with_index:
        write_json(tmp_path / "consolidated.safetensors.index.json", {"metadata": {}, "weight_map": placed})
    assert_same_weights(load(tmp_path)[0], weights)


@pytest.mark.parametrize("key", ["tied_embeddings", "tie_embeddings", "tie_word_embeddings"])
def test_tied_native_files(tmp_path, key):
    model = random_model(tie_embeddings=True)
    write_json(tmp_path / "params.json", PARAMS | {key: True})
    save_file(state(model), tmp_path / "consolidated.safetensors")
    loaded, _ = load(tmp_path)
    assert loaded.config.tie_embeddings
    assert_same_weights(loaded, state(model))
    embeddings = model.tok_embeddings.weight.detach()
    torch.save(state(model) | {"output.weight": embeddings}, tmp_path / "consolidated.00.pth")
    (tmp_path / "consolidated.safetensors").unlink()
    assert_same_weights(load(tmp_path)[0], state(model))  # the head may stand beside them, if it is the same
    torch.save(state(model) | {"output.weight": embeddings + 1}, tmp_path / "consolidated.00.pth")
    with pytest.raises(CheckpointError, match="output.weight differs from the embeddings"):
        load(tmp_path)


HUB_CONFIG = {
    "model_type": "mistral",
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 10,
    "intermediate_size": 36,
    "vocab_size": 41,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "sliding_window": None,
}


def hub_state(model):
    """By the table of checkpoints' names, with rows moved one by one."""
    config, stored = model.config, {}
    for name, weight in state(model).items():
        if ".wq." in name or ".wk." in name:
            D, heads = config.head_dim, config.n_heads if ".wq." in name else config.n_kv_heads
            order = [h * D + 2 * i + half for h in range(heads) for half in (0, 1) for i in range(D // 2)]
            weight = weight[order]
        for old, new in {
            "layers.": "model.layers.",
            "tok_embeddings": "model.embed_tokens",
            "output.": "lm_head.",
            "attention_norm": "input_layernorm",
            "ffn_norm": "post_attention_layernorm",
            "attention.w": "self_attn.w",
            ".wq": ".q_proj",
            ".wk": ".k_proj",
            ".wv": ".v_proj",
            ".wo": ".o_proj",
            "feed_forward.w1": "mlp.gate_proj",
            "feed_forward.w2": "mlp.down_proj",
            "feed_forward.w3": "mlp.up_proj",
            "feed_forward.gate": "block_sparse_moe.gate",
            "feed_forward.experts": "block_sparse_moe.experts",
        }.items():
            name = name.replace(old, new)
        stored["model.norm.weight" if name == "norm.weight" else name] = weight.contiguous()
    return stored


def test_hub_pickles_of_old_with_their_stored_angles(tmp_path):
    model = random_model()
    write_json(tmp_path / "config.json", HUB_CONFIG)
    stored = hub_state(model) | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(5)}
    torch.save(stored, tmp_path / "pytorch_model.bin")
    assert_same_weights(load(tmp_path)[0], state(model))


def test_hub_experts_fused_as_transformers_5_holds_them(tmp_path):
    model = random_model(moe=MoEConfig(num_experts=3, num_experts_per_tok=2))
    stored = {name: weight for name, weight in hub_state(model).items() if "block_sparse_moe" not in name}
    for i in range(2):
        experts = model.layers[i].feed_forward.experts
        gate_up = torch.stack([torch.cat([expert.w1.weight, expert.w3.weight]) for expert in experts])
        stored[f"model.layers.{i}.mlp.experts.gate_up_proj"] = gate_up.detach()
        stored[f"model.layers.{i}.mlp.experts.down_proj"] = torch.stack([e.w2.weight for e in experts]).detach()
        stored[f"model.layers.{i}.mlp.gate.weight"] = model.layers[i].feed_forward.gate.weight.detach()
    config = {**HUB_CONFIG, "model_type": "mixtral", "num_local_experts": 3, "num_experts_per_tok": 2}
    write_json(tmp_path / "config.json", config)
    save_file(stored, tmp_path / "model.safetensors")
    assert_same_weights(load(tmp_path)[0], state(model))


@pytest.fixture
def both_layouts(tmp_path):
    """One folder with the model in both layouts, as Mistral ships v0.3; the native weights are 1 larger, to tell them."""
    model = random_model()
    write_json(tmp_path / "config.json", HUB_CONFIG)
    save_file(hub_state(model), tmp_path / "model.safetensors")
    write_json(tmp_path / "params.json", PARAMS)
    save_file({name: weight + 1 for name, weight in state(model).items()}, tmp_path / "consolidated.safetensors")
    return tmp_path, state(model)


def test_of_two_layouts_the_hub_is_read_and_one_line_says_so(both_layouts):
    folder, weights = both_layouts
    with pytest.warns(UserWarning, match="holds the model twice: reading model.safetensors") as caught:
        assert_same_weights(load(folder)[0], weights)
    assert len(caught) == 1
    assert_same_weights(load(folder, layout="hub")[0], weights)
    native, _ = load(folder, layout="native")
    assert_same_weights(native, {name: weight + 1 for name, weight in weights.items()})


def test_of_two_layouts_the_hub_may_be_in_shards_behind_an_index(both_layouts):
    """As v0.3 lies on the hub: three shards, their index, and the same weights a second time."""
    folder, weights = both_layouts
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    placed = dict.fromkeys(hub_state(random_model()), "model-00001-of-00001.safetensors")
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": placed})
    with pytest.warns(UserWarning, match="reading model.safetensors.index.json .* not consolidated.safetensors"):
        assert_same_weights(load(folder)[0], weights)


def test_two_layouts_that_disagree_are_refused_but_one_can_be_chosen(both_layouts):
    folder, weights = both_layouts
    write_json(folder / "params.json", PARAMS | {"rope_theta": 1e6})
    with pytest.raises(CheckpointError, match=r"rope_theta = 10000.0, .*params.json says 1000000.0"):
        load(folder)
    assert load(folder, layout="native")[0].config.rope_theta == 1e6
    params = {name: value for name, value in PARAMS.items() if name != "rope_theta"}  # 1e6 would be inferred
    write_json(folder / "params.json", params)
    with pytest.warns(UserWarning, match="holds the model twice"):
        assert load(folder)[0].config.rope_theta == 1e4


def test_a_second_config_without_weights_is_no_second_layout(both_layouts):
    folder, weights = both_layouts
    (folder / "consolidated.safetensors").unlink()
    write_json(folder / "params.json", {"not": "looked at"})
    assert_same_weights(load(folder)[0], weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtype_is_the_files_unless_another_is_asked_for(tmp_path, dtype):
    model = random_model().to(dtype)
    write_json(tmp_path / "params.json", PARAMS)
    save_file(state(model), tmp_path / "consolidated.safetensors")
    assert_same_weights(load(tmp_path)[0], state(model))
    assert_same_weights(load(tmp_path, dtype="float32")[0], state(model.float()))
    assert load(tmp_path, dtype=torch.bfloat16)[0].norm.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("stated, expected", [(None, torch.float32), ("bfloat16", torch.bfloat16)])
def test_files_of_several_dtypes_become_what_their_config_states_or_lose_nothing(tmp_path, stated, expected):
    stored = {
        n: weight.bfloat16() if "wq" in n or "q_proj" in n else weight
        for n, weight in hub_state(random_model()).items()
    }
    write_json(tmp_path / "config.json", HUB_CONFIG | {"torch_dtype": stated})
    save_file(stored, tmp_path / "model.safetensors")
    assert {weight.dtype for weight in load(tmp_path)[0].parameters()} == {expected}


@pytest.mark.parametrize("bad", [{"layout": "hf"}, {"dtype": "int8"}, {"device": "nowhere"}, {"quantize": "int3"}])
def test_arguments_that_mean_nothing_are_refused(tmp_path, bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}="):
        load(tmp_path, **bad)
