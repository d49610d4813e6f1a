"""11.2: answers as people write them."""


def part_by_part(config, bits, group_size):
    total = 0
    for name, count in config.count_parameters().parts.items():
        if name in ("attention", "feed_forward", "output"):
            total += count * (bits / 8 + 2 / group_size)
        else:
            total += 2 * count
    return int(total)


def bits_first(config, bits, group_size):
    parts = config.count_parameters().parts
    a_weight = bits + 16 / group_size
    matrices = parts["attention"] + parts["feed_forward"] + parts["output"]
    return (matrices * a_weight + 16 * (parts["tok_embeddings"] + parts["norms"] + parts["gate"])) / 8


RIGHT = [part_by_part, bits_first]


def _split(config):
    parts = config.count_parameters().parts
    kept = parts["tok_embeddings"] + parts["norms"] + parts["gate"]
    return sum(parts.values()) - kept, kept


def codes_alone(config, bits, group_size):
    rounded, kept = _split(config)
    return rounded * bits / 8 + 2 * kept


def a_byte_each(config, bits, group_size):
    rounded, kept = _split(config)
    return rounded * bits / 8 + rounded / group_size + 2 * kept


def float32_scales(config, bits, group_size):
    rounded, kept = _split(config)
    return rounded * bits / 8 + 4 * rounded / group_size + 2 * kept


def all_of_it(config, bits, group_size):
    total = config.count_parameters().total
    return total * bits // 8 + 2 * (total // group_size)


def one_width(config, bits, group_size):
    rounded, kept = _split(config)
    return (rounded + kept) * bits / 8 + 2 * rounded / group_size


def without_the_head(config, bits, group_size):
    parts = config.count_parameters().parts
    rounded = parts["attention"] + parts["feed_forward"]
    return rounded * bits / 8 + 2 * rounded / group_size + 2 * (sum(parts.values()) - rounded)


def what_a_token_reads(config, bits, group_size):
    rounded, kept = _split(config)
    rounded -= config.count_parameters().total - config.count_parameters().active
    return rounded * bits / 8 + 2 * rounded / group_size + 2 * kept


def in_bits(config, bits, group_size):
    rounded, kept = _split(config)
    return rounded * bits + 16 * rounded / group_size + 16 * kept


WRONG = {
    "scales forgotten": [codes_alone],
    "scales of one byte": [a_byte_each],
    "scales of four bytes": [float32_scales],
    "everything quantized": [all_of_it],
    "the rest at the same bits": [one_width],
    "head left out": [without_the_head],
    "only the chosen experts": [what_a_token_reads],
    "bits": [in_bits],
}
