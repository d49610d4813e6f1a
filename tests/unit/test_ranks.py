"""Two processes on the gloo backend, started by torchrun, train as one does: same losses, same weights, same after a kill."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from minimistral import ModelConfig, MoEConfig, Transformer, load, ranks
from minimistral.moe import balance_loss, expert_share
from minimistral.resume import FILE_NAME, LOG_NAME
from minimistral.train import TrainConfig, train

torch.set_num_threads(1)

# Sixteen experts and 60 tokens a step: some get tokens on one rank only, some on none.
MIXTURE = MoEConfig(num_experts=16, num_experts_per_tok=2)
CONFIG = TrainConfig(
    steps=12, batch_size=6, context=10, warmup_steps=3, learning_rate=3e-3, balance_loss=0.3, save_every=4,
    evaluate_every=5,
)  # fmt: skip
TOKENS = torch.randint(37, (400,), generator=torch.Generator().manual_seed(1))
HELD_OUT = torch.randint(37, (60,), generator=torch.Generator().manual_seed(2))
BEGIN = f"""
import os, shutil, signal, sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_ranks import *
from minimistral import ranks
out, moe = Path(sys.argv[1]), MIXTURE if sys.argv[2] == "mixture" else None
"""


def small_model(moe, seed=0):
    torch.manual_seed(seed)
    sizes = dict(dim=24, n_layers=2, n_heads=6, n_kv_heads=2, head_dim=10, hidden_dim=40, vocab_size=37)
    return Transformer(ModelConfig(**sizes, moe=moe))


def torchrun(arguments, n=2, cwd=None):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", env=environment, timeout=240, cwd=cwd
    )


def run_script(tmp_path, body, *arguments):
    script = tmp_path / "script.py"
    script.write_text(BEGIN + body, encoding="utf-8")
    return torchrun([str(script), str(tmp_path), *arguments])


WHOLE = """
def keep_state(record):
    assert ranks.rank() == 0, "on_step belongs to the first rank"
    if record["step"] == 8:
        (out / "copy").mkdir()
        shutil.copy(out / "whole" / FILE_NAME, out / "copy" / FILE_NAME)

with ranks.joined():
    model = small_model(moe, seed=ranks.rank())  # the first rank's weights are taken
    records = train(model, TOKENS, CONFIG, HELD_OUT, out / "whole", keep_state, evaluate=lambda model: {"a": 1.0})
    again = small_model(moe, seed=9)
    resumed = train(again, TOKENS, CONFIG, HELD_OUT, out / "copy", progress=False, evaluate=lambda model: {"a": 1.0})
    refused = []
    for config, folder in ((replace(CONFIG, seed=5), out / "whole"), (replace(CONFIG, batch_size=5), None)):
        try:
            train(again, TOKENS, config, folder=folder, progress=False)
        except ValueError as error:
            refused.append(str(error))
    torch.save(
        dict(records=records, weights=model.state_dict(), resumed=resumed, again=again.state_dict(), refused=refused),
        out / f"{ranks.rank()}.pt",
    )
"""


@pytest.fixture(scope="module", params=["dense", "mixture"])
def two_ranks(request, tmp_path_factory):
    """One process's records and weights, what each of two processes ended with, their folder and what they printed."""
    folder = tmp_path_factory.mktemp(request.param)
    done = run_script(folder, WHOLE, request.param)
    assert done.returncode == 0, done.stderr
    model = small_model(MIXTURE if request.param == "mixture" else None)
    records = train(model, TOKENS, CONFIG, HELD_OUT, progress=False)
    return records, model.state_dict(), [torch.load(folder / f"{rank}.pt") for rank in (0, 1)], folder, done


def test_two_processes_have_the_losses_and_weights_of_one(two_ranks):
    records, weights, ranks, _, _ = two_ranks
    for rank in ranks:
        for theirs, ours in zip(rank["records"], records, strict=True):
            theirs = {name: value for name, value in theirs.items() if name != "bits_a_byte"}
            assert theirs == pytest.approx(ours, rel=2e-5)
        for name, weight in weights.items():
            torch.testing.assert_close(rank["weights"][name], weight, rtol=1e-4, atol=1e-5)
            assert torch.equal(rank["weights"][name], ranks[0]["weights"][name])


def test_a_resumed_run_of_two_processes_ends_with_the_same_bits(two_ranks):
    for rank in two_ranks[2]:
        assert rank["resumed"] == rank["records"]
        assert all(torch.equal(rank["again"][name], weight) for name, weight in rank["weights"].items())


def test_every_process_hears_why_a_run_is_refused(two_ranks):
    for rank in two_ranks[2]:
        assert len(rank["refused"]) == 2
        assert "training seed=0" in rank["refused"][0] and "batch_size=5 does not divide among 2" in rank["refused"][1]


