"""09.1: answers as people write them."""


def layer_by_layer(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k):
    total = active = vocab_size * dim
    for _ in range(n_layers):
        total += attention + dim + dim + n_experts * (dim + 3 * dim * hidden_dim)
        active += attention + dim + dim + n_experts * dim + k * 3 * dim * hidden_dim
    return [total + dim + vocab_size * dim, active + dim + vocab_size * dim]


def total_less_the_idle(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k):
    swiglu = hidden_dim * dim * 3
    layer = attention + dim * (2 + n_experts) + n_experts * swiglu
    total = layer * n_layers + dim * (2 * vocab_size + 1)
    return total, total - (n_experts - k) * swiglu * n_layers


RIGHT = [layer_by_layer, total_less_the_idle]


def eight_times_seven(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k):
    seven = 2 * vocab_size * dim + dim + n_layers * (attention + 2 * dim + 3 * dim * hidden_dim)
    return seven * n_experts, seven * k


def eight_times_seven_and_gates(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k):
    seven = 2 * vocab_size * dim + dim + n_layers * (attention + 2 * dim + 3 * dim * hidden_dim)
    gates = n_layers * dim * n_experts
    return seven * n_experts + gates, seven * k + gates


def without_gates(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k):
    shared = 2 * vocab_size * dim + dim + n_layers * (attention + 2 * dim)
    ffn = 3 * dim * hidden_dim * n_layers
    return shared + n_experts * ffn, shared + k * ffn


def two_gate_rows(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k):
    shared = 2 * vocab_size * dim + dim + n_layers * (attention + 2 * dim)
    with_row = (3 * dim * hidden_dim + dim) * n_layers
    return shared + n_experts * with_row, shared + k * with_row


def a_quarter(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k):
    total = 2 * vocab_size * dim + dim
    total += n_layers * (attention + 2 * dim + n_experts * (3 * dim * hidden_dim + dim))
    return total, k * total // n_experts


def experts_not_in_the_bracket(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k):
    shared = 2 * vocab_size * dim + dim + n_layers * (attention + 2 * dim + n_experts * dim)
    return shared + n_experts * 3 * dim * hidden_dim, shared + k * 3 * dim * hidden_dim


def up_and_down(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k):
    shared = 2 * vocab_size * dim + dim + n_layers * (attention + 2 * dim + n_experts * dim)
    return tuple(shared + n_layers * n * 2 * dim * hidden_dim for n in (n_experts, k))


def tied(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k):
    shared = vocab_size * dim + dim + n_layers * (attention + 2 * dim + n_experts * dim)
    return tuple(shared + n_layers * n * 3 * dim * hidden_dim for n in (n_experts, k))


def matrices_only(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k):
    shared = 2 * vocab_size * dim + n_layers * (attention + n_experts * dim)
    return tuple(shared + n_layers * n * 3 * dim * hidden_dim for n in (n_experts, k))


def active_first(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k):
    return total_less_the_idle(dim, attention, hidden_dim, n_layers, vocab_size, n_experts, k)[::-1]


WRONG = {
    "eight whole models": [eight_times_seven, eight_times_seven_and_gates],
    "the router forgotten": [without_gates],
    "a router of the chosen": [two_gate_rows],
    "k / E of everything": [a_quarter],
    "experts of one layer": [experts_not_in_the_bracket],
    "two matrices an expert": [up_and_down],
    "one table": [tied],
    "norms forgotten": [matrices_only],
    "the wrong way round": [active_first],
}
