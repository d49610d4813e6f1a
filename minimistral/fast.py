"""Decoding on a GPU, one token a row and step, as fast as the weights can be read: what exists only for CUDA graphs is here.

A step must read all weights once and else wait for nothing. So every shape is fixed, the position is a tensor on the
device, tokens are chosen on the device, and the step is recorded once as a CUDA graph and then replayed. The arithmetic
of a layer is a few small functions, compiled one by one (`torch.compile`) and each used by all layers: that compiles in
seconds, and what passes from one to the next is computed once. A GPU takes about a microsecond or two to go from a kernel
to the next, so a layer is eight of them: rather than wait for a number that all rows of a matrix need, each works it out.
The graph is recorded by hand and not by mode="reduce-overhead", as then nothing of Python is left in a step, the caches
may be written in place, and choosing the token is part of it.

Uncompiled, all of it also runs on a CPU: slowly, and with the same logits as the plain model.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimistral import generation
from minimistral.cache import LayerCache
from minimistral.moe import MoE
from minimistral.norm import RMSNorm
from minimistral.quantize import Int4Linear, dequantize_int4, dequantize_int8
from minimistral.rope import rope_angles, rotate_pairs
from minimistral.sampling import Sampling
from minimistral.transformer import Block, Transformer

CONTEXT_BLOCK = 256  # a context is rounded up to a multiple of this
WARM_UP = 3  # runs before a graph is recorded: they compile, tune and allocate, none of which a recording may do
FEW_SLOTS = 4096  # of all rows together: up to here attention is made of sums, beyond of matrix products
PIECE = 64  # slots of the cache that are summed side by side with the others
TRIAL = 20  # replays that decide between two ways to multiply


# --- weights, joined -------------------------------------------------------------------------------------------------


class Rows(NamedTuple):
    """The weights of a linear layer, or of several that read the same input, row under row, in any leading shape.

    weight (..., out, in) of floats, or the codes of quantize.py with their scale: int8 (..., out, in) and (..., out), or
    int4 packed (..., out, in / 2) and (..., out, n_groups).
    """

    weight: Tensor
    scale: Tensor | None = None

    def chosen(self, expert_ids: Tensor | int) -> "Rows":
        """Of stacked experts (E, out, in) the chosen ones, (..., out, in); compiled, only those are read and none copied."""
        return Rows(*(None if part is None else part[expert_ids] for part in self))

    def stacked(self, n: int) -> "Rows":
        """(n · out, in) seen as (n, out, in)."""
        return Rows(*(None if part is None else part.unflatten(0, (n, -1)) for part in self))

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self if part is not None)

    def products(self, x: Tensor, norm: "Norm | None" = None) -> Tensor:
        """Every row times x (..., in), as a multiplication and a sum in float32: (..., out), in the dtype of x.

        Compiled, this becomes one kernel that reads each row once, whatever it is stored in; a matrix product would first
        write down what was indexed or turned back into floats, and then read that. With a norm, x is normalised by it first,
        in the same kernel: W · (g ∘ x / r) = (W · (g ∘ x)) / r, and every row's sum over x adds up its own r beside.
        """
        x32 = x[..., None, :].float()
        scaled = x32 if norm is None else x32 * norm.weight.float()
        if self.weight.dtype == torch.uint8:  # int4: even columns in the low bits, odd ones in the high bits
            low, high = (self.weight & 15).float() - 8, (self.weight >> 4).float() - 8
            pairs = (low * scaled[..., 0::2] + high * scaled[..., 1::2]).unflatten(-1, (self.scale.shape[-1], -1))
            terms = (pairs * self.scale.float()[..., None]).flatten(-2)
            squares = x32[..., 0::2].square() + x32[..., 1::2].square()
        else:
            terms, squares = self.weight.float() * scaled, x32.square()
        sums = terms.sum(-1)
        if norm is not None:
            # For every row anew: sums of one shape become one loop, and a sum of its own would be a kernel to wait for.
            sums = sums * torch.rsqrt(squares.expand_as(terms).sum(-1) / x.shape[-1] + norm.eps)
        if self.weight.dtype == torch.int8:
            sums = sums * self.scale.float()
        return sums.to(x.dtype)

    def dense(self, dtype: torch.dtype) -> Tensor:
        """The matrix (out, in) itself."""
        if self.scale is None:
            return self.weight.to(dtype)
        turn_back = dequantize_int4 if self.weight.dtype == torch.uint8 else dequantize_int8
        return turn_back(self.weight, self.scale).to(dtype)


def join(modules: Sequence[nn.Module]) -> Rows:
    """Put the weights of linear layers row under row in one tensor, of which theirs become views: no second copy stays.

    Of layers that were joined before, the tensor that they already share.
    """
    for module in modules:
        if isinstance(module, Int4Linear):
            module.unpack_()  # out of the order that a CPU's kernel reads
    parts = []
    for name in tensor_names(modules[0]):
        own = [getattr(module, name) for module in modules]
        whole = _shared(own)
        if whole is None:
            whole = torch.cat([tensor.detach() for tensor in own])
            for module, view in zip(modules, whole.split([len(tensor) for tensor in own])):
                old = getattr(module, name)
                is_parameter = isinstance(old, nn.Parameter)
                setattr(module, name, nn.Parameter(view, old.requires_grad) if is_parameter else view)
        parts.append(whole)
    return Rows(*parts)


def tensor_names(module: nn.Module) -> list[str]:
    """The names of a linear layer's own tensors: "weight", or "q" and "scale"."""
    return [name for name, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))]