def test_only_the_first_process_shows_progress_and_writes(two_ranks):
    *_, folder, done = two_ranks
    assert done.stdout == ""
    assert done.stderr.count("| 0/12 [") == 1, "one bar begins"
    assert sorted(path.name for path in (folder / "whole").iterdir()) == sorted([FILE_NAME, LOG_NAME])
    assert len((folder / "whole" / LOG_NAME).read_text().splitlines()) == 12


KILLED = """
def die(model):  # called on every rank
    if ranks.rank() == 1 and not (out / "again").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return {"a": 1.0}

with ranks.joined():
    model = small_model(moe)
    records = train(model, TOKENS, CONFIG, HELD_OUT, out / "run", progress=False, evaluate=die)
    torch.save([records, model.state_dict()], out / f"{ranks.rank()}.pt")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no SIGKILL")
def test_when_the_system_kills_one_of_two_they_start_again_together(two_ranks, tmp_path):
    _, _, ranks, _, _ = two_ranks
    moe = "mixture" if "balance" in ranks[0]["records"][0] else "dense"
    if moe == "dense":
        pytest.skip("the mixture is the harder case, and each run takes seconds")
    assert run_script(tmp_path, KILLED, moe).returncode != 0
    assert (tmp_path / "run" / FILE_NAME).exists() and not (tmp_path / "0.pt").exists()
    (tmp_path / "again").touch()
    done = run_script(tmp_path, KILLED, moe)
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):
        records, weights = torch.load(tmp_path / f"{rank}.pt")
        assert records == ranks[rank]["records"]
        assert all(torch.equal(weight, ranks[rank]["weights"][name]) for name, weight in weights.items())


def test_parts_of_a_batch_have_together_the_balance_loss_of_the_whole():
    """What train relies on: with f of the whole, the mean over parts is the loss of the whole, and so is its gradient."""
    logits = torch.randn(12, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64).requires_grad_()
    whole = balance_loss(logits, k=2)
    parts = [balance_loss(part, 2, expert_share(logits, 2)) for part in logits.chunk(3)]
    torch.testing.assert_close(sum(parts) / 3, whole)
    ours, theirs = (torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (sum(parts) / 3, whole))
    torch.testing.assert_close(ours, theirs)
    alone = sum(balance_loss(part, 2) for part in logits.chunk(3)) / 3
    assert abs(float((alone - whole).detach())) > 1e-3, "without f of the whole it is another loss"


def test_the_command_trains_under_torchrun_and_writes_one_model(tmp_path):
    tokenizer = Path(load.__code__.co_filename).parents[1] / "pretrained" / "tiny-tokenizer" / "tokenizer.model"
    (tmp_path / "text.txt").write_text("All the world's a stage, and all the men and women merely players.\n" * 20)
    (tmp_path / "recipe.toml").write_text(
        f'output = "run"\n[text]\ntrain = "text.txt"\ntokenizer = "{tokenizer.as_posix()}"\n[model]\ndim = 16\n'
        "n_layers = 1\nn_heads = 2\nn_kv_heads = 1\nhead_dim = 4\nhidden_dim = 20\n"
        "[training]\nsteps = 3\nbatch_size = 2\ncontext = 8\nwarmup_steps = 1\n"
    )
    done = torchrun(["-m", "minimistral", "train", "recipe.toml"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("The model is in") == 1 and "find_unused_parameters" not in done.stderr
    assert load(tmp_path / "run" / "model")[0].config.dim == 16
    odd = (tmp_path / "recipe.toml").read_text().replace("batch_size = 2", "batch_size = 3")
    (tmp_path / "recipe.toml").write_text(odd.replace('"run"', '"other"'))
    done = torchrun(["-m", "minimistral", "train", "recipe.toml"], cwd=tmp_path)
    assert done.returncode != 0 and "batch_size=3 does not divide among 2 processes" in done.stderr


@pytest.mark.parametrize(
    "has_gpu, has_nccl, backend",
    [(True, True, "cpu:gloo,cuda:nccl"), (True, False, "gloo"), (False, False, "gloo")],
    ids=["Linux with a GPU", "Windows with a GPU", "no CUDA, or an Apple GPU"],
)
def test_what_lies_on_the_cpu_can_be_sent_whatever_the_machine_has(monkeypatch, has_gpu, has_nccl, backend):
    """Left to itself, torch takes the one backend of the accelerator: objects, and a model on the CPU, then cannot be sent."""
    asked = []
    for name, value in (
        ("is_torchelastic_launched", lambda: True),
        ("is_initialized", lambda: False),
        ("is_nccl_available", lambda: has_nccl),
        ("init_process_group", lambda *args, **how: asked.append(args)),
        ("barrier", lambda: None),
        ("destroy_process_group", lambda: None),
    ):
        monkeypatch.setattr(torch.distributed, name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setenv("LOCAL_RANK", "0")
    with ranks.joined():
        pass
    assert asked == [(backend,)]
