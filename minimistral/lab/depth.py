"""Chapter 02's stacks for looking through: blocks with the norm before, after or nowhere, and what goes through them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORMS = ("pre", "post", "none")
VOCAB, N_TEXTS, N_TOKENS = 64, 4, 16  # of the random texts that are sent through
EPS = 1e-5


def rms(x: Tensor) -> Tensor:
    """RMSNorm as it stands before any training: all weights are 1."""
    return F.rms_norm(x, x.shape[-1:], eps=EPS)


class Layer(nn.Module):
    """One block: single-head causal attention and w2(gelu(w1 x)), each beside a residual path. (B, T, C) to (B, T, C).

    "pre": x + f(norm(x)), as in Mistral. "post": norm(x + f(x)), as in Attention Is All You Need. "none": x + f(x).
    Xavier initialisation, GELU and no gate: the setting of Xiong and others (arXiv 2002.04745, Theorem 1).
    """

    def __init__(self, dim: int, norm: str):
        super().__init__()
        self.norm = norm
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.w1 = nn.Linear(dim, 4 * dim, bias=False)
        self.w2 = nn.Linear(4 * dim, dim, bias=False)
        for weight in self.parameters():
            nn.init.xavier_normal_(weight)

    def attention(self, x: Tensor) -> Tensor:
        return self.wo(F.scaled_dot_product_attention(self.wq(x), self.wk(x), self.wv(x), is_causal=True))

    def feed_forward(self, x: Tensor) -> Tensor:
        return self.w2(F.gelu(self.w1(x)))

    def forward(self, x: Tensor) -> Tensor:
        for part in (self.attention, self.feed_forward):
            if self.norm == "pre":
                x = x + part(rms(x))
            elif self.norm == "post":
                x = rms(x + part(x))
            else:
                x = x + part(x)
        return x


class Stack(nn.Module):
    """Embedding, layers, and a head on top; with "pre" a last norm before the head, as in Mistral. (B, T) to (B, T, V)."""

    def __init__(self, n_layers: int, norm: str, dim: int):
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm={norm!r}: choose from {', '.join(NORMS)}.")
        self.embedding = nn.Embedding(VOCAB, dim)
        self.layers = nn.ModuleList(Layer(dim, norm) for _ in range(n_layers))
        self.output = nn.Linear(dim, VOCAB, bias=False)
        nn.init.xavier_normal_(self.output.weight)
        self.norm = norm

    def forward(self, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The logits, and the residual stream at the embedding and after each layer: L + 1 tensors (B, T, C)."""
        stream = [self.embedding(tokens)]
        for layer in self.layers:
            stream.append(layer(stream[-1]))
        last = rms(stream[-1]) if self.norm == "pre" else stream[-1]
        return self.output(last), stream


def xray(n_layers: int, norm: str, dim: int = 64, seed: int = 0) -> dict[str, list[float]]:
    """What one forward and one backward pass through an untrained stack show, layer by layer.

    "size": root mean square of the residual stream, at the embedding and after each layer (L + 1 numbers);
    "gradient": norm of the loss's gradient for each layer's w2 (L numbers). Texts and targets are random, drawn from `seed`
    like the weights. Numbers that are not finite come as inf or nan.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stack = Stack(n_layers, norm, dim)
        tokens, targets = torch.randint(VOCAB, (2, N_TEXTS, N_TOKENS))
    with torch.enable_grad():
        logits, stream = stack(tokens)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        gradients = torch.autograd.grad(loss, [layer.w2.weight for layer in stack.layers])
    return {
        "size": [x.detach().pow(2).mean().sqrt().item() for x in stream],
        "gradient": [gradient.norm().item() for gradient in gradients],
    }


def last_gradient(n_layers: int, norm: str, dim: int = 64, seed: int = 0) -> float:
    """The gradient norm of the last layer's w2: what Theorem 1 of arXiv 2002.04745 speaks of."""
    return xray(n_layers, norm, dim, seed)["gradient"][-1]
