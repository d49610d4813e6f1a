"""What params.json and config.json mean, and what they may not say."""

import json
import math

import pytest

from minimistral import CheckpointError, ModelConfig, MoEConfig
from minimistral.checkpoints.hub_config import read_config, write_config
from minimistral.checkpoints.native_config import read_params, write_params

PARAMS = dict(dim=24, n_layers=2, head_dim=10, hidden_dim=36, n_heads=6, n_kv_heads=3, norm_eps=1e-5, vocab_size=41)
HUB = dict(
    model_type="mistral",
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=3,
    head_dim=10,
    intermediate_size=36,
    vocab_size=41,
)
MIXTRAL = HUB | dict(model_type="mixtral", architectures=["MixtralForCausalLM"])


def params(tmp_path, **changes):
    path = tmp_path / "params.json"
    path.write_text(json.dumps(PARAMS | changes))
    return read_params(path)


def config(tmp_path, base=HUB, without=(), **changes):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({name: value for name, value in (base | changes).items() if name not in without}))
    return read_config(path).config


@pytest.mark.parametrize("given", [{}, {"sliding_window": None}])
def test_native_without_a_window_and_theta_means_a_million(tmp_path, given):
    found = params(tmp_path, **given)
    assert found.config == ModelConfig(**PARAMS, rope_theta=1e6)
    assert "rope_theta is missing" in found.notes[0]


@pytest.mark.parametrize("given", [7, "7", " 7 ", [7, 7]])
def test_native_with_a_window_and_without_theta_means_ten_thousand(tmp_path, given):
    found = params(tmp_path, sliding_window=given)
    assert found.config == ModelConfig(**PARAMS, rope_theta=1e4, sliding_window=7)
    assert "taken as 10000" in found.notes[0]


def test_native_theta_given_is_taken_without_a_word(tmp_path):
    found = params(tmp_path, rope_theta=500000, moe={"num_experts": 4, "num_experts_per_tok": 3})
    assert found.config == ModelConfig(**PARAMS, rope_theta=5e5, moe=MoEConfig(4, 3)) and not found.notes
    assert isinstance(found.config.rope_theta, float)


def test_native_fields_of_other_programs_are_ignored_and_unknown_ones_are_named(tmp_path):
    assert not params(tmp_path, rope_theta=1.0, max_batch_size=4, max_seq_len=9, model_type="transformer").notes
    assert "'surprise'" in params(tmp_path, rope_theta=1.0, surprise=1).notes[0]


NONSENSE = [0, -1, 3.0, "3", True, [], {}, 10**12, 10**400]


@pytest.mark.parametrize("value", [*NONSENSE, None], ids=lambda value: str(value)[:6])
@pytest.mark.parametrize("field", ["dim", "n_layers", "n_heads", "n_kv_heads", "hidden_dim", "vocab_size"])
def test_native_sizes_are_whole_numbers(tmp_path, field, value):
    with pytest.raises(CheckpointError, match=rf"params.json: {field} "):
        params(tmp_path, **{field: value})


@pytest.mark.parametrize("value", NONSENSE, ids=lambda value: str(value)[:6])  # null takes the default, like nothing
@pytest.mark.parametrize(
    "field", ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "intermediate_size"]
)
def test_hub_sizes_are_whole_numbers(tmp_path, field, value):
    with pytest.raises(CheckpointError, match=rf"config.json: {field} = "):
        config(tmp_path, **{field: value})


