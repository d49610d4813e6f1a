"""Training as a plain loop: AdamW, warm-up and cosine, clipping, and a state on disk that resumes to the same bits.

With several processes (torchrun) each takes its rows of the same batch, and they share their gradients: ranks.py.

B rows of a batch, T tokens of a row, N = B·T, V vocabulary, E experts.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from minimistral import ranks
from minimistral.moe import MoE, balance_loss, expert_share
from minimistral.resume import TrainingLog, TrainingState, fingerprint
from minimistral.transformer import Transformer

WHOLE_NUMBERS = dict(steps=1, batch_size=1, context=1, warmup_steps=0, seed=0, evaluate_every=1, save_every=1)
SPREAD = 2_654_435_761  # 2^32 over the golden ratio: the epochs of one seed then lie far from those of the next


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained; ValueError on numbers that cannot be."""

    steps: int = 1000  # weight updates in all
    batch_size: int = 16  # B: rows of one update
    context: int = 256  # T: tokens of one row
    learning_rate: float = 1e-3  # at its highest, right after the warm-up
    final_learning_rate: float = 1e-4  # where the cosine ends
    warmup_steps: int = 50  # the rate climbs in a straight line for so many steps: Adam's first averages are noise
    weight_decay: float = 0.1  # on matrices only
    beta1: float = 0.9  # AdamW's memory of the gradient
    beta2: float = 0.95  # and of its square; 0.95 forgets a bad batch sooner than Adam's 0.999
    clip_norm: float = 1.0  # gradients longer than this, over all weights together, are scaled down to it
    balance_loss: float = 0.01  # weight of the load-balancing loss; only a mixture of experts has one
    seed: int = 0  # of the order of the data
    evaluate_every: int = 200  # steps between two measurements on the held-out text, where there is one
    save_every: int = 200  # steps between two states on disk, where there is a folder

    def __post_init__(self):
        for name, least in WHOLE_NUMBERS.items():
            value = getattr(self, name)
            if type(value) is not int or not least <= value < 2**32:
                raise ValueError(f"{name}={value!r}: give a whole number from {least} to 2^32 − 1.")
        for name in ("learning_rate", "clip_norm", "final_learning_rate", "weight_decay", "balance_loss"):
            value, may_be_zero = getattr(self, name), name not in ("learning_rate", "clip_norm")
            if type(value) not in (int, float) or not 0 <= value < math.inf or (value == 0 and not may_be_zero):
                raise ValueError(f"{name}={value!r}: give a finite number {'≥' if may_be_zero else '>'} 0.")
        for name in ("beta1", "beta2"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 <= value < 1:
                raise ValueError(f"{name}={value!r}: give a number from 0 to below 1.")
        if self.warmup_steps > self.steps:
            raise ValueError(
                f"warmup_steps={self.warmup_steps} is more than steps={self.steps}: the learning rate would never "
                "reach its height. A tenth of the steps or less is usual."
            )


def train(
    model: Transformer,
    tokens: Tensor,
    config: TrainConfig,
    held_out: Tensor | None = None,
    folder: str | Path | None = None,
    on_step: Callable[[dict], None] | None = None,
    progress: bool = True,
    evaluate: Callable[[Transformer], dict[str, float]] | None = None,
) -> list[dict]:
    """Train `model` in place on a text of token ids, 1-D int64, and return one record a step.

    A record holds step, loss (nats a token, balance loss not included), learning_rate, gradient_norm, for a mixture of
    experts balance (its mean over the layers), and every `evaluate_every` steps and at the end held_out_loss, and as
    bits_a_byte what `evaluate(model)` gives, a figure for each domain. `on_step` gets each record as it is made.

    With a `folder`, the state is written there every `save_every` steps, whole or not at all; the same call after an
    interruption goes on from it, and ends with the same bits as a run without one (same machine, same number of threads
    and processes). training.jsonl beside it has a line for each record.

    In a process group (torchrun) every process makes the same call and trains on its part of each batch: the same losses
    as one process would have, to rounding. Only the first one writes, shows its progress and calls `on_step`.
    """
    _check_tokens("tokens", tokens, model, config)
    if held_out is not None:
        _check_tokens("held_out", held_out, model, config)
    if config.batch_size % ranks.n_ranks():
        raise ValueError(
            f"batch_size={config.batch_size} does not divide among {ranks.n_ranks()} processes. Give a multiple of "
            f"{ranks.n_ranks()}, or start another number of processes."
        )
    optimizer = make_optimizer(model, config)
    recipe = {"training": asdict(config), "model": asdict(model.config), "data": fingerprint(tokens)}
    state = TrainingState(model, optimizer, recipe)
    records = state.put_back(ranks.from_first(lambda: state.read(Path(folder)))) if folder else []
    shared, is_first = ranks.shared(model), ranks.rank() == 0
    writes = folder is not None and is_first
    bar = tqdm(total=config.steps, initial=len(records), unit="step", disable=not progress or not is_first)
    with bar, TrainingLog(Path(folder) if writes else None, records) as log:
        for step in range(len(records), config.steps):
            started = time.perf_counter()
            record = _update(shared, optimizer, draw_batch(tokens, config, step), config, step)
            seconds = time.perf_counter() - started
            is_last = step + 1 == config.steps
            if is_last or (step + 1) % config.evaluate_every == 0:
                if held_out is not None:
                    record["held_out_loss"] = held_out_loss(model, held_out, config)
                if evaluate is not None:
                    record["bits_a_byte"] = evaluate(model)
            records.append(record)
            bar.update()
            bar.set_postfix_str(_figures(records, config.batch_size * config.context / seconds), refresh=False)
            log.add(record)
            if writes and (is_last or (step + 1) % config.save_every == 0):
                state.save(Path(folder), records)
            if on_step and is_first:
                on_step(record)
    return records


def _figures(records: list[dict], tokens_a_second: float) -> str:
    """What stands behind the progress bar."""
    text = f"loss={records[-1]['loss']:.3f}, tokens/s={tokens_a_second:,.0f}"
    measured = next((record["bits_a_byte"] for record in reversed(records) if "bits_a_byte" in record), {})
    return (
        text
        + "".join(f", {domain} {bits:.2f}" for domain, bits in measured.items())
        + (" bits/byte" if measured else "")
    )


def learning_rate(config: TrainConfig, step: int) -> float:
    """The rate of update `step`, from 0: a straight climb over `warmup_steps`, then half a cosine to the final rate.

    >>> config = TrainConfig(steps=6, warmup_steps=2, learning_rate=1.0, final_learning_rate=0.0)
    >>> [round(learning_rate(config, step), 3) for step in range(6)]
    [0.5, 1.0, 0.854, 0.5, 0.146, 0.0]
    """
    done = step + 1
    if done <= config.warmup_steps:
        return config.learning_rate * done / config.warmup_steps
    fall = (1 + math.cos(math.pi * (done - config.warmup_steps) / (config.steps - config.warmup_steps))) / 2
    return config.final_learning_rate + (config.learning_rate - config.final_learning_rate) * fall


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW (arXiv 1711.05101) with weight decay on the matrices only.

    Not on the norms: their weights are scales around 1, and decay would pull them to 0. Not on the embeddings: a rare
    token's row gets a gradient now and then but would shrink at every step.
    """
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    parameters = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in parameters if p.ndim >= 2 and id(p) not in embeddings]
    others = [p for p in parameters if p.ndim < 2 or id(p) in embeddings]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), fused=True)


def draw_batch(tokens: Tensor, config: TrainConfig, step: int) -> Tensor:
    """The rows of update `step`: (B, T + 1), where each token but the last is an input and each but the first a target.

    A function of seed and step alone, so that a resumed run needs no memory of where it was. Every epoch cuts the text
    at other places and shuffles the pieces.
    """
    rows = max(
        1, (len(tokens) - 1) // config.context - 1
    )  # of an epoch; one row's length is left over to shift the cuts
    first, past_last = step * config.batch_size, (step + 1) * config.batch_size
    starts = []
    for epoch in range(first // rows, (past_last - 1) // rows + 1):
        generator = torch.Generator().manual_seed((config.seed * SPREAD + epoch) % 2**32)
        shift = torch.randint(len(tokens) - rows * config.context, (), generator=generator)
        order = torch.randperm(rows, generator=generator) * config.context + shift
        starts.append(order[max(0, first - epoch * rows) : past_last - epoch * rows])
    return tokens[torch.cat(starts)[:, None] + torch.arange(config.context + 1)]


@torch.no_grad()
def held_out_loss(model: Transformer, tokens: Tensor, config: TrainConfig) -> float:
    """Mean cross entropy in nats a token over a text cut into rows of `context` tokens, the rest left out."""
    device = next(model.parameters()).device
    rows = tokens[: (len(tokens) - 1) // config.context * config.context + 1].unfold(
        0, config.context + 1, config.context
    )
    total = 0.0
    for batch in rows.split(config.batch_size):
        with _fast(device):
            logits = model(batch[:, :-1].to(device))  # (B, T, V)
        total += F.cross_entropy(
            logits.float().flatten(0, 1), batch[:, 1:].flatten().to(device), reduction="sum"
        ).item()
    return total / (rows.shape[0] * config.context)


def _update(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Tensor, config: TrainConfig, step: int) -> dict:
    """One step of training on rows (B, T + 1), or on this process's part of them."""
    device = next(model.parameters()).device
    batch = batch.chunk(ranks.n_ranks())[ranks.rank()].to(device)
    optimizer.zero_grad(set_to_none=True)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, step)
    with _router_logits(model) as routers:
        with _fast(device):
            logits = model(batch[:, :-1])  # (B, T, V)
        loss = F.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())
        balance = _balance(routers) if routers else None
    (loss if balance is None else loss + config.balance_loss * balance).backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
    record = {
        "step": step,
        "loss": ranks.mean(loss).item(),
        "learning_rate": learning_rate(config, step),
        "gradient_norm": norm.item(),
    }
    if balance is not None:
        record["balance"] = ranks.mean(balance).item()
    if not math.isfinite(record["loss"]) or not math.isfinite(record["gradient_norm"]):
        raise FloatingPointError(
            f"step {step}: loss {record['loss']}, gradient norm {record['gradient_norm']}; the weights are those from "
            f"before this step. Try a smaller learning_rate (now {config.learning_rate}) or a longer warm-up."
        )
    optimizer.step()
    return record


