"""What chapters 12 and 13 do with a model: settings changed for a moment, losses, rungs over real layouts and machines."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import torch

from minimistral import ModelConfig, Tokenizer, Transformer, generate, load, save
from minimistral.evaluate import negative_log_likelihood
from minimistral.lab import rungs
from minimistral.lab.real_model import (
    as_if,
    as_if_unpermuted,
    as_table,
    bits_of,
    lengths_that_fit,
    losses,
    mistakes,
    same_targets,
    tensors_of,
)
from minimistral.lab.rungs import find_rung
from minimistral.lab.tools.chat import Chat
from minimistral.machine import Gpu, Machine
from minimistral.plan import plan

SIZES = dict(dim=24, n_layers=3, n_heads=4, n_kv_heads=2, head_dim=6, hidden_dim=40, vocab_size=50)
GB = 10**9


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Transformer(ModelConfig(**SIZES, sliding_window=5)).eval()


def laptop(memory=16):
    return Machine(4, memory * GB, memory * GB, 100 * GB, (), 20e9)


def test_losses_are_those_of_one_long_pass(model):
    ids = torch.randint(50, (1300,), generator=torch.Generator().manual_seed(1)).tolist()  # three chunks
    found = losses(model, ids)
    with torch.inference_mode():
        logits = model(torch.tensor([ids[:-1]]))[0].log_softmax(-1)
    by_hand = -logits[torch.arange(1299), torch.tensor(ids[1:])] / torch.log(torch.tensor(2.0))
    torch.testing.assert_close(found, by_hand, rtol=1e-4, atol=1e-4)
    assert abs(float(found.sum()) * 0.6931471805599453 - negative_log_likelihood(model, ids)) < 0.05


def test_same_targets_and_only_the_context_differs(model):
    ids = list(range(40))
    assert same_targets(model, [ids], 3, 4) == pytest.approx(float(losses(model, ids[-7:])[-4:].mean()), abs=1e-5)
    with pytest.raises(ValueError, match="need 41"):
        same_targets(model, [ids], 37, 4)


def test_as_if_is_another_model_and_then_itself_again(model):
    ids = torch.randint(50, (1, 20))
    for change in (dict(sliding_window=None), dict(sliding_window=9), dict(rope_theta=77.0)):
        other = Transformer(ModelConfig(**SIZES | dict(sliding_window=5) | change))
        other.load_state_dict(model.state_dict())
        before = model(ids)
        with as_if(model, **change):
            torch.testing.assert_close(model(ids), other(ids))
            assert model.make_cache(1, 30).n_slots == other.make_cache(1, 30).n_slots
        assert torch.equal(model(ids), before) and model.config.sliding_window == 5
    with pytest.raises(RuntimeError), as_if(model, sliding_window=None):
        raise RuntimeError
    assert model.layers[1].attention.window == 5


def test_unpermuted_is_what_hub_weights_give_without_reordering(model, tmp_path):
    """Weights saved in the hub's layout, read as if they were native: the mistake itself."""
    from safetensors.torch import load_file

    save(model, tmp_path / "hub", layout="hub")
    raw = load_file(tmp_path / "hub" / "model.safetensors")
    wrong = Transformer(model.config)
    state = dict(model.state_dict())
    for i in range(3):
        for ours, theirs in (("wq", "q_proj"), ("wk", "k_proj")):
            state[f"layers.{i}.attention.{ours}.weight"] = raw[f"model.layers.{i}.self_attn.{theirs}.weight"]
    wrong.load_state_dict(state)
    ids = torch.randint(50, (1, 12))
    right = model(ids)
    with as_if_unpermuted():
        mistaken = model(ids)
    torch.testing.assert_close(mistaken, wrong(ids))
    assert (mistaken - right).abs().max() > 1e-3


