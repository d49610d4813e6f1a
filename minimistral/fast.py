"""Decoding on a GPU, one token a row and step, as fast as the weights can be read: what exists only for CUDA graphs is here.

A step must read all weights once and else wait for nothing. So every shape is fixed, the position is a tensor on the
device, tokens are chosen on the device, and the step is recorded once as a CUDA graph and then replayed. The arithmetic
of a layer is a few small functions, compiled one by one (`torch.compile`) and each used by all layers: that compiles in
seconds, and what passes from one to the next is computed once, never again inside a loop over the rows of a matrix.
The graph is recorded by hand and not by mode="reduce-overhead", as then nothing of Python is left in a step, the caches
may be written in place, and choosing the token is part of it.

Uncompiled, all of it also runs on a CPU: slowly, and with the same logits as the plain model.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimistral import generation
from minimistral.moe import MoE, choose_experts
from minimistral.quantize import Int4Linear, dequantize_int4, dequantize_int8
from minimistral.rope import rope_angles, rotate_pairs
from minimistral.sampling import Sampling
from minimistral.transformer import Block, Transformer

CONTEXT_BLOCK = 256  # a context is rounded up to a multiple of this
WARM_UP = 3  # runs before a graph is recorded: they compile, tune and allocate, none of which a recording may do
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

    def products(self, x: Tensor) -> Tensor:
        """Every row times x (..., in), as a multiplication and a sum in float32: (..., out), in the dtype of x.

        Compiled, this becomes one kernel that reads each row once, whatever it is stored in; a matrix product would first
        write down what was indexed or turned back into floats, and then read that.
        """
        x32 = x[..., None, :].float()
        if self.weight.dtype == torch.uint8:  # int4: even columns in the low bits, odd ones in the high bits
            low, high = (self.weight & 15).float() - 8, (self.weight >> 4).float() - 8
            pairs = (low * x32[..., 0::2] + high * x32[..., 1::2]).unflatten(-1, (self.scale.shape[-1], -1))
            return (pairs * self.scale.float()[..., None]).flatten(-2).sum(-1).to(x.dtype)
        sums = (self.weight.float() * x32).sum(-1)
        return (sums if self.scale is None else sums * self.scale.float()).to(x.dtype)

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


class Layer(NamedTuple):
    """One layer's tensors as the step wants them; `gate` is None in a dense layer, else w1, w2 and w3 are stacked (E, …)."""

    attention_norm: Tensor
    wqkv: Rows
    wo: Rows
    ffn_norm: Tensor
    w1: Rows
    w2: Rows
    w3: Rows
    gate: Tensor | None
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
        attention_norm=block.attention_norm.weight.detach(),
        wqkv=join([attention.wq, attention.wk, attention.wv]),
        wo=join([attention.wo]),
        ffn_norm=block.ffn_norm.weight.detach(),
        w1=w1,
        w2=w2,
        w3=w3,
        gate=feed_forward.gate.weight.detach() if is_moe else None,
        k_experts=feed_forward.k if is_moe else 1,
    )


# --- the arithmetic of a step, in pieces that are compiled one by one ------------------------------------------------


def look_up(embeddings: Tensor, tokens: Tensor, positions: Tensor, n_slots: int, head_dim: int, theta: float) -> tuple:
    """tokens and positions (B,) to x (B, C), cos and sin (B, 1, D/2), the slot to write (B,), and the filled ones (B, S)."""
    angles = rope_angles(positions, head_dim, theta)[:, None]
    filled = torch.arange(n_slots, device=positions.device) <= positions[:, None]  # slots fill up from 0
    return embeddings[tokens], angles.cos(), angles.sin(), positions % n_slots, filled