def _shared(tensors: list[Tensor]) -> Tensor | None:
    """The tensor whose rows these are, in this order and without a gap, or None."""
    first, at = tensors[0].detach(), tensors[0].data_ptr()
    for tensor in tensors:
        same = tensor.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        if not (same and tensor.is_contiguous() and tensor.data_ptr() == at):
            return None
        at += tensor.nbytes
    return first.as_strided((sum(map(len, tensors)), *first.shape[1:]), first.stride(), first.storage_offset())


class Norm(NamedTuple):
    """An RMSNorm: weight (C,) and eps."""

    weight: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        """As in norm.py."""
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)).to(x.dtype)


class Layer(NamedTuple):
    """One layer's tensors as the step wants them; `gate` is None in a dense layer, else w1, w2 and w3 are stacked (E, …)."""

    attention_norm: Norm
    wqkv: Rows
    wo: Rows
    ffn_norm: Norm
    w1: Rows
    w2: Rows
    w3: Rows
    gate: Rows | None
    k_experts: int


def arrange(block: Block) -> Layer:
    """Join a layer's weights: wq, wk and wv, and each of the experts' three. At most one of them is held twice meanwhile."""
    attention, feed_forward = block.attention, block.feed_forward
    is_moe = isinstance(feed_forward, MoE)
    experts = list(feed_forward.experts) if is_moe else [feed_forward]
    w1, w2, w3 = (join([getattr(expert, name) for expert in experts]) for name in ("w1", "w2", "w3"))
    if is_moe:
        w1, w2, w3 = (rows.stacked(len(experts)) for rows in (w1, w2, w3))
    return Layer(
        attention_norm=norm_of(block.attention_norm),
        wqkv=join([attention.wq, attention.wk, attention.wv]),
        wo=join([attention.wo]),
        ffn_norm=norm_of(block.ffn_norm),
        w1=w1,
        w2=w2,
        w3=w3,
        gate=join([feed_forward.gate]) if is_moe else None,
        k_experts=feed_forward.k if is_moe else 1,
    )


def norm_of(module: RMSNorm) -> Norm:
    return Norm(module.weight.detach(), module.eps)


def joined_cache(layer: LayerCache) -> Tensor:
    """Keys and values of a layer in one tensor (B, 2G, S, D), of which the cache's own become views."""
    both = torch.cat([layer.k, layer.v], dim=1)
    layer.k, layer.v = both.chunk(2, dim=1)
    return both


# --- the arithmetic of a step, in pieces that are compiled one by one ------------------------------------------------


def look_up(embeddings: Tensor, tokens: Tensor, positions: Tensor, n_slots: int, head_dim: int, theta: float) -> tuple:
    """tokens and positions (B,) to x (B, C), cos and sin (B, 1, D/2), the slot to write (B,), and the filled ones (B, S)."""
    angles = rope_angles(positions, head_dim, theta)[:, None]
    filled = torch.arange(n_slots, device=positions.device) <= positions[:, None]  # slots fill up from 0
    return embeddings[tokens], angles.cos(), angles.sin(), positions % n_slots, filled


