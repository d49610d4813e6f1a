"""The training loop: it learns, its parts follow their formulas, and an interrupted run ends with the same bits."""

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from minimistral import ModelConfig, MoEConfig, Transformer, resume
from minimistral.data import read_tokens
from minimistral.moe import balance_loss
from minimistral.train import (
    TrainConfig,
    _fast,
    draw_batch,
    held_out_loss,
    learning_rate,
    make_optimizer,
    train,
)

torch.set_num_threads(1)  # matrices of this size only make a second thread wait

SHORT = TrainConfig(
    steps=12, batch_size=3, context=10, warmup_steps=3, learning_rate=3e-3, save_every=4, evaluate_every=5
)
MIXTURE = MoEConfig(num_experts=4, num_experts_per_tok=2)


def small_model(seed=0, **changes):
    torch.manual_seed(seed)
    sizes = dict(dim=24, n_layers=2, n_heads=6, n_kv_heads=2, head_dim=10, hidden_dim=40, vocab_size=37)
    return Transformer(ModelConfig(**sizes | changes))


def counting_text(n_tokens=600):
    """0, 1, 2 … 36, 0, 1 …: each token says which comes next."""
    return torch.arange(n_tokens) % 37


def random_text(n_tokens=400):
    return torch.randint(37, (n_tokens,), generator=torch.Generator().manual_seed(1))


def quiet_train(*args, **kwargs):
    return train(*args, progress=False, **kwargs)


@pytest.mark.parametrize("moe", [None, MIXTURE], ids=["dense", "mixture"])
def test_the_loss_falls_to_nothing_on_a_text_that_can_be_learned(moe):
    config = TrainConfig(steps=60, batch_size=8, context=16, warmup_steps=5, learning_rate=1e-2)
    model = small_model(moe=moe)
    records = quiet_train(model, counting_text(), config, held_out=counting_text(100))
    assert records[0]["loss"] > 3.0
    assert records[-1]["loss"] < 0.1 and records[-1]["held_out_loss"] < 0.1
    assert [record["step"] for record in records] == list(range(60))


