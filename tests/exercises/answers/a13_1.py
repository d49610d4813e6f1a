"""13.1: answers as people write them."""


def passed_by(shared, expert, n_layers, n_experts, k, batch, bits):
    idle = n_experts * ((n_experts - k) / n_experts) ** batch
    return shared * bits / 8 + n_layers * (n_experts - idle) * expert * bits / 8


def token_by_token(shared, expert, n_layers, n_experts, k, batch, bits):
    touched = 0.0
    for _ in range(batch):
        touched += (n_experts - touched) * k / n_experts
    return (shared + n_layers * touched * expert) * (bits / 8)


RIGHT = [passed_by, token_by_token]


def one_user(shared, expert, n_layers, n_experts, k, batch, bits):
    return (shared + n_layers * k * expert) * bits / 8


def everything(shared, expert, n_layers, n_experts, k, batch, bits):
    return (shared + n_layers * n_experts * expert) * bits / 8


def every_choice(shared, expert, n_layers, n_experts, k, batch, bits):
    return (shared + n_layers * k * batch * expert) * bits / 8


def capped(shared, expert, n_layers, n_experts, k, batch, bits):
    return (shared + n_layers * min(n_experts, k * batch) * expert) * bits / 8


def no_layers(shared, expert, n_layers, n_experts, k, batch, bits):
    return (shared + n_experts * (1 - (1 - k / n_experts) ** batch) * expert) * bits / 8


def times_users(shared, expert, n_layers, n_experts, k, batch, bits):
    return batch * (shared + n_layers * k * expert) * bits / 8


def bits_are_bytes(shared, expert, n_layers, n_experts, k, batch, bits):
    return token_by_token(shared, expert, n_layers, n_experts, k, batch, 8 * bits)


WRONG = {
    "as for one": [one_user],
    "always all": [everything],
    "choices counted": [every_choice],
    "all different": [capped],
    "one layer": [no_layers],
    "each for itself": [times_users],
    "bits taken for bytes": [bits_are_bytes],
}