def linear(x: Tensor, rows: Rows, by_rows: bool, norm: Norm | None = None) -> Tensor:
    """x (B, in), normalised first if a norm is given, to (B, out): by `Rows.products` for a single row of x, if asked for,
    else by the library's product."""
    if by_rows and len(x) == 1:
        return rows.products(x, norm)
    return F.linear(x if norm is None else norm(x), rows.dense(x.dtype))


def project(
    x: Tensor, norm: Norm, wqkv: Rows, cos: Tensor, sin: Tensor, kv_cache: Tensor, slots: Tensor, by_rows: bool
) -> Tensor:
    """Write the keys and values of x (B, C) into the cache (B, 2G, S, D), one slot a row; the queries (B, H, D), not turned."""
    G, D = kv_cache.shape[1] // 2, kv_cache.shape[3]
    heads = linear(x, wqkv, by_rows, norm).unflatten(-1, (-1, D))  # (B, H + 2G, D)
    q, kv = heads.split([heads.shape[1] - 2 * G, 2 * G], dim=1)
    # Values are turned as well, by an angle of nothing: so that keys and values are written by one kernel.
    is_key = torch.arange(2 * G, device=x.device)[:, None] < G
    batch = torch.arange(len(x), device=x.device)
    kv_cache[batch, :, slots] = rotate_pairs(kv, torch.where(is_key, cos, 1.0), torch.where(is_key, sin, 0.0))
    return q


def attend(q: Tensor, cos: Tensor, sin: Tensor, kv_cache: Tensor, filled: Tensor) -> Tensor:
    """softmax(q kᵀ / √D) v over the filled slots: q (B, H, D), not turned yet, kv_cache (B, 2G, S, D), filled (B, S);
    result (B, H·D)."""
    k, v = kv_cache.chunk(2, dim=1)  # (B, G, S, D) each
    attend_by = attend_by_sums if len(q) * k.shape[2] <= FEW_SLOTS else attend_by_products
    return attend_by(q, cos, sin, k, v, filled[:, None, None]).flatten(1)


def attend_by_sums(q: Tensor, cos: Tensor, sin: Tensor, k: Tensor, v: Tensor, filled: Tensor) -> Tensor:
    """In three kernels: how often one waits for another is what counts where there is little to read.

    q (B, H, D), k and v (B, G, S, D), filled (B, 1, 1, S); result (B, G, H/G, D).
    """
    (G, S, D), dtype = k.shape[1:], q.dtype
    q, k = q.unflatten(1, (G, -1)).float(), k[:, :, None].float()  # (B, G, H/G, D) and (B, G, 1, S, D)
    # As `rotate_pairs`, but the pairs are not put together again: the sum goes over each half of them.
    cos, sin, even, odd = cos[:, None], sin[:, None], q[..., 0::2], q[..., 1::2]
    even, odd = even * cos - odd * sin, even * sin + odd * cos  # (B, G, H/G, D/2)
    scores = (even[..., None, :] * k[..., 0::2] + odd[..., None, :] * k[..., 1::2]).sum(-1)  # (B, G, H/G, S)
    scores = scores * (D**-0.5 / math.log(2))  # for powers of 2
    scores = scores.masked_fill(~filled, torch.finfo(torch.float32).min)
    # The slots are summed in pieces side by side, each as if it were alone, then these. A piece's largest and total are
    # worked out for each of the D numbers anew: as in `Rows.products`, so that all of a piece is one loop.
    common = math.gcd(S, PIECE)
    piece = common if common >= PIECE // 4 else S
    scores = scores.unflatten(-1, (-1, piece))[..., None, :].expand(*q.shape[:3], -1, D, -1)  # (B, G, H/G, n, D, S/n)
    largest = scores.amax(-1)
    shares = (scores - largest[..., None]).exp2()
    totals = shares.sum(-1)
    values = (shares * v.unflatten(2, (-1, piece)).mT[:, :, None].float()).sum(-1)  # (B, G, H/G, n, D)
    weights = (largest - largest.amax(3, keepdim=True)).exp2()
    return ((values * weights).sum(3) / (totals * weights).sum(3)).to(dtype)