@pytest.mark.parametrize("moe", [None, MIXTURE], ids=["dense", "mixture"])
def test_twenty_steps_equal_a_plain_loop_written_from_the_formulas(moe):
    config = replace(SHORT, steps=20, warmup_steps=4, clip_norm=0.5, balance_loss=0.3)
    tokens, ours, theirs = random_text(), small_model(moe=moe), small_model(moe=moe)
    records = quiet_train(ours, tokens, config)

    names = dict(theirs.named_parameters())
    first = {name: torch.zeros_like(p) for name, p in names.items()}
    second = {name: torch.zeros_like(p) for name, p in names.items()}
    routers = []
    for layer in theirs.layers if moe else []:
        layer.feed_forward.gate.register_forward_hook(lambda gate, args, logits: routers.append(logits))
    for step in range(20):
        batch = draw_batch(tokens, config, step)
        routers.clear()
        loss = F.cross_entropy(theirs(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        balance = sum(slow_balance(logits, moe) for logits in routers) / len(routers) if moe else torch.tensor(0.0)
        gradients = torch.autograd.grad(loss + 0.3 * balance, names.values())
        norm = torch.sqrt(sum((g**2).sum() for g in gradients))
        assert norm > 0.5, "nothing to clip: this test proves nothing about clipping"
        assert records[step]["loss"] == pytest.approx(loss.item(), rel=1e-4)
        assert records[step]["gradient_norm"] == pytest.approx(float(norm), rel=1e-4)
        if moe:
            assert records[step]["balance"] == pytest.approx(balance.item(), rel=1e-4)
        rate = slow_rate(step, 20, 4, config.learning_rate, config.final_learning_rate)
        assert records[step]["learning_rate"] == pytest.approx(rate)
        with torch.no_grad():
            for (name, p), g in zip(names.items(), gradients):
                g = g * (0.5 / norm)
                if "norm" not in name and "tok_embeddings" not in name:
                    p -= rate * 0.1 * p
                first[name] = 0.9 * first[name] + 0.1 * g
                second[name] = 0.95 * second[name] + 0.05 * g**2
                m, v = first[name] / (1 - 0.9 ** (step + 1)), second[name] / (1 - 0.95 ** (step + 1))
                p -= rate * m / (v.sqrt() + 1e-8)
    for name, p in ours.named_parameters():
        torch.testing.assert_close(p, names[name], rtol=1e-3, atol=2e-5)


def slow_balance(logits, moe):
    n_tokens, n_experts = logits.shape
    chosen = [row.sort(descending=True).indices[: moe.num_experts_per_tok].tolist() for row in logits]
    assigned = [sum(e in row for row in chosen) / (n_tokens * moe.num_experts_per_tok) for e in range(n_experts)]
    mean = [sum(logits.softmax(-1)[:, e]) / n_tokens for e in range(n_experts)]
    return n_experts * sum(f * p for f, p in zip(assigned, mean))


def slow_rate(step, steps, warmup, high, low):
    if step < warmup:
        return high * (step + 1) / warmup
    return low + (high - low) * (1 + math.cos(math.pi * (step + 1 - warmup) / (steps - warmup))) / 2


def test_the_balance_loss_is_one_when_even_and_e_when_one_expert_takes_all():
    even = torch.eye(4).repeat(5, 1) * 3 + torch.eye(4).roll(1, 0).repeat(5, 1) * 2
    assert float(balance_loss(even, k=2)) == pytest.approx(1.0)
    assert float(balance_loss(torch.tensor([[60.0, 0, 0, 0]] * 9), k=1)) == pytest.approx(4.0)


def test_the_rate_climbs_to_its_height_and_ends_where_it_should():
    config = TrainConfig(steps=100, warmup_steps=10, learning_rate=2.0, final_learning_rate=0.5)
    rates = [learning_rate(config, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.2) and rates[9] == 2.0 and rates[99] == pytest.approx(0.5)
    assert rates[:10] == sorted(rates[:10]) and rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[54] == pytest.approx(1.25)  # half way down
    assert learning_rate(TrainConfig(steps=5, warmup_steps=0, learning_rate=1.0), 0) < 1.0
    assert learning_rate(TrainConfig(steps=5, warmup_steps=5, learning_rate=1.0), 4) == 1.0


@pytest.mark.parametrize("tied", [False, True])
def test_every_weight_is_trained_and_only_matrices_decay(tied):
    model = small_model(moe=MIXTURE, tie_embeddings=tied)
    decayed, others = make_optimizer(model, SHORT).param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    kept = {names[id(p)] for p in others["params"]}
    assert kept == {name for name in names.values() if "norm" in name or "tok_embeddings" in name}
    assert len(decayed["params"]) + len(kept) == len(names)
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)


def test_an_epoch_shows_each_piece_of_the_text_once_and_targets_follow_inputs():
    tokens, config = torch.arange(1000), TrainConfig(batch_size=4, context=10, seed=7)
    batches = [draw_batch(tokens, config, step) for step in range(50)]
    assert all(batch.shape == (4, 11) for batch in batches)
    assert all(torch.equal(batch, batch[:, :1] + torch.arange(11)) for batch in batches)
    starts = torch.cat([batch[:, 0] for batch in batches])  # 200 rows: two epochs of 98, and 4 rows
    assert len(set(starts[:98].tolist())) == len(set(starts[98:196].tolist())) == 98
    assert set((starts[:98] % 10).tolist()) != set((starts[98:196] % 10).tolist())  # cut at other places
    assert starts[:98].tolist() != sorted(starts[:98].tolist())
    other = draw_batch(tokens, replace(config, seed=8), 0)
    assert torch.equal(draw_batch(tokens, config, 0), batches[0]) and not torch.equal(other, batches[0])


@pytest.mark.parametrize("n_tokens", [11, 12, 21, 31, 32])
def test_a_text_of_one_or_two_rows_is_enough(n_tokens):
    batch = draw_batch(torch.arange(n_tokens), TrainConfig(batch_size=5, context=10), 3)
    assert torch.equal(batch, batch[:, :1] + torch.arange(11))


def test_the_held_out_loss_is_the_mean_over_all_whole_rows():
    model, tokens = small_model(), random_text(76)
    with torch.no_grad():
        rows = [model(tokens[start : start + 10][None])[0].log_softmax(-1) for start in range(0, 70, 10)]
    expected = -sum(float(rows[i // 10][i % 10, tokens[i + 1]]) for i in range(70)) / 70
    assert held_out_loss(model, tokens, SHORT) == pytest.approx(expected, rel=1e-5)


class Killed(BaseException):
    pass


def killer(step):
    def on_step(record):
        if record["step"] == step:
            raise Killed

    return on_step


@pytest.fixture(scope="module", params=[None, MIXTURE], ids=["dense", "mixture"])
def whole_run(request):
    model = small_model(moe=request.param)
    records = quiet_train(model, random_text(), SHORT, held_out=random_text(60))
    return request.param, model.state_dict(), records


@pytest.mark.parametrize("stops", [(0,), (3,), (4,), (6, 9), (2, 3, 11)])
def test_a_run_stopped_anywhere_resumes_to_the_same_bits(whole_run, stops, tmp_path):
    moe, weights, records = whole_run
    for stop in stops:
        model = small_model(seed=9 if (tmp_path / resume.FILE_NAME).exists() else 0, moe=moe)
        with pytest.raises(Killed):
            quiet_train(model, random_text(), SHORT, random_text(60), tmp_path, on_step=killer(stop))
    model = small_model(seed=9 if (tmp_path / resume.FILE_NAME).exists() else 0, moe=moe)
    resumed = quiet_train(model, random_text(), SHORT, held_out=random_text(60), folder=tmp_path)
    assert resumed == records
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_a_kill_in_the_middle_of_writing_leaves_the_state_before(whole_run, tmp_path, monkeypatch):
    moe, weights, records = whole_run
    save, saves = torch.save, []

    def half_a_save(state, file):
        saves.append(file)
        if len(saves) == 2:
            file.write(b"half of it")
            raise Killed
        save(state, file)

    monkeypatch.setattr(resume.torch, "save", half_a_save)
    with pytest.raises(Killed):
        quiet_train(small_model(moe=moe), random_text(), SHORT, random_text(60), tmp_path)
    model = small_model(seed=9, moe=moe)
    first = []
    resumed = quiet_train(model, random_text(), SHORT, random_text(60), tmp_path, on_step=first.append)
    assert first[0]["step"] == 4 and resumed == records
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert {path.name for path in tmp_path.iterdir()} == {resume.FILE_NAME, resume.LOG_NAME}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_process_killed_by_the_system_again_and_again_resumes_to_the_same_bits(tmp_path):
    """Killed at moments drawn at random, and twice while it writes the state, at one byte or another."""
    moe, config = MIXTURE, replace(SHORT, steps=60, save_every=2)
    model = small_model(moe=moe)
    records = quiet_train(model, random_text(), config, held_out=random_text(60))
    weights = model.state_dict()
    assert 4 * sum(weight.numel() for weight in weights.values()) > 100_000, "a state has more bytes than that"
    script = f"""
        import os, random, signal, sys, time, threading, torch
        sys.path[:0] = {[os.path.dirname(__file__), os.getcwd()]!r}
        from test_train import *
        attempt, dice = int(sys.argv[1]), random.Random(int(sys.argv[1]))
        save, saves = resume.torch.save, []
        class Deadly:  # a file that ends the process after so many bytes
            def __init__(self, file, left): self.file, self.left = file, left
            def __getattr__(self, name): return getattr(self.file, name)
            def write(self, data):
                if self.left < len(data):
                    self.file.write(bytes(data)[: self.left]); self.file.flush(); os.kill(os.getpid(), signal.SIGKILL)
                self.left -= len(data)
                return self.file.write(data)
        def deadly_save(state, file):
            saves.append(file)
            save(state, Deadly(file, dice.randrange(100_000)) if len(saves) == 4 else file)
        def kill_soon(record):
            seen.append(record)
            if len(seen) == after:
                threading.Timer(dice.uniform(0, 0.01), os.kill, (os.getpid(), signal.SIGKILL)).start()
        seen, after = [], dice.randint(2, 7)
        if attempt % 2: resume.torch.save = deadly_save
        model = small_model(seed=0 if attempt == 0 else 9, moe={moe!r})
        train(model, random_text(), {config!r}, random_text(60), {str(tmp_path)!r}, None if attempt % 2 else kill_soon, False)
    """
    at = []
    for attempt in range(5):
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(attempt)], capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
        at.append(len((tmp_path / resume.LOG_NAME).read_text().splitlines()))
        assert (tmp_path / resume.FILE_NAME).exists()
    assert at == sorted(at) and at[0] < at[-1] < 60, at
    model = small_model(seed=9, moe=moe)
    assert quiet_train(model, random_text(), config, random_text(60), tmp_path) == records
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert [json.loads(line) for line in (tmp_path / resume.LOG_NAME).read_text().splitlines()] == records


def test_the_log_has_every_record_at_once_and_none_twice_after_a_resume(tmp_path):
    def look(record):
        lines = (tmp_path / resume.LOG_NAME).read_text().splitlines()
        assert json.loads(lines[-1]) == record and len(lines) == record["step"] + 1
        if record["step"] == 9:
            raise Killed

    with pytest.raises(Killed):
        quiet_train(small_model(), random_text(), SHORT, folder=tmp_path, on_step=look)
    (tmp_path / resume.LOG_NAME).open("a").write('{"step": 10, "lo')  # a line that a kill has cut
    records = quiet_train(small_model(seed=9), random_text(), SHORT, folder=tmp_path)
    assert [json.loads(line) for line in (tmp_path / resume.LOG_NAME).read_text().splitlines()] == records


def test_what_evaluate_finds_is_kept_with_the_steps_it_was_asked_at(capsys):
    records = train(small_model(), random_text(), SHORT, evaluate=lambda model: {"drama": 2.5, "prose": 3.0})
    assert [r["step"] for r in records if "bits_a_byte" in r] == [4, 9, 11]
    assert records[4]["bits_a_byte"] == {"drama": 2.5, "prose": 3.0}
    assert "drama 2.50, prose 3.00 bits/byte" in capsys.readouterr().err


def test_gradients_left_over_from_before_are_not_trained_on(whole_run):
    moe, weights, _ = whole_run
    model = small_model(moe=moe)
    model(random_text(10)[None]).sum().backward()
    quiet_train(model, random_text(), SHORT)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_a_finished_run_is_not_trained_again(tmp_path):
    model = small_model()
    records = quiet_train(model, random_text(), SHORT, folder=tmp_path)
    again, steps = small_model(seed=1), []
    assert quiet_train(again, random_text(), SHORT, folder=tmp_path, on_step=steps.append) == records
    assert steps == [] and all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters()))


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(config=replace(SHORT, learning_rate=1e-2)), "training learning_rate=0.003"),
        (dict(tokens=random_text().flip(0)), "data sum"),
        (dict(model=small_model(n_layers=3)), "model n_layers=2"),
        (dict(model=small_model(moe=MIXTURE)), "model moe=None"),
    ],
)
def test_another_run_s_state_is_refused_and_the_model_left_alone(change, message, tmp_path):
    given = dict(model=small_model(), tokens=random_text(), config=SHORT)
    quiet_train(folder=tmp_path, **given)
    given = given | {"model": small_model(seed=2)} | change
    before = [p.clone() for p in given["model"].parameters()]
    with pytest.raises(ValueError, match=message):
        quiet_train(folder=tmp_path, **given)
    assert all(torch.equal(a, b) for a, b in zip(before, given["model"].parameters()))


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 cut short"])
def test_a_damaged_state_says_what_to_do(content, tmp_path):
    (tmp_path / resume.FILE_NAME).write_bytes(content)
    with pytest.raises(ValueError, match="Delete it to start over"):
        quiet_train(small_model(), random_text(), SHORT, folder=tmp_path)