def test_without_files_a_stand_in(monkeypatch):
    monkeypatch.setattr(rungs, "_folder", lambda *_: None)
    rung = find_rung("mistral-7b-v0.1", "tiny-mistral", machine=laptop())
    assert rung.name == "stand-in" and not rung.is_real and not rung.is_whole
    assert "minimistral download mistral-7b-v0.1" in rung.why
    assert rung.load()[0].config.n_layers == 6


@pytest.mark.parametrize("layout", ["native", "hub"])
def test_a_whole_model_in_a_folder(model, tmp_path, layout):
    save(model, tmp_path / "m", layout=layout)
    rung = find_rung("mistral-7b-v0.1", "tiny-mistral", weights=tmp_path / "m", machine=laptop())
    assert rung.name == "cpu" and rung.is_whole and rung.why.startswith("The real")
    ids = torch.randint(50, (1, 12))
    torch.testing.assert_close(rung.load()[0](ids), model(ids), rtol=1e-4, atol=1e-4)
    assert sum(entry.n_bytes for entry in tensors_of(rung.folder).values()) == sum(w.nbytes for w in model.parameters())


def test_some_layers_of_a_download(model, tmp_path):
    """A folder as `minimistral download --layers` leaves it: its record says which layers are there."""
    save(model, tmp_path / "m")
    record = dict(model="a/b", commit="c", layers=[0, 2], n_layers=3, files={"params.json": {"size": 1}})
    (tmp_path / "m" / "download.json").write_text(json.dumps(record))
    rung = find_rung("mistral-7b-v0.1", "tiny-mistral", weights=tmp_path / "m", machine=laptop())
    assert rung.name == "some layers" and rung.layers == [0, 2] and "0, 2" in rung.why
    assert rung.load()[0].config.n_layers == 2


def test_a_model_too_large_for_the_machine_is_run_in_part(tmp_path, monkeypatch, model):
    save(model, tmp_path / "m")
    real = ModelConfig.preset("mistral-7b-v0.1")
    monkeypatch.setattr(rungs, "plan", lambda *_: rungs_plan(real))
    rung = find_rung("mistral-7b-v0.1", "tiny-mistral", weights=tmp_path / "m", machine=laptop(3))
    assert rung.name == "some layers" and rung.layers == [0, 1, 2, 3] and "first 4 layers" in rung.why


def rungs_plan(config):
    return plan(config, laptop(3))


@pytest.mark.parametrize(
    ("gpus", "name"), [((24,), "gpu"), ((10,), "gpu"), ((12, 12), "several gpus")], ids=["one", "small", "two"]
)
def test_gpus(tmp_path, monkeypatch, model, gpus, name):
    save(model, tmp_path / "m")
    cards = tuple(Gpu("card", gb * GB, gb * GB, "cuda", 1e12, 1e10) for gb in gpus)
    here = Machine(8, 64 * GB, 60 * GB, 100 * GB, cards, 5e10)
    monkeypatch.setattr(rungs, "plan", lambda *_: plan("mistral-7b-v0.1", here))
    assert find_rung("mistral-7b-v0.1", "tiny-mistral", weights=tmp_path / "m").name == name


def test_what_two_small_gpus_hold_together_the_notebook_runs_in_part(tmp_path, monkeypatch, model):
    """And says so: two processes would have the whole model, and a notebook is one."""
    save(model, tmp_path / "m")
    here = Machine(8, 8 * GB, 4 * GB, 100 * GB, (Gpu("card", 5 * GB, 5 * GB),) * 2)
    monkeypatch.setattr(rungs, "machine", lambda measure: here)
    monkeypatch.setattr(rungs, "plan", lambda _, machine=None: plan("mistral-7b-v0.1", machine or here))
    rung = find_rung("mistral-7b-v0.1", "tiny-mistral", weights=tmp_path / "m")
    assert rung.name == "several gpus" and rung.is_real and not rung.is_whole
    assert re.search(r"\(torchrun\)\. .* is one process, and runs the first \d layers\.$", rung.why)