def attend_by_products(q: Tensor, cos: Tensor, sin: Tensor, k: Tensor, v: Tensor, filled: Tensor) -> Tensor:
    """By the library's products, which read keys and values once for all of a group's queries. Shapes as above."""
    q = rotate_pairs(q, cos, sin).unflatten(1, (k.shape[1], -1))  # (B, G, H/G, D)
    scores = (q @ k.mT).float() * q.shape[-1] ** -0.5  # (B, G, H/G, S)
    shares = scores.masked_fill(~filled, -torch.inf).softmax(-1).to(q.dtype)
    # With one query a row a GPU has little to do at once: the slots are summed in pieces side by side, then these.
    n = next(n for n in (16, 8, 4, 2, 1) if k.shape[2] % n == 0)
    pieces = shares.unflatten(-1, (n, -1)).transpose(2, 3)  # (B, G, n, H/G, S/n)
    return (pieces @ v.unflatten(2, (n, -1))).sum(2)


def add_product(x: Tensor, y: Tensor, rows: Rows, by_rows: bool) -> Tensor:
    return x + linear(y, rows, by_rows)


def gate_and_up(x: Tensor, norm: Norm, w1: Rows, w3: Rows, by_rows: bool) -> Tensor:
    """x (B, C) to silu(w1 y) · w3 y, (B, F), with y the normalised x."""
    return F.silu(linear(x, w1, by_rows, norm)) * linear(x, w3, by_rows, norm)


def route(x: Tensor, norm: Norm, gate: Rows, k: int, by_rows: bool) -> tuple[Tensor, Tensor]:
    """`choose_experts` for the normalised x (B, C): the chosen experts' weights and ids, (B, K) each."""
    logits = linear(x, gate, by_rows, norm).float()  # (B, E)
    # The largest, then the largest of the rest, and so on, and their softmax by hand: unlike topk that is one kernel.
    chosen, ids, numbers = [], [], torch.arange(logits.shape[-1], device=x.device)
    for _ in range(k):
        ids.append(logits.argmax(-1))
        chosen.append(logits.amax(-1))
        logits = logits.masked_fill(numbers == ids[-1][:, None], -torch.inf)
    shares = [(logit - chosen[0]).exp() for logit in chosen]
    total = sum(shares)
    return torch.stack([share / total for share in shares], -1), torch.stack(ids, -1)


def chosen_gate_and_up(x: Tensor, norm: Norm, expert_ids: Tensor, w1: Rows, w3: Rows) -> Tensor:
    """The normalised x (B, C) through the first half of its K experts: (B, K, F). Reads those experts' rows and no other's."""
    x = x[:, None]  # (B, 1, C)
    return F.silu(w1.chosen(expert_ids).products(x, norm)) * w3.chosen(expert_ids).products(x, norm)


def add_chosen_down(x: Tensor, hidden: Tensor, expert_ids: Tensor, weights: Tensor, w2: Rows) -> Tensor:
    """x (B, C) plus the second half of the K experts, hidden (B, K, F), weighted."""
    outputs = w2.chosen(expert_ids).products(hidden)  # (B, K, C)
    return x + (outputs * weights[..., None]).sum(1).to(x.dtype)


def add_every_expert(
    x: Tensor, norm: Norm, expert_ids: Tensor, weights: Tensor, w1: Rows, w2: Rows, w3: Rows
) -> Tensor:
    """x (B, C) plus all experts of it, those not chosen with weight 0: for batches that choose nearly all anyway."""
    y = norm(x)
    total = torch.zeros_like(x, dtype=torch.float32)
    for e in range(len(w1.weight)):
        first, down, up = (rows.chosen(e).dense(x.dtype) for rows in (w1, w2, w3))
        hidden = F.silu(F.linear(y, first)) * F.linear(y, up)
        total += F.linear(hidden, down) * (weights * (expert_ids == e)).sum(-1, keepdim=True)
    return x + total.to(x.dtype)


