"""load(…, layers=…): some layers of a checkpoint as a smaller model, also from a folder that holds no others."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from minimistral import CheckpointError, ModelConfig, MoEConfig, Transformer, load, save

torch.set_num_threads(1)
SIZES = dict(dim=8, n_layers=4, n_heads=2, n_kv_heads=1, head_dim=6, hidden_dim=10, vocab_size=11)


def random_model(**changes):
    torch.manual_seed(0)
    return Transformer(ModelConfig(**SIZES | changes))


def only(model, layers):
    """The oracle: the same modules, moved by hand."""
    small = random_model(n_layers=len(layers), moe=model.config.moe, tie_embeddings=model.config.tie_embeddings)
    state = {name: weight for name, weight in model.state_dict().items() if not name.startswith("layers.")}
    for new, old in enumerate(layers):
        start = f"layers.{old}."
        for name, weight in model.state_dict().items():
            if name.startswith(start):
                state[f"layers.{new}." + name.removeprefix(start)] = weight
    small.load_state_dict(state)
    return small.eval()


@pytest.mark.parametrize("layout", ["native", "hub"])
@pytest.mark.parametrize("moe", [None, MoEConfig(3, 2)])
@pytest.mark.parametrize("asked, layers", [(1, [0]), (3, [0, 1, 2]), ([3], [3]), ([2, 0], [2, 0]), ((1, 2), [1, 2])])
def test_some_layers_are_those_layers_in_that_order(tmp_path, layout, moe, asked, layers):
    model = random_model(moe=moe)
    save(model, tmp_path / "m", layout=layout, max_shard_size=700)
    small, _ = load(tmp_path / "m", device="cpu", layers=asked)
    ids = torch.arange(11)[None]
    assert small.config.n_layers == len(layers)
    with torch.inference_mode():
        assert torch.equal(small(ids), only(model, layers)(ids))


def test_a_tied_model_keeps_its_head(tmp_path):
    model = random_model(tie_embeddings=True)
    save(model, tmp_path / "m")
    small, _ = load(tmp_path / "m", device="cpu", layers=[1])
    with torch.inference_mode():
        assert torch.equal(small(torch.arange(11)[None]), only(model, [1])(torch.arange(11)[None]))


@pytest.mark.parametrize("layers", [0, 5, -1, [], [4], [-1], [0, 0], True, [True], "1", 1.0, [1.0], {0}])
def test_layers_that_cannot_be(tmp_path, layers):
    save(random_model(), tmp_path / "m")
    with pytest.raises(ValueError, match="has 4 layers.*from 1 to 4.*0 to 3") as caught:
        load(tmp_path / "m", layers=layers)
    assert not isinstance(caught.value, CheckpointError)


@pytest.fixture(params=["native", "hub"])
def part(tmp_path, request):
    """A folder that holds layers 1 and 3 alone."""
    save(random_model(), tmp_path / "m", layout=request.param)
    (path,) = (tmp_path / "m").glob("*.safetensors")
    save_file({n: t for n, t in load_file(path).items() if "layers.0" not in n and "layers.2" not in n}, path)
    return tmp_path / "m"


def test_a_part_of_a_model_runs(part):
    small, _ = load(part, device="cpu", layers=[3, 1])
    with torch.inference_mode():
        assert torch.equal(small(torch.arange(11)[None]), only(random_model(), [3, 1])(torch.arange(11)[None]))


@pytest.mark.parametrize("layers", [None, 1, [0], [1, 2]])
def test_a_part_says_what_it_holds(part, layers):
    with pytest.raises(CheckpointError, match=r"layers\.[02]\..* is missing.*Of its 4 layers there are 1, 3 here"):
        load(part, layers=layers)
    with pytest.raises(CheckpointError, match=r"layers=\[1, 3\]"):
        load(part, layers=layers)


def test_a_part_of_a_layer_is_not_taken_for_a_layer(part):
    (path,) = part.glob("*.safetensors")
    tensors = load_file(path)
    lost = next(name for name in tensors if "layers.1." in name)
    save_file({name: tensor for name, tensor in tensors.items() if name != lost}, path)
    with pytest.raises(CheckpointError, match=f"{lost} is missing"):
        load(part, layers=[1])
    load(part, device="cpu", layers=[3])


def test_a_layer_of_another_shape_is_told_and_an_unknown_tensor_too(part):
    (path,) = part.glob("*.safetensors")
    tensors = load_file(path)
    save_file(tensors | {"layers.4.attention.wq.weight": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match=r"layers\.4\.attention"):
        load(part, layers=[1])
    config = next(part.glob("*.json"))
    sizes = json.loads(config.read_text())
    save_file(tensors, path)
    key = "hidden_dim" if "hidden_dim" in sizes else "intermediate_size"
    config.write_text(json.dumps(sizes | {key: 12}))
    with pytest.raises(CheckpointError, match="has shape"):
        load(part, layers=[1])