@pytest.mark.parametrize(("free", "bits"), [(9.1, "int8"), (9.0, "int4"), (6.2, "int4"), (6.1, None)])
def test_chapter_12s_table_of_rungs_says_what_the_plan_asks_for(free, bits):
    table = next(cell.source for cell in chapter_12(kind="markdown") if "| 8-bit on a CPU |" in cell.source)
    assert (
        "9.1 GB of free memory (4 bits: 6.2)" in table
        and "18 GB or more on it for 16 bits, 10 for 8 bits, 8 for 4" in table
    )
    found = plan("mistral-7b-v0.1", Machine(4, 16 * GB, int(free * GB), 100 * GB, (), 20e9))
    assert found.quantize == bits and (found.layers is None) == (bits is not None)
    for gb, on_card in ((18, None), (10, "int8"), (8, "int4")):
        card = Gpu("card", gb * GB, int(0.96 * gb * GB))
        found = plan("mistral-7b-v0.1", Machine(4, 16 * GB, 12 * GB, 100 * GB, (card,)))
        assert (found.device, found.quantize) == ("cuda", on_card)


@pytest.mark.parametrize(
    ("place", "title", "is_chat"),
    [
        ("Mistral-7B-v0.1", "Mistral-7B-v0.1", False),
        ("Mistral-7B-Instruct-v0.3", "Mistral-7B-Instruct-v0.3", True),
        ("mistral_7b_instruct_v3", "mistral_7b_instruct_v3", True),
        ("Instructors-7B", "Instructors-7B", False),
        ("instruct/mine", "mine", False),
        ("models--mistralai--Mistral-7B-Instruct-v0.2/snapshots/41b61a", "Mistral-7B-Instruct-v0.2", True),
    ],
)
def test_what_a_model_is_called_and_whether_it_chats(model, tmp_path, place, title, is_chat):
    """Whoever points WEIGHTS at another version is not told that it is v0.1."""
    save(model, tmp_path / place)
    rung = find_rung("mistral-7b-v0.1", "tiny-mistral", weights=tmp_path / place, machine=laptop())
    assert rung.why.startswith(f"The real {title}. ") and rung.is_chat == is_chat


def test_a_download_is_called_as_its_record_says(model, tmp_path):
    save(model, tmp_path / "m")
    record = dict(model="mistralai/Mistral-7B-Instruct-v0.3", commit="c", files={"params.json": {"size": 1}})
    (tmp_path / "m" / "download.json").write_text(json.dumps(record))
    rung = find_rung("mistral-7b-v0.1", "tiny-mistral", weights=tmp_path / "m", machine=laptop())
    assert rung.why.startswith("The real Mistral-7B-Instruct-v0.3. ") and rung.is_chat


def test_the_other_kind_of_model_is_refused(model, tmp_path):
    save(model, tmp_path / "dense")
    with pytest.raises(ValueError, match="dense: holds a dense model, .* mistralai/Mixtral-8x7B-v0.1 or"):
        find_rung("mixtral-8x7b-v0.1", "tiny-mixtral", weights=tmp_path / "dense", machine=laptop())


def test_without_a_tokenizer_the_first_vocabulary_has_its_own(model, like_the_hub, tmp_path):
    save(model, tmp_path / "m")
    for folder, expected in ((tmp_path / "m", None), (like_the_hub[1], 32_000)):
        rung = find_rung("mistral-7b-v0.1", "tiny-mistral", weights=folder, machine=laptop())
        tokenizer = rung.load()[1]
        assert tokenizer is None if expected is None else tokenizer.vocab_size == expected


def test_the_table_of_a_pickle_is_that_of_the_same_safetensors_file(model, tmp_path):
    save(model, tmp_path / "m")
    path = tmp_path / "m" / "consolidated.safetensors"
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__", None)
    pickle = tmp_path / "p" / "consolidated.00.pth"
    pickle.parent.mkdir()
    (pickle.parent / "params.json").write_bytes((tmp_path / "m" / "params.json").read_bytes())
    torch.save(model.state_dict(), pickle)
    table = as_table(pickle, tensors_of(pickle.parent))
    sizes = {name: entry["data_offsets"][1] - entry["data_offsets"][0] for name, entry in header.items()}
    assert {name: entry["data_offsets"] for name, entry in table.items()} == {name: [0, n] for name, n in sizes.items()}
    assert all(table[name][key] == header[name][key] for name in header for key in ("dtype", "shape"))


