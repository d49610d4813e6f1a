"""Reading a prompt, writing on, and the bytes of the cache: one model of 12 layers, in our code and in transformers'."""

import gc
import time
from collections.abc import Callable

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import MistralConfig, MistralForCausalLM

from minimistral import ModelConfig, Transformer
from minimistral.checkpoints import load, save

WINDOW = 1024
CONFIG = ModelConfig(
    dim=768, n_layers=12, n_heads=12, n_kv_heads=4, head_dim=64, hidden_dim=2048, vocab_size=8192, sliding_window=WINDOW
)
SHORT, LONG, CONTEXT, NEW = 2048, 8192, 2048, 48


def both_models(folder) -> tuple[Transformer, MistralForCausalLM]:
    """The same random weights in both: ours are saved in the hub layout, and transformers loads them."""
    torch.manual_seed(0)
    ours = Transformer(CONFIG)
    save(ours, folder / "model", layout="hub")
    ours, _ = load(folder / "model", device="cpu", dtype="float32")
    theirs = MistralForCausalLM.from_pretrained(
        folder / "model", dtype=torch.float32, attn_implementation="sdpa"
    ).eval()
    assert isinstance(theirs.config, MistralConfig) and theirs.config.sliding_window == WINDOW
    return ours.eval(), theirs


def seconds(call: Callable[[], object]) -> float:
    gc.collect()
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


@torch.inference_mode()
def prefill(ours: Transformer, theirs: MistralForCausalLM, rounds: int) -> dict:
    """Seconds to read a prompt into a cache, head on the last token only; rounds alternate so that both see the same noise."""
    times: dict[str, list[float]] = {"ours_long": [], "theirs_long": [], "ours_short": []}
    short, long = (torch.randint(CONFIG.vocab_size, (1, n)) for n in (SHORT, LONG))

    def ours_reads(tokens: Tensor) -> None:
        ours(tokens, cache=ours.make_cache(1, tokens.shape[1]), last_only=True)

    def theirs_reads() -> None:
        theirs(long, use_cache=True, logits_to_keep=1)

    ours_reads(short)
    theirs(short, use_cache=True, logits_to_keep=1)
    for _ in tqdm(range(rounds), desc="prefill", leave=False):
        times["ours_long"].append(seconds(lambda: ours_reads(long)))
        times["theirs_long"].append(seconds(theirs_reads))
        times["ours_short"].append(seconds(lambda: ours_reads(short)))
    return times


@torch.inference_mode()
def decode(ours: Transformer, theirs: MistralForCausalLM, rounds: int) -> dict:
    """Seconds a token, greedy, behind a prompt of CONTEXT tokens; one step of ours, then one of theirs."""
    tokens = torch.randint(CONFIG.vocab_size, (1, CONTEXT))
    cache = ours.make_cache(1, CONTEXT + rounds)
    our_logits = ours(tokens, cache=cache, last_only=True)
    their_result = theirs(tokens, use_cache=True, logits_to_keep=1)
    assert torch.allclose(our_logits, their_result.logits, atol=1e-3, rtol=1e-3), "not the same model"
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    token = our_logits.argmax(-1)
    for _ in tqdm(range(rounds), desc="decode", leave=False):
        started = time.perf_counter()
        our_logits = ours(token, cache=cache, last_only=True)
        middle = time.perf_counter()
        their_result = theirs(token, past_key_values=their_result.past_key_values, use_cache=True)
        times["ours"].append(middle - started)
        times["theirs"].append(time.perf_counter() - middle)
        token = our_logits.argmax(-1)
    return times


def cache_bytes() -> dict[str, int]:
    """Of one row, by context: grows up to the window and then no more."""
    with torch.device("meta"):
        model = Transformer(CONFIG)
        return {
            str(n): model.make_cache(1, n).nbytes for n in (WINDOW // 2, WINDOW, 2 * WINDOW, 8 * WINDOW, 32 * WINDOW)
        }