def test_a_loss_that_is_no_number_stops_the_run_before_the_weights_change():
    model = small_model()
    with torch.no_grad():
        model.layers[0].attention.wq.weight[0, 0] = math.inf
    before = model.output.weight.detach().clone()
    with pytest.raises(FloatingPointError, match="smaller learning_rate"):
        quiet_train(model, random_text(), SHORT)
    assert torch.equal(model.output.weight, before)


@pytest.mark.parametrize(
    "tokens, message",
    [
        ([1, 2, 3], "1-D tensor"),
        (torch.zeros(4, 4, dtype=torch.int64), "1-D tensor"),
        (torch.zeros(40), "1-D tensor"),
        (torch.arange(10) % 37, "context"),
        (torch.arange(60), "0 to 36"),
        (torch.arange(-3, 30), "0 to 36"),
    ],
)
def test_a_text_that_does_not_fit_is_refused(tokens, message):
    with pytest.raises(ValueError, match=message):
        quiet_train(small_model(), tokens, SHORT)
    with pytest.raises(ValueError, match=message):
        quiet_train(small_model(), random_text(), SHORT, held_out=tokens)


def test_weights_in_half_precision_are_refused():
    with pytest.raises(ValueError, match=r"model\.float\(\)"):
        quiet_train(small_model().bfloat16(), random_text(), SHORT)