@pytest.mark.parametrize("value", [0, -1e-5, "1e-5", True, [1], 10**400, math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("field", ["norm_eps", "rope_theta"])
def test_native_numbers_are_positive_and_finite(tmp_path, field, value):
    with pytest.raises(CheckpointError, match="params.json: "):
        params(tmp_path, **{field: value})


def test_a_number_too_large_for_a_float_is_not_infinity(tmp_path):
    (tmp_path / "params.json").write_text(json.dumps(PARAMS)[:-1] + ', "rope_theta": 1e999}')
    with pytest.raises(CheckpointError, match="rope_theta"):
        read_params(tmp_path / "params.json")


@pytest.mark.parametrize(
    "change",
    [
        {"n_kv_heads": 4},
        {"head_dim": 9},
        {"head_dim": 0},
        {"head_dim": "10"},
        {"sliding_window": 0},
        {"sliding_window": -4},
        {"sliding_window": "-4"},
        {"sliding_window": "4.5"},
        {"sliding_window": ""},
        {"sliding_window": 4.0},
        {"sliding_window": True},
        {"sliding_window": [4, 8]},
        {"sliding_window": []},
        {"moe": []},
        {"moe": {}},
        {"moe": {"num_experts": 8}},
        {"moe": {"num_experts": 2, "num_experts_per_tok": 3}},
        {"moe": {"num_experts": 2.0, "num_experts_per_tok": 1}},
        {"moe": {"num_experts": "2", "num_experts_per_tok": 1}},
        {"tied_embeddings": "yes"},
        {"tied_embeddings": 1},
        {"tied_embeddings": True, "tie_word_embeddings": False},
        {"quantization": {"qformat_weight": "fp8_e4m3"}},
        {"lora": {"enable": True}},
        {"vision_encoder": {"hidden_size": 8}},
        {"yarn": {"factor": 4}},
        {"attention_bias": True},
        {"activation": "gelu"},
        {"model_type": "mamba"},
        {"max_position_embeddings": "long"},
    ],
    ids=str,
)
def test_params_that_cannot_be_or_cannot_be_honoured_are_refused_by_name(tmp_path, change):
    with pytest.raises(CheckpointError, match=rf"params.json.*({next(iter(change))}|num_experts)"):
        params(tmp_path, **change)


@pytest.mark.parametrize("n_heads", [10**7 - 1, 9_699_690])
def test_many_heads_are_refused_at_once(tmp_path, n_heads):
    with pytest.raises(CheckpointError, match="n_kv_heads"):
        params(tmp_path, n_heads=n_heads, n_kv_heads=9_999_991)


def test_hub_defaults_are_those_of_transformers_5(tmp_path):
    plain = dict(dim=24, n_layers=2, n_heads=6, n_kv_heads=3, head_dim=10, hidden_dim=36, vocab_size=41)
    assert config(tmp_path) == ModelConfig(**plain, norm_eps=1e-6, rope_theta=1e4, sliding_window=4096)
    assert config(tmp_path, MIXTRAL) == ModelConfig(**plain, norm_eps=1e-5, rope_theta=1e6, moe=MoEConfig(8, 2))
    assert config(tmp_path, sliding_window=None).sliding_window is None
    assert config(tmp_path, num_key_value_heads=None).n_kv_heads == 6
    assert config(tmp_path, without=["num_key_value_heads"], num_attention_heads=16).n_kv_heads == 8
    assert config(tmp_path, head_dim=None).head_dim == config(tmp_path, without=["head_dim"]).head_dim == 4
    assert config(tmp_path, without=["model_type"], architectures=["MistralForCausalLM"]).moe is None


@pytest.mark.parametrize(
    "given",
    [
        {"rope_theta": 5e5},
        {"rope_theta": 500000},
        {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}},
        {"rope_parameters": {"rope_theta": 5e5}, "rope_scaling": None, "rope_theta": 5e5},
        {"rope_theta": 5e5, "rope_scaling": {"type": "default"}},
        {"rope_theta": 5e5, "rope_parameters": None},
    ],
    ids=str,
)
def test_old_and_new_rope_fields_say_the_same(tmp_path, given):
    assert config(tmp_path, **given).rope_theta == 5e5


@pytest.mark.parametrize(
    "change",
    [
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}},
        {"rope_scaling": {"factor": 2.0}},
        {"rope_scaling": "linear"},
        {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}},
        {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}},
        {"rope_parameters": {"full_attention": {"rope_theta": 1e4}, "sliding_attention": {"rope_theta": 1e6}}},
        {"rope_parameters": {"rope_theta": "1e4"}},
        {"rope_parameters": {"rope_theta": 1e4}, "rope_theta": 1e6},
        {"partial_rotary_factor": 0.5},
        {"hidden_act": "gelu"},
        {"hidden_act": None, "attention_bias": True},
        {"mlp_bias": True},
        {"quantization_config": {"quant_method": "awq", "bits": 4}},
        {"per_layer_config": {"0": {}}},
        {"layer_types": ["full_attention", "sliding_attention"]},
        {"layer_types": ["sliding_attention"]},
        {"layer_types": ["full_attention", "full_attention"]},
        {"layer_types": 3},
        {"model_type": "llama"},
        {"model_type": None},
        {"model_type": ["mistral"]},
        {"architectures": ["MistralForSequenceClassification"]},
        {"architectures": ["MixtralForCausalLM"]},
        {"architectures": "MistralForCausalLM"},
        {"sliding_window": "4096"},
        {"sliding_window": 0},
        {"tie_word_embeddings": "false"},
        {"num_key_value_heads": 4},
        {"head_dim": 7},
        {"rms_norm_eps": None, "rope_theta": -1.0},
        {"model_type": "mixtral", "num_local_experts": 2, "num_experts_per_tok": 3},
        {"model_type": "mixtral", "num_local_experts": 0},
    ],
    ids=str,
)
def test_hub_configs_that_cannot_be_or_cannot_be_honoured_are_refused(tmp_path, change):
    names = "|".join([*change, "n_kv_heads", "RoPE"])
    with pytest.raises(CheckpointError, match=rf"config.json.*({names})"):
        config(tmp_path, **change)


def test_layer_types_that_say_what_the_window_says_are_accepted(tmp_path):
    assert config(tmp_path, layer_types=["sliding_attention"] * 2, sliding_window=5).sliding_window == 5
    assert config(tmp_path, layer_types=["full_attention"] * 2, sliding_window=None).sliding_window is None


@pytest.mark.parametrize(
    "text, reason",
    [
        (b"", "empty"),
        (b"[1, 2]", "holds a JSON list"),
        (b"{", "not valid JSON"),
        (b'{"dim": 1, "dim": 2}', "'dim' stands twice"),
        (b'{"dim": NaN}', "NaN"),
        (b'{"dim": -Infinity}', "Infinity"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply|not valid"),
        (b'{"dim": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"a": "' + b"x" * 10_000_000 + b'"}', "has 10,000,009 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git-lfs pointer"),
        (b"<!DOCTYPE html><html></html>", "web page"),
    ],
    ids=lambda value: str(value)[:24],
)
@pytest.mark.parametrize("read", [read_params, read_config])
def test_what_is_no_json_object_is_refused(tmp_path, read, text, reason):
    (tmp_path / "some.json").write_bytes(text)
    with pytest.raises(CheckpointError, match=rf"some.json.*({reason})"):
        read(tmp_path / "some.json")


@pytest.mark.parametrize("name", ["mistral-7b-v0.1", "mistral-7b-v0.3", "mixtral-8x7b-v0.1"])
def test_what_is_written_reads_back_the_same(tmp_path, name):
    preset = ModelConfig.preset(name)
    (tmp_path / "params.json").write_text(json.dumps(write_params(preset)))
    (tmp_path / "config.json").write_text(json.dumps(write_config(preset, "bfloat16", 1, 2)))
    native, hub = read_params(tmp_path / "params.json"), read_config(tmp_path / "config.json")
    assert native.config == hub.config == preset and not native.notes and hub.dtype == "bfloat16"