def normalise(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm, as in norm.py."""
    wide = x.float()
    return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype)


def linear(x: Tensor, rows: Rows, by_rows: bool) -> Tensor:
    """x (B, in) to (B, out): for a single row of x as `Rows.products` if asked for, else by the library's product."""
    return rows.products(x) if by_rows and len(x) == 1 else F.linear(x, rows.dense(x.dtype))


def project(
    x: Tensor, wqkv: Rows, cos: Tensor, sin: Tensor, k_cache: Tensor, v_cache: Tensor, slots: Tensor, by_rows: bool
) -> Tensor:
    """Write the keys and values of x (B, C) into the caches (B, G, S, D), one slot a row; return the queries (B, H, D)."""
    G, D = k_cache.shape[1], k_cache.shape[3]
    heads = linear(x, wqkv, by_rows).unflatten(-1, (-1, D))  # (B, H + 2G, D)
    q, k, v = heads.split([heads.shape[1] - 2 * G, G, G], dim=1)
    batch = torch.arange(len(x), device=x.device)
    k_cache[batch, :, slots] = rotate_pairs(k, cos, sin)
    v_cache[batch, :, slots] = v
    return rotate_pairs(q, cos, sin)


def attend(q: Tensor, k_cache: Tensor, v_cache: Tensor, filled: Tensor) -> Tensor:
    """softmax(q kᵀ / √D) v over the filled slots: q (B, H, D), caches (B, G, S, D), filled (B, S); result (B, H·D)."""
    G, S, D = k_cache.shape[1:]
    q = q.unflatten(1, (G, -1))  # (B, G, H/G, D)
    scores = (q @ k_cache.mT).float() * D**-0.5  # (B, G, H/G, S)
    shares = scores.masked_fill(~filled[:, None, None], -torch.inf).softmax(-1).to(q.dtype)
    # With one query a row a GPU has little to do at once: the slots are summed in pieces side by side, then these.
    n = next(n for n in (16, 8, 4, 2, 1) if S % n == 0)
    pieces = shares.unflatten(-1, (n, -1)).transpose(2, 3)  # (B, G, n, H/G, S/n)
    return (pieces @ v_cache.unflatten(2, (n, -1))).sum(2).flatten(1)


def add_product(x: Tensor, y: Tensor, rows: Rows, by_rows: bool) -> Tensor:
    return x + linear(y, rows, by_rows)


def gate_and_up(x: Tensor, w1: Rows, w3: Rows, by_rows: bool) -> Tensor:
    """x (B, C) to silu(w1 x) · w3 x, (B, F)."""
    return F.silu(linear(x, w1, by_rows)) * linear(x, w3, by_rows)


def route(x: Tensor, gate: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """x (B, C) to the chosen experts' weights and ids, (B, K) each."""
    return choose_experts(F.linear(x, gate), k)


def chosen_gate_and_up(x: Tensor, expert_ids: Tensor, w1: Rows, w3: Rows) -> Tensor:
    """x (B, C) through the first half of its K experts: (B, K, F). Reads those experts' rows and no other's."""
    x = x[:, None]  # (B, 1, C)
    return F.silu(w1.chosen(expert_ids).products(x)) * w3.chosen(expert_ids).products(x)


def add_chosen_down(x: Tensor, hidden: Tensor, expert_ids: Tensor, weights: Tensor, w2: Rows) -> Tensor:
    """x (B, C) plus the second half of the K experts, hidden (B, K, F), weighted."""
    outputs = w2.chosen(expert_ids).products(hidden)  # (B, K, C)
    return x + (outputs * weights[..., None]).sum(1).to(x.dtype)


def add_every_expert(x: Tensor, y: Tensor, expert_ids: Tensor, weights: Tensor, w1: Rows, w2: Rows, w3: Rows) -> Tensor:
    """x plus all experts of y (B, C), those not chosen with weight 0: for batches that choose nearly all anyway."""
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
    look_up, normalise, project, attend, add_product, gate_and_up, route, chosen_gate_and_up, add_chosen_down,
    add_every_expert, linear, likeliest,
)  # fmt: skip
BY_ROWS_OR_NOT = (project, add_product, gate_and_up, linear)
ALWAYS_BY_ROWS = (chosen_gate_and_up, add_chosen_down)


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
            self._embeddings, self._norm = model.tok_embeddings.weight.detach(), model.norm.weight.detach()
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
        total = self._norm.nbytes + self._head.nbytes + self.cache.nbytes
        for layer in self._layers:
            experts = layer.w1.nbytes + layer.w2.nbytes + layer.w3.nbytes
            if layer.gate is not None:
                n_read = min(self.cache.batch_size * layer.k_experts, len(layer.gate))
                experts = experts * n_read // len(layer.gate) + layer.gate.nbytes
            total += layer.wqkv.nbytes + layer.wo.nbytes + experts + layer.attention_norm.nbytes + layer.ffn_norm.nbytes
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
        options = {"coordinate_descent_tuning": True, "assert_indirect_indexing": False} if sums else None
        if self._backend != "inductor":
            return torch.compile(function, fullgraph=True, dynamic=False, backend=self._backend)
        return torch.compile(function, fullgraph=True, dynamic=False, options=options)

    def _forward(self, run: dict[str, Callable], by_rows: bool) -> Tensor:
        """The logits (B, V) float32 after `tokens`, which stand at `positions`; their keys and values are in the cache."""
        eps, theta, D = self.config.norm_eps, self.config.rope_theta, self.config.head_dim
        x, cos, sin, slots, filled = run["look_up"](
            self._embeddings, self.tokens, self.positions, self.cache.n_slots, D, theta
        )
        for layer, cache in zip(self._layers, self.cache.layers):
            y = run["normalise"](x, layer.attention_norm, eps)
            q = run["project"](y, layer.wqkv, cos, sin, cache.k, cache.v, slots, by_rows)
            x = run["add_product"](x, run["attend"](q, cache.k, cache.v, filled), layer.wo, by_rows)
            y = run["normalise"](x, layer.ffn_norm, eps)
            x = self._feed_forward(run, layer, x, y, by_rows)
        return run["linear"](run["normalise"](x, self._norm, eps), self._head, by_rows).float()

    def _feed_forward(self, run: dict[str, Callable], layer: Layer, x: Tensor, y: Tensor, by_rows: bool) -> Tensor:
        if layer.gate is None:
            return run["add_product"](x, run["gate_and_up"](y, layer.w1, layer.w3, by_rows), layer.w2, by_rows)
        weights, expert_ids = run["route"](y, layer.gate, layer.k_experts)
        if expert_ids.numel() > len(layer.gate):
            return run["add_every_expert"](x, y, expert_ids, weights, layer.w1, layer.w2, layer.w3)
        hidden = run["chosen_gate_and_up"](y, expert_ids, layer.w1, layer.w3)
        return run["add_chosen_down"](x, hidden, expert_ids, weights, layer.w2)

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
