"""`minimistral chat` as a person meets it: from a pipe, at a keyboard, interrupted."""

import os
import select
import signal
import subprocess
import sys
import time

import pytest
import torch
from typer.testing import CliRunner

from minimistral import ModelConfig, Tokenizer, Transformer, save
from minimistral.cli import app
from minimistral.conversation import Conversation

torch.set_num_threads(1)

SIZES = dict(dim=16, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=6, hidden_dim=20, vocab_size=32_000)
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1", "NO_COLOR": "1", "TERM": "dumb"}


def chat_model(**changes):
    torch.manual_seed(1)
    model = Transformer(ModelConfig(**SIZES | changes)).eval().requires_grad_(False)
    for name, weight in model.named_parameters():
        weight.fill_(1.0) if "norm" in name else weight.normal_(std=weight.shape[-1] ** -0.5)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("chat") / "model"
    save(chat_model(max_position_embeddings=70), path, tokenizer=Tokenizer.mistral_v1())
    return path


def command(*arguments):
    return [sys.executable, "-m", "minimistral", "chat", *map(str, arguments)]


def answers(questions, system="", **options):
    chat = Conversation(chat_model(max_position_embeddings=70), Tokenizer.mistral_v1(), system)
    return ["".join(chat.answer(question, **options)) for question in questions]


def test_each_line_of_a_pipe_is_a_turn(folder):
    lines = ["Hello", "", "And?", "/what", "word " * 60, "/reset", "Hello", "/quit", "not asked"]
    options = ["--system", "Be brief.", "--max-new-tokens", 5, "--temperature", 0.9, "--seed", 3]
    done = subprocess.run(
        command(folder, *options),
        input="\n".join(lines),
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr
    first, second = answers(["Hello", "And?"], "Be brief.", max_new_tokens=5, temperature=0.9, seed=3)
    assert done.stdout == f"{first}\n{second}\n{first}\n"
    cut, cut_again, commands, full, anew, cut_then, speed = done.stderr.splitlines()
    assert cut == cut_again == cut_then and "--max-new-tokens" in cut and speed.startswith("15 tokens, ")
    assert "/quit" in commands and "context is 70" in full and "/reset" in full and "anew" in anew


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["tiny-mistral"], "chat format"),
        (["{folder}", "--temperature", "-1"], "temperature"),
        (["{folder}", "--max-context", "0"], "max_context"),
        (["{folder}", "--quantize", "int3"], "int3"),
        (["{folder}/nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_is_one_line_before_the_first_question(folder, arguments, expected):
    done = CliRunner().invoke(app, ["chat", *[a.format(folder=folder) for a in arguments]], input="Hello\n")
    assert done.exit_code == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ") and expected in done.stderr


posix = pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C and terminals are other things there")


@posix
def test_control_c_stops_an_answer_and_the_chat_goes_on(folder, tmp_path):
    save(chat_model(sliding_window=8), tmp_path / "endless", tokenizer=Tokenizer.mistral_v1())
    listens = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    with subprocess.Popen(
        command(tmp_path / "endless", "--max-new-tokens", 10**6, "--temperature", 1, "--seed", 1),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT, **listens,
    ) as process:  # fmt: skip
        for _ in range(2):
            process.stdin.write(b"Hello\n")
            process.stdin.flush()
            assert process.stdout.read(20), "the answer has begun, and its end is far"
            process.send_signal(signal.SIGINT)
            while process.stderr.readline().strip() != b"Stopped.":
                assert process.poll() is None
        process.stdin.write(b"/quit\n")
        process.stdin.close()
        rest = process.stdout.read()
        assert process.wait(timeout=60) == 0
    assert rest.endswith(b"\n") and len(rest) < 10**6


@posix
def test_at_a_keyboard_there_is_a_prompt_that_control_c_does_not_end(folder):
    import pty

    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command(folder, "--max-new-tokens", 3), stdin=theirs, stdout=theirs, stderr=theirs, env=ENVIRONMENT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:  # fmt: skip
        os.close(theirs)
        seen = ""

        def wait_for(text, n=1, when_silent=lambda: None):
            nonlocal seen
            deadline = time.monotonic() + 100
            while seen.count(text) < n:
                assert time.monotonic() < deadline, seen
                if select.select([ours], [], [], 1)[0]:
                    seen += os.read(ours, 1000).decode(errors="replace")
                else:
                    when_silent()

        wait_for("\n> ")
        # Between showing the prompt and waiting for keys, readline lets a signal lie until the next one.
        wait_for("> ", 2, when_silent=lambda: process.send_signal(signal.SIGINT))
        n = seen.count("> ")
        os.write(ours, b"Hello\n")
        wait_for("> ", n + 1)
        os.write(ours, b"\x04")  # Ctrl-D
        assert process.wait(timeout=60) == 0
        os.close(ours)
    assert seen.count("Ctrl-C stops an answer") >= 2 and "Traceback" not in seen
    assert answers(["Hello"], max_new_tokens=3)[0].strip() in seen
