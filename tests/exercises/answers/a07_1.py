"""07.1: answers as people write them."""


def in_steps(x, attention, feed_forward, attention_norm, ffn_norm):
    normed = attention_norm(x)
    x = x + attention(normed)
    normed = ffn_norm(x)
    return x + feed_forward(normed)


def in_one_loop(x, attention, feed_forward, attention_norm, ffn_norm):
    for norm, part in ((attention_norm, attention), (ffn_norm, feed_forward)):
        x = part(norm(x)) + x
    return x


RIGHT = [in_steps, in_one_loop]


def first_norm_twice(x, attention, feed_forward, attention_norm, ffn_norm):
    for part in (attention, feed_forward):
        x = x + part(attention_norm(x))
    return x


def as_in_2017(x, attention, feed_forward, attention_norm, ffn_norm):
    x = attention_norm(x + attention(x))
    return ffn_norm(x + feed_forward(x))


def overwrites_x(x, attention, feed_forward, attention_norm, ffn_norm):
    x = attention_norm(x)
    x = x + attention(x)
    x = ffn_norm(x)
    return x + feed_forward(x)


def in_parallel(x, attention, feed_forward, attention_norm, ffn_norm):
    return x + attention(attention_norm(x)) + feed_forward(ffn_norm(x))


def a_plain_chain(x, attention, feed_forward, attention_norm, ffn_norm):
    x = attention(attention_norm(x))
    return feed_forward(ffn_norm(x))


def adds_to_x_again(x, attention, feed_forward, attention_norm, ffn_norm):
    h = attention(attention_norm(x)) + x
    return feed_forward(ffn_norm(h)) + x


def forgets_the_norm(x, attention, feed_forward, attention_norm, ffn_norm):
    h = x + attention(attention_norm(x))
    return h + feed_forward(h)


def feed_forward_first(x, attention, feed_forward, attention_norm, ffn_norm):
    for norm, part in ((ffn_norm, feed_forward), (attention_norm, attention)):
        x = x + part(norm(x))
    return x


WRONG = {
    "one norm for both": [first_norm_twice],
    "norm after the sum": [as_in_2017],
    "residual from the normed": [overwrites_x],
    "side by side": [in_parallel],
    "no residual": [a_plain_chain],
    "second sum from x": [adds_to_x_again],
    "second norm left out": [forgets_the_norm],
    "halves swapped": [feed_forward_first],
}
