"""10.4: answers as people write them."""

import math

import numpy as np


def through_nats(perplexity, n_tokens, n_bytes):
    nats = math.log(perplexity) * n_tokens
    return nats / math.log(2) / n_bytes


def by_bytes_a_token(perplexity, n_tokens, n_bytes):
    return float(np.log2(perplexity) / (n_bytes / n_tokens))


def perplexity_of_a_byte(perplexity, n_tokens, n_bytes):
    return math.log2(perplexity ** (n_tokens / n_bytes))


RIGHT = [through_nats, by_bytes_a_token, perplexity_of_a_byte]


def natural(perplexity, n_tokens, n_bytes):
    return np.log(perplexity) / n_bytes * n_tokens


def forgot_the_bytes(perplexity, n_tokens, n_bytes):
    return np.log2(perplexity)


def upside_down(perplexity, n_tokens, n_bytes):
    return math.log(perplexity, 2) * (n_bytes / n_tokens)


def no_logarithm(perplexity, n_tokens, n_bytes):
    return perplexity / (n_bytes / n_tokens)


def logarithm_last(perplexity, n_tokens, n_bytes):
    return math.log2(perplexity / n_bytes * n_tokens)


WRONG = {
    "nats": [natural],
    "bits a token": [forgot_the_bytes],
    "multiplied by bytes a token": [upside_down],
    "perplexity shared out": [no_logarithm],
    "shared out before the logarithm": [logarithm_last],
}
