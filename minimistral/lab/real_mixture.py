"""What chapter 13 does with a mixture of any size: route texts a few at a time, weigh kinds of text, run it in processes.

L layers, B texts, T tokens of each, E experts, K chosen for each token. Everything returned lies on the CPU.
"""

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from minimistral.data import bundled_texts
from minimistral.evaluate import Show
from minimistral.lab.routing import route
from minimistral.sources import DOMAINS
from minimistral.tokenizer import Tokenizer
from minimistral.transformer import Transformer

SAMPLE = 200_000  # characters of each kind that a list of words is counted from
PATIENCE = 1200  # seconds for several processes, which read a real model: 93 GB at 0.1 GB/s, from a slow disk


def route_all(model: Transformer, rows: Tensor, at_a_time: int = 8, show: Show = iter) -> Tensor:
    """The experts that rows (B, T) are sent to, (L, B, T, K), the heavier one first; a few texts at a time.

    A model with 32,000 possible tokens writes 128 kB of logits for each token that it reads.
    """
    device = model.tok_embeddings.weight.device
    parts = show(rows.split(at_a_time))
    return torch.cat([route(model, part.to(device))[0].cpu() for part in parts], dim=1)


def favourites(first: Tensor, kinds: Tensor, n_kinds: int) -> Tensor:
    """The expert that gets most of the first choices first (L, B, T) of each kind of text, kinds (B,): (n_kinds, L)."""
    counts = [F.one_hot(first[:, kinds == kind].flatten(1)).sum(1) for kind in range(n_kinds)]
    width = max(count.shape[-1] for count in counts)
    return torch.stack([F.pad(count, (0, width - count.shape[-1])).argmax(-1) for count in counts])


@torch.inference_mode()
def mean_bits(model: Transformer, rows: Tensor, kinds: Tensor, n_kinds: int = 5, at_a_time: int = 8) -> Tensor:
    """Mean bits of a token of each kind of text, (n_kinds,), each row's first token given; nan for a kind without rows."""
    device = model.tok_embeddings.weight.device
    found = []
    for part in rows.to(device).split(at_a_time):
        logits = model(part[:, :-1])
        losses = F.cross_entropy(logits.flatten(0, 1).float(), part[:, 1:].flatten(), reduction="none")
        found.append(losses.view(len(part), -1).mean(1).cpu())
    bits = torch.cat(found) / math.log(2)  # (B,)
    return torch.stack([bits[kinds == kind].mean() for kind in range(n_kinds)])


def table_words(tokenizer: Tokenizer, rows: Tensor, kinds: Tensor) -> Tensor:
    """The same bits for a list of how frequent each token is in training texts of the kind, and nothing else: (5,).

    Counted in SAMPLE characters, evenly of all bundled training texts, one added to every count (Laplace).
    """
    bits = []
    for kind, domain in enumerate(DOMAINS):
        documents = bundled_texts(domain, held_out=False)
        text = "\n".join(document.text[: SAMPLE // len(documents)] for document in documents)
        counts = torch.bincount(torch.tensor(tokenizer.encode(text)), minlength=tokenizer.vocab_size).double() + 1
        bits.append(-(counts / counts.sum()).log2()[rows[kinds == kind][:, 1:]].mean())
    return torch.stack(bits).float()


def expert_steps(ids: Tensor, n_prompt: int) -> list[set[tuple[int, int]]]:
    """What a model uses while it writes, ids (L, T, K) of the whole text: for `lru_hits`, one set a layer and step.

    The prompt's n_prompt tokens pass a layer together, each later one by itself; a key is (layer, expert).
    """
    spans = [slice(0, n_prompt), *(slice(t, t + 1) for t in range(n_prompt, ids.shape[1]))]
    return [
        {(layer, expert) for expert in chosen[span].flatten().tolist()}
        for span in spans
        for layer, chosen in enumerate(ids)
    ]


def in_processes(n: int, folder: Path, prompt: str, options: Sequence[str] = ()) -> str:
    """What `torchrun --nproc-per-node n -m minimistral generate folder prompt` writes; RuntimeError with what it said.

    Each process gets one thread, and the port is one that is free. After PATIENCE seconds they are ended.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n)]
    command += ["-m", "minimistral", "generate", str(folder), prompt, *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1", "NO_COLOR": "1"}
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", env=environment)
    with subprocess.Popen(command, **pipes) as torchrun:
        try:
            written, said = torchrun.communicate(timeout=PATIENCE)
        except BaseException as error:  # the stop button too
            _end(torchrun)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise RuntimeError(
                f"{n} processes were not ready after {PATIENCE / 60:.0f} minutes, and were ended. In a terminal they have "
                f"all the time they need, and show how far they are: torchrun {' '.join(command[4:8])} {folder} …"
            ) from None
    if torchrun.returncode:
        # github.com/pytorch/pytorch/issues/139990
        where = " (torch for Windows has none that works; in WSL, Windows' Linux, it does)" if os.name == "nt" else ""
        raise RuntimeError(f"torchrun ended with {torchrun.returncode}{where}:\n{said[-2000:]}")
    return written


def _end(torchrun: subprocess.Popen) -> None:
    """Ask it to end, which ends its processes too: killed, it would leave them behind, each with its GPU."""
    torchrun.terminate()
    try:
        torchrun.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        torchrun.kill()