def choose_tokens(
    logits: Tensor, point: Tensor, temperature: Tensor, top_p: Tensor, top_k: int | None, has_top_p: bool
) -> Tensor:
    """`Sampling.choose` for logits (B, V) on the device: one token id a row, or −1 where the logits hold no number.

    point (B,), float64 in [0, 1): the random number of each row. temperature and top_p (1,), float64.
    """
    largest = logits.max(-1, keepdim=True).values
    scores = (logits.double() - largest.double()) / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        scores = scores.masked_fill(scores < scores.topk(top_k).values[:, -1:], -torch.inf)
    kept = scores.softmax(-1)
    if has_top_p:
        mass, order = kept.sort(descending=True, stable=True)
        kept = kept.scatter(-1, order, mass.masked_fill(mass.cumsum(-1) - mass >= top_p, 0.0))
    edges = (kept / kept.sum(-1, keepdim=True)).cumsum(-1)  # (B, V)
    ids = torch.searchsorted(edges, point[:, None] * edges[:, -1:], right=True)[:, 0]
    return torch.where(largest[:, 0].isfinite(), ids, -1)


def likeliest(logits: Tensor) -> Tensor:
    """logits (B, V) to the ids of the largest, (B,), or −1 where the logits hold no number."""
    return torch.where(logits.amax(-1).isfinite(), logits.argmax(-1), -1)


COMPILED = (
    look_up, project, attend, add_product, gate_and_up, route, chosen_gate_and_up, add_chosen_down,
    add_every_expert, linear, likeliest,
)  # fmt: skip
BY_ROWS_OR_NOT = (project, add_product, gate_and_up, route, linear)
ALWAYS_BY_ROWS = (chosen_gate_and_up, add_chosen_down)
# There are rows enough for all of a GPU, so a sum is not split into pieces that a second kernel adds up.
TUNED = {"coordinate_descent_tuning": True, "assert_indirect_indexing": False, "split_reductions": False}


# --- the decoder -----------------------------------------------------------------------------------------------------


