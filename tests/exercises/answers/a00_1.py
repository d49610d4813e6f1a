"""00.1: answers as people write them."""


def by_table(part, n_texts, n_tokens, dim, vocab_size):
    last = {"tokens": (), "output": (vocab_size,)}.get(part, (dim,))
    return (n_texts, n_tokens) + last


def as_a_list(part, n_texts, n_tokens, dim, vocab_size):
    shape = [n_texts, n_tokens]
    if part == "output":
        shape.append(vocab_size)
    elif part != "tokens":
        shape.append(dim)
    return tuple(shape)


RIGHT = [by_table, as_a_list]


def forgets_the_batch(part, n_texts, n_tokens, dim, vocab_size):
    return {"tokens": (n_tokens,), "output": (n_tokens, vocab_size)}.get(part, (n_tokens, dim))


def as_wide_as_the_model(part, n_texts, n_tokens, dim, vocab_size):
    return (n_texts, n_tokens) if part == "tokens" else (n_texts, n_tokens, dim)


def one_row_of_logits(part, n_texts, n_tokens, dim, vocab_size):
    return {"tokens": (n_texts, n_tokens), "output": (n_texts, vocab_size)}.get(part, (n_texts, n_tokens, dim))


def embedded_tokens(part, n_texts, n_tokens, dim, vocab_size):
    return (n_texts, n_tokens, vocab_size) if part == "output" else (n_texts, n_tokens, dim)


def tokens_first(part, n_texts, n_tokens, dim, vocab_size):
    return {"tokens": (n_tokens, n_texts), "output": (n_tokens, n_texts, vocab_size)}.get(
        part, (n_tokens, n_texts, dim)
    )


WRONG = {
    "one text": [forgets_the_batch],
    "output as wide as the model": [as_wide_as_the_model],
    "the last token only": [one_row_of_logits],
    "tokens with a width": [embedded_tokens],
    "texts and tokens swapped": [tokens_first],
}