def test_a_folder_that_is_none_is_named():
    with pytest.raises(ValueError, match="no/such"):
        find_rung("mistral-7b-v0.1", "tiny-mistral", weights="no/such", machine=laptop())


REAL_SIZES = dict(
    dim=64, n_layers=3, n_heads=4, n_kv_heads=2, head_dim=16, hidden_dim=96, vocab_size=32_000, sliding_window=16
)
CARD = Machine(8, 64 * GB, 60 * GB, 100 * GB, (Gpu("card", 24 * GB, 24 * GB, "cuda", 1e12, 1e10),), 5e10)


@pytest.fixture(scope="module")
def like_the_hub(tmp_path_factory):
    """A model with v0.1's vocabulary as the hub keeps it: bfloat16, two shards and an index, q and k as halves."""
    torch.manual_seed(0)
    model = Transformer(ModelConfig(**REAL_SIZES)).eval().to(torch.bfloat16)
    folder = tmp_path_factory.mktemp("hub") / "Mistral"
    save(model, folder, layout="hub", max_shard_size=sum(w.nbytes for w in model.parameters()) * 2 // 3)
    assert (folder / "model.safetensors.index.json").is_file()
    return model, folder


@pytest.mark.parametrize("quantize", [None, "int8", "int4"])
def test_what_chapter_12_does_with_the_real_weights(like_the_hub, quantize):
    original, folder = like_the_hub
    model, tokenizer = load(folder, device="cpu", dtype="bfloat16", quantize=quantize)
    assert tokenizer is None and bits_of(model) == quantize
    ids = torch.randint(32_000, (80,), generator=torch.Generator().manual_seed(1)).tolist()
    plain, exact = losses(model, ids), losses(original, ids)
    assert (plain - exact).abs().mean() < (0.5 if quantize == "int4" else 0.1)
    found = {}
    for name, mistake in mistakes(model).items():
        with mistake:
            found[name] = losses(model, ids)
            assert len(generate(model, [ids], max_new_tokens=3, stop_ids=())[0]) == 3
    assert torch.equal(found["as it is"], plain) and torch.equal(losses(model, ids), plain)
    assert all((found[name] - plain).abs().max() > 0.01 for name in ("theta wrong", "unpermuted"))
    inside = same_targets(model, [ids], 8, 8)
    with as_if(model, sliding_window=None):
        assert same_targets(model, [ids], 8, 8) == pytest.approx(inside, abs=0.05)  # 16 tokens: the window hides none
    tool = Chat(model, Tokenizer.mistral_v1(), text="And it came", most=3, chat=False)
    assert tool.speaker.chat is None and tool.first().ids == Tokenizer.mistral_v1().encode("And it came", bos=True)


def test_bits_of_a_model_in_floats_and_without_some_layers(like_the_hub):
    assert bits_of(load(like_the_hub[1], device="cpu", layers=1)[0]) is None


def test_lengths_that_fit_count_the_cache_without_the_window(model):
    row = 2 * 3 * 2 * 6 * 4  # bytes of one token's keys and values: K and V, layers, heads, head_dim, float32
    scores = 3 * 4 * 4 * 256
    free = 1000 * (row + scores) / 0.92 + 1
    assert lengths_that_fit(model, (100, 1000, 1001), free) == (100, 1000)
    assert lengths_that_fit(model, (100, 1000), 1) == (100,)
    assert model.config.sliding_window == 5 and lengths_that_fit(model, (7,)) == (7,)


def chapter_12(kind="code"):
    path = Path(__file__).parents[2] / "chapters" / "12_mistral_7b.ipynb"
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == kind]