class FastDecoder:
    """A model made ready to decode `batch_size` rows at once, each up to max_context tokens (or without end in a window).

    The model stays usable: its weights become views of joined tensors, made layer by layer (so weights mapped from a file
    become memory). Reading prompts is the plain model's business, with `decoder.cache`, an ordinary RollingCache.
    Every step looks at all slots of the cache, empty or not: choose max_context as large as needed, not larger.

    compile: None compiles on a GPU; a text names another backend of torch.compile. by_rows: multiply single rows by
    `Rows.products` (True) or by the library's product (False); None tries both on a GPU and keeps the faster (of codes in
    8 or 4 bits only the first: the library's product wants them written down as floats).
    """

    def __init__(
        self,
        model: Transformer,
        batch_size: int = 1,
        max_context: int = 4096,
        compile: bool | str | None = None,
        by_rows: bool | None = None,
    ):
        self.model, self.config = model, model.config
        self.cache = model.make_cache(batch_size, -(-max_context // CONTEXT_BLOCK) * CONTEXT_BLOCK)
        self.device = self.cache.device
        on_gpu = self.device.type == "cuda"
        self._backend = (
            ("inductor" if on_gpu else None) if compile is None else "inductor" if compile is True else compile
        )
        with torch.inference_mode(False), torch.no_grad():
            self._layers = []
            for layer in model.layers:
                self._layers.append(arrange(layer))
                if on_gpu:
                    torch.cuda.empty_cache()  # what was joined is free now, in pieces too small for the next
            self._embeddings, self._norm = model.tok_embeddings.weight.detach(), norm_of(model.norm)
            self._kv = [joined_cache(layer) for layer in self.cache.layers]
            self._head = join([model.tok_embeddings if model.output is None else model.output])
            self._ways = [bool(by_rows)]
            if by_rows is None and on_gpu and self._backend and batch_size == 1:  # several rows have one way only
                self._ways = [True, False] if self._layers[0].wqkv.scale is None else [True]
            self._allocate(batch_size)
        self._steps: dict[tuple, Callable[[], None]] = {}

    def _allocate(self, B: int) -> None:
        """What a step reads and writes, at addresses that never change."""
        self.positions = self.cache.positions  # (B,), of the token to be read next
        self.tokens = torch.zeros(
            B, dtype=torch.int64, device=self.device
        )  # to be read by the next step, which overwrites it
        self.logits = torch.zeros(B, self.config.vocab_size, device=self.device)
        self._point = torch.zeros(B, dtype=torch.float64, device=self.device)
        self._sampling: Sampling | None = None  # whose numbers the next two hold
        self._temperature, self._top_p = torch.ones(2, 1, dtype=torch.float64, device=self.device)
        pinned = self.device.type == "cuda"
        self._chosen = [torch.zeros(B, dtype=torch.int64, pin_memory=pinned) for _ in range(2)]
        self._points = [torch.zeros(B, dtype=torch.float64, pin_memory=pinned) for _ in range(2)]

    @property
    def nbytes_read(self) -> int:
        """Bytes of weights and cache that a step reads: of experts as many as one row of a batch of one chooses."""
        total = self._norm.weight.nbytes + self._head.nbytes + self.cache.nbytes
        for layer in self._layers:
            experts = layer.w1.nbytes + layer.w2.nbytes + layer.w3.nbytes
            if layer.gate is not None:
                n_read = min(self.cache.batch_size * layer.k_experts, layer.w1.weight.shape[0])
                experts = experts * n_read // layer.w1.weight.shape[0] + layer.gate.nbytes
            total += layer.wqkv.nbytes + layer.wo.nbytes + experts + layer.attention_norm.weight.nbytes
            total += layer.ffn_norm.weight.nbytes
        return total

    def reset(self) -> None:
        """Forget every token."""
        self.cache.reset()

    @torch.no_grad()
    def step(self, tokens: Tensor) -> Tensor:
        """Read one token a row, tokens (B,) int64; the logits after it, (B, V) float32. The same as the model's own."""
        self._check_room(1)
        self.tokens.copy_(tokens)
        self._take_step(Sampling())
        return self.logits.clone()

    def _check_room(self, n_tokens: int) -> None:
        end = self.cache.position + n_tokens
        if end > self.cache.max_context and not self.cache.rolls:
            raise ValueError(
                f"the decoder holds {self.cache.position} tokens of at most {self.cache.max_context}, and {n_tokens} more "
                f"would make {end}. Call reset(), or make a larger one: FastDecoder(model, max_context={end})."
            )

    def _take_step(self, sampling: Sampling) -> None:
        """Run, or replay, the step that reads `tokens` and chooses the next ones by this sampling."""
        if sampling != self._sampling:
            self._temperature.fill_(sampling.temperature)
            self._top_p.fill_(sampling.top_p)
            self._sampling = sampling
        kind = (sampling.temperature == 0, sampling.top_k, sampling.top_p < 1)
        if kind not in self._steps:
            self._steps[kind] = self._make_step(kind)
        self._steps[kind]()
        self.cache._seen = [seen + 1 for seen in self.cache._seen]

    def _make_step(self, kind: tuple) -> Callable[[], None]:
        """The step as it is, or on a GPU a graph of it; of two ways to multiply the faster one, from then on."""
        steps = {by_rows: self._one_way(kind, by_rows) for by_rows in self._ways}
        if len(steps) > 1:
            self.seconds_by_way = {by_rows: self._seconds(step) for by_rows, step in steps.items()}
            self._ways = [min(self.seconds_by_way, key=self.seconds_by_way.get)]
        return steps[self._ways[0]]

    def _one_way(self, kind: tuple, by_rows: bool) -> Callable[[], None]:
        run = {function.__name__: self._compiled(function, by_rows) for function in COMPILED}

        greedy, top_k, has_top_p = kind

        def step() -> None:
            # Sizes of several decoders are compiled side by side; torch allows 8 versions of a function unless told more.
            with torch._dynamo.config.patch(recompile_limit=64) if self._backend else nullcontext():
                logits = self._forward(run, by_rows)
                if greedy:
                    chosen = run["likeliest"](logits)
                else:
                    chosen = choose_tokens(logits, self._point, self._temperature, self._top_p, top_k, has_top_p)
            self.logits.copy_(logits)
            self.tokens.copy_(chosen)
            self.positions.add_(1)

        return step if self.device.type != "cuda" else self._record(step)

    def _compiled(self, function: Callable, by_rows: bool) -> Callable:
        if not self._backend:
            return function
        # Kernels made of a multiplication and a sum reach the memory's bandwidth only when their blocks are tuned. Tuning
        # takes seconds a kernel, so no other is; and those others are compiled once for both ways to multiply.
        sums = function in ALWAYS_BY_ROWS or (by_rows and function in BY_ROWS_OR_NOT)
        options = TUNED if sums else None
        if self._backend != "inductor":
            return torch.compile(function, fullgraph=True, dynamic=False, backend=self._backend)
        return torch.compile(function, fullgraph=True, dynamic=False, options=options)

    def _forward(self, run: dict[str, Callable], by_rows: bool) -> Tensor:
        """The logits (B, V) float32 after `tokens`, which stand at `positions`; their keys and values are in the cache."""
        theta, D = self.config.rope_theta, self.config.head_dim
        x, cos, sin, slots, filled = run["look_up"](
            self._embeddings, self.tokens, self.positions, self.cache.n_slots, D, theta
        )
        for layer, kv in zip(self._layers, self._kv):
            q = run["project"](x, layer.attention_norm, layer.wqkv, cos, sin, kv, slots, by_rows)
            x = run["add_product"](x, run["attend"](q, cos, sin, kv, filled), layer.wo, by_rows)
            x = self._feed_forward(run, layer, x, by_rows)
        return run["linear"](x, self._head, by_rows, self._norm).float()

    def _feed_forward(self, run: dict[str, Callable], layer: Layer, x: Tensor, by_rows: bool) -> Tensor:
        norm, w1, w2, w3 = layer.ffn_norm, layer.w1, layer.w2, layer.w3
        if layer.gate is None:
            return run["add_product"](x, run["gate_and_up"](x, norm, w1, w3, by_rows), w2, by_rows)
        weights, expert_ids = run["route"](x, norm, layer.gate, layer.k_experts, by_rows)
        if expert_ids.numel() > len(w1.weight):
            return run["add_every_expert"](x, norm, expert_ids, weights, w1, w2, w3)
        return run["add_chosen_down"](
            x, run["chosen_gate_and_up"](x, norm, expert_ids, w1, w3), expert_ids, weights, w2
        )

    def _record(self, step: Callable[[], None]) -> Callable[[], None]:
        """A CUDA graph of the step. What it writes meanwhile lies where the next token's keys and values will lie anyway."""
        tokens, positions = self.tokens.clone(), self.positions.clone()
        with torch.cuda.device(self.device):
            stream = torch.cuda.Stream()  # the same for the runs before: libraries keep their workspaces by stream
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP):
                    step()
                    self.tokens.copy_(tokens)
                    self.positions.copy_(positions)
            torch.cuda.current_stream().wait_stream(stream)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream):
                step()
        return graph.replay

    def _seconds(self, step: Callable[[], None]) -> float:
        """Seconds that a replay takes on the GPU, each from the same state."""
        tokens, positions = self.tokens.clone(), self.positions.clone()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        stream = torch.cuda.current_stream(self.device)  # an event goes to the current device's, unless told
        start.record(stream)
        for _ in range(TRIAL):
            step()
            self.tokens.copy_(tokens)
            self.positions.copy_(positions)
        end.record(stream)
        end.synchronize()
        return start.elapsed_time(end) / 1e3 / TRIAL

    @torch.no_grad()
    def _decode(self, chosen: list[int], sampling: Sampling, generators: list[torch.Generator]) -> Iterator[list[int]]:
        """Yield the chosen tokens, one a row, then those of each further step, without end.

        Those yielded are in the cache. A step is under way while the caller looks at the tokens it reads, so that the GPU
        never waits for Python; who takes them for the end calls `_step_back`.
        """
        self.tokens.copy_(torch.tensor(chosen))
        arriving = None
        for i in range(2**62):
            if sampling.temperature:
                points = self._points[i % 2]  # used again only after the step before the last has ended
                points.copy_(torch.stack([torch.rand((), dtype=torch.float64, generator=g) for g in generators]))
                self._point.copy_(points, non_blocking=True)
            self._check_room(1)
            self._take_step(sampling)
            before, arriving = arriving, self._fetch(i % 2)
            yield chosen if before is None else before()

    def _fetch(self, i: int) -> Callable[[], list[int]]:
        """Send the tokens that the step chooses to the host; the result waits for them."""
        self._chosen[i].copy_(self.tokens, non_blocking=True)
        if self.device.type != "cuda":
            return self._chosen[i].tolist
        sent = torch.cuda.Event()
        sent.record(torch.cuda.current_stream(self.device))

        def wait() -> list[int]:
            sent.synchronize()
            return self._chosen[i].tolist()

        return wait

    def _step_back(self) -> None:
        """Forget the last token of every row. The slot it took is the one that the next token is written to."""
        self.positions.sub_(1)
        self.cache._seen = [seen - 1 for seen in self.cache._seen]