def _balance(routers: list[tuple[Tensor, int]]) -> Tensor:
    """The balance loss: of each layer, over the tokens of all processes, and then the mean over the layers."""
    shares = ranks.mean(torch.stack([expert_share(*router) for router in routers]))  # (L, E)
    return torch.stack([balance_loss(*router, share) for router, share in zip(routers, shares)]).mean()


@contextmanager
def _router_logits(model: nn.Module) -> Iterator[list[tuple[Tensor, int]]]:
    """Collects what each layer's gate says, (N, E), with that layer's K, while the model runs."""
    seen = []
    layers = [module for module in model.modules() if isinstance(module, MoE)]
    hooks = [
        layer.gate.register_forward_hook(lambda gate, x, logits, k=layer.k: seen.append((logits, k)))
        for layer in layers
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _fast(device: torch.device) -> torch.autocast:
    """bfloat16 where the hardware multiplies it faster, float32 everywhere else. The weights stay float32."""
    has_units = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)  # Ampere and later
    return torch.autocast(device.type, torch.bfloat16, enabled=has_units)


def _check_tokens(name: str, tokens: Tensor, model: Transformer, config: TrainConfig) -> None:
    if not isinstance(tokens, Tensor) or tokens.ndim != 1 or tokens.dtype != torch.int64:
        given = f"{tuple(tokens.shape)} {tokens.dtype}" if isinstance(tokens, Tensor) else type(tokens).__name__
        raise ValueError(
            f"{name} is {given}. Give a 1-D tensor of token ids, int64; read_tokens makes one of text files."
        )
    if len(tokens) < config.context + 1:
        raise ValueError(
            f"{name} has {len(tokens)} tokens, and one row needs context + 1 = {config.context + 1}. "
            "Give more text or a smaller context."
        )
    if not 0 <= tokens.min() <= tokens.max() < model.config.vocab_size:
        raise ValueError(
            f"{name} has ids from {tokens.min()} to {tokens.max()}, and the model knows 0 to "
            f"{model.config.vocab_size - 1}. Encode the text with the model's own tokenizer."
        )
    if any(p.dtype != torch.float32 for p in model.parameters()):
        raise ValueError(
            "the model's weights are not float32, and small updates would be rounded away. Call model.float() first."
        )