@pytest.mark.parametrize("name", ["12_mistral_7b", "13_mixtral_8x7b"])
def test_a_rung_is_planned_with_all_threads_and_a_stand_in_runs_on_one(name):
    """Measured on one thread, "at most" would be a half of what the model then writes. Also where the notebook is run again."""
    path, before = Path(__file__).parents[2] / "chapters" / f"{name}.ipynb", torch.get_num_threads()
    [source] = [cell.source for cell in nbformat.read(path, 4).cells if "rung = find_rung(" in cell.source]
    seen = []

    def find(*_):
        seen.append(torch.get_num_threads())
        return SimpleNamespace(why="", is_real=is_real)

    try:
        for is_real in (False, True):
            exec(source, {"torch": torch, "THREADS": 2, "find_rung": find, "let_go": rungs.let_go})
            assert seen.pop() == 2 and torch.get_num_threads() == (2 if is_real else 1)
    finally:
        torch.set_num_threads(before)


RUNGS = {"cpu": (None, laptop()), "some layers": ([0, 2], laptop()), "several gpus": (None, CARD)}


@pytest.mark.parametrize("name", RUNGS)
def test_the_cells_of_chapter_12_on_real_rungs(like_the_hub, name, tmp_path, monkeypatch, capsys):
    """The chapter's own cells up to exercise 12.1, on a model as the hub keeps it; a GPU is played by this CPU."""
    from shutil import copytree

    layers, here = RUNGS[name]
    original, folder = like_the_hub
    folder = copytree(folder, tmp_path / "Mistral")
    if layers is not None:
        record = dict(model="a/b", commit="c", layers=layers, n_layers=3, files={"config.json": {"size": 1}})
        (folder / "download.json").write_text(json.dumps(record))
    rung = find_rung("mistral-7b-v0.1", "tiny-mistral", weights=folder, machine=here)
    rung.name = name
    quantize = "int8" if name == "cpu" else None
    part = dict(layers=layers) if layers is not None else {}
    monkeypatch.setattr(
        rungs.Rung, "_load", lambda self: load(folder, device="cpu", dtype="bfloat16", quantize=quantize, **part)
    )
    names, threads = {"display": lambda picture: print("drawn:", picture.alt)}, torch.get_num_threads()
    try:
        for cell in chapter_12():
            if cell.metadata.get("minimistral"):
                break
            exec(_played(cell.source, name), names)
            if "find_rung(" in cell.source:
                names["rung"] = rung
    finally:
        torch.set_num_threads(threads)
    said = capsys.readouterr().out
    assert ("guesses mean nothing" in said) == (name == "some layers")
    assert ("is not loaded" in said) == (name == "some layers")
    assert ("too long on a CPU" in said) == (name == "cpu")
    assert ("drawn" in said) == (name == "several gpus") and names["on_cpu"] == (name != "several gpus")
    assert ("unpermuted   " in said) and ("text(s)" in said) == (name != "some layers")


def _played(source, name):
    """A cell made quick: a smaller layer of zeros, short real texts; and a CPU that is taken for a GPU."""
    source = source.replace("from IPython.display import display\n", "").replace("hidden_dim=14336", "hidden_dim=512")
    source = (
        source.replace("dim=4096", "dim=512").replace("n_heads=32", "n_heads=4").replace("n_kv_heads=8", "n_kv_heads=2")
    )
    source = source.replace("(1024, 4096, 8192, 16_384)", "(16, 32, 96)").replace(
        "(64, 1) if on_cpu else (1024, 8)", "(64, 1)"
    )
    source = source.replace('assert took[" 8 bits"] <', "assert 0 <").replace("< 8 * bound", "< 800 * bound")
    source = source.replace("bound / 2 <", "0 <")  # so small a layer lies in the processor's cache
    source = source.replace("== real.n_layers", "== 3")  # this small model is whole
    if name == "several gpus":
        source = source.replace('.device.type == "cpu"', '.device.type == "cuda"')
    return source