def fast_generate(
    decoder: FastDecoder | Transformer,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int | None = None,
    seed: int | None = None,
    stop_ids: Iterable[int] | int = (2,),
) -> list[list[int]]:
    """`generate` with a FastDecoder of as many rows as there are prompts, or with a model, of which one is then made.

    The same ids as `generate` wherever rounding does not decide. A decoder starts anew.
    """
    sampling = Sampling(temperature, top_p, top_k)
    model = decoder if isinstance(decoder, Transformer) else decoder.model
    prompts = generation._checked_prompts(prompts, model.config.vocab_size)
    generation._check_count(max_new_tokens)
    stops = generation._checked_stops(stop_ids)
    generators = [generation._generator(seed, row, model) for row in range(len(prompts))]
    new_ids: list[list[int]] = [[] for _ in prompts]
    if not prompts or max_new_tokens == 0:
        return new_ids
    if decoder is model:
        decoder = FastDecoder(model, len(prompts), max(map(len, prompts)) + max_new_tokens)
    if decoder.cache.batch_size != len(prompts):
        raise ValueError(
            f"{len(prompts)} prompts were given, and the decoder was made for {decoder.cache.batch_size}: "
            f"FastDecoder(model, batch_size={len(prompts)})."
        )
    decoder.reset()
    decoder._check_room(max(map(len, prompts)) + max_new_tokens)
    logits = generation.read(model, prompts, decoder.cache)
    chosen = [sampling.choose(row, generator) for row, generator in zip(logits, generators)]
    running = [True] * len(prompts)
    for tokens in decoder._decode(chosen, sampling, generators):
        for row, token in enumerate(tokens):
            running[row] = running[row] and _checked(token) not in stops
            if running[row]:
                new_ids[row].append(token)
                running[row] = len(new_ids[row]) < max_new_tokens
        if not any(running):
            return new_ids