@pytest.mark.parametrize(
    "setting",
    [
        dict(steps=0),
        dict(batch_size=1.5),
        dict(context=True),
        dict(warmup_steps=-1),
        dict(steps=10, warmup_steps=11),
        dict(learning_rate=0.0),
        dict(learning_rate="1e-3"),
        dict(weight_decay=True),
        dict(learning_rate=math.nan),
        dict(final_learning_rate=-1.0),
        dict(beta2=1.0),
        dict(clip_norm=0.0),
        dict(seed=2**32),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(setting):
    with pytest.raises(ValueError, match=list(setting)[-1]):
        TrainConfig(**setting)


class Letters:
    """A tokenizer of 26 letters; 1 begins a document and 2 ends it."""

    def encode(self, text, bos, eos):
        return [1] * bos + [ord(letter) - ord("a") + 3 for letter in text] + [2] * eos


def test_files_become_documents_in_the_order_of_their_names(tmp_path):
    (tmp_path / "part").mkdir()
    (tmp_path / "b.txt").write_text("bb")
    (tmp_path / "part" / "c.txt").write_text("c")
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "readme.md").write_text("zzz")
    assert read_tokens(tmp_path, Letters()).tolist() == [1, 3, 2, 1, 4, 4, 2, 1, 5, 2]
    assert read_tokens(tmp_path / "b.txt", Letters()).tolist() == [1, 4, 4, 2]


def test_a_folder_without_text_or_bytes_that_are_none_are_named(tmp_path):
    with pytest.raises(ValueError, match="no .txt file"):
        read_tokens(tmp_path, Letters())
    (tmp_path / "a.txt").write_bytes(b"abc\xff")
    with pytest.raises(ValueError, match=r"a\.txt is not UTF-8 text \(byte 3\)"):
        read_tokens(tmp_path, Letters())


def test_the_progress_line_shows_loss_and_speed(capsys):
    train(small_model(), random_text(), SHORT)
    line = capsys.readouterr().err
    assert "12/12" in line and "loss=" in line and "tokens/s=" in line


@pytest.mark.parametrize("is_ampere", [True, False])
def test_16_bits_only_where_the_hardware_has_them(monkeypatch, is_ampere):
    """A Turing card has them too, if one asks torch for what it can emulate: slower than float32."""
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or is_ampere
    )
    monkeypatch.setattr(torch, "autocast", lambda kind, dtype, enabled: (kind, enabled))
    assert _fast(torch.device("cuda")) == ("cuda", is_ampere) and _fast(torch.device("cpu")) == ("cpu", False)