def fast_stream(
    decoder: FastDecoder,
    ids: Sequence[int],
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int | None = None,
    seed: int | None = None,
    stop_ids: Iterable[int] | int = (2,),
) -> Iterator[int]:
    """`stream` with a FastDecoder of one row, which takes the place of the cache: it goes on where the decoder stands.

    As there, the decoder then holds `ids` and every id yielded; call `decoder.reset()` for a new text.
    """
    sampling = Sampling(temperature, top_p, top_k)
    ids = generation._checked_ids(ids, "ids", decoder.config.vocab_size)
    generation._check_count(max_new_tokens)
    stops = generation._checked_stops(stop_ids)
    if decoder.cache.batch_size != 1:
        raise ValueError(
            f"the decoder was made for {decoder.cache.batch_size} rows; a stream is one: FastDecoder(model)."
        )
    decoder._check_room(len(ids) + max_new_tokens)
    generator = generation._generator(seed, 0, decoder.model)
    return _stream(decoder, ids, max_new_tokens, sampling, generator, stops)


def _stream(
    decoder: FastDecoder,
    ids: list[int],
    max_new_tokens: int,
    sampling: Sampling,
    generator: torch.Generator,
    stops: set[int],
) -> Iterator[int]:
    if max_new_tokens == 0:
        return
    first = sampling.choose(generation.read(decoder.model, [ids], decoder.cache)[0], generator)
    if first in stops:
        return
    for n, (token,) in enumerate(decoder._decode([first], sampling, [generator]), start=1):
        if token < 0 or token in stops:
            decoder._step_back()
            if _checked(token) in stops:
                return
        yield token
        if n == max_new_tokens:
            return


def _checked(token: int) -> int:
    if token < 0:
        raise ValueError(
            "the model's logits hold NaN or infinity: no next token can be chosen. Are its weights damaged, or too large "
            "for their dtype? dtype=torch.float32 in load() tells."
        )
    return token
