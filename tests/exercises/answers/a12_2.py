"""12.2: answers as people write them."""


def from_the_end(healthy, suspect):
    at = len(healthy)
    while at > 0 and float(suspect[at - 1] - healthy[at - 1]) > 0.5:
        at -= 1
    return at if at < len(healthy) else -1


def every_start(healthy, suspect):
    worse = [bool(b - a > 0.5) for a, b in zip(healthy, suspect)]
    return next((start for start in range(len(worse)) if all(worse[start:])), -1)


RIGHT = [from_the_end, every_start]


def first_worse(healthy, suspect):
    return next((i for i in range(len(healthy)) if suspect[i] - healthy[i] > 0.5), -1)


def beginning_only(healthy, suspect):
    worse = [bool(b - a > 0.5) for a, b in zip(healthy[:10], suspect[:10])]
    if not any(worse):
        return -1
    return next((start for start in range(len(worse)) if all(worse[start:])), -1)


def no_margin(healthy, suspect):
    worse = [bool(b > a) for a, b in zip(healthy, suspect)]
    return next((start for start in range(len(worse)) if all(worse[start:])), -1)


def one_early(healthy, suspect):
    found = every_start(healthy, suspect)
    return found - 1 if found > 0 else found


def other_way(healthy, suspect):
    return every_start(suspect, healthy)


def length(healthy, suspect):
    found = every_start(healthy, suspect)
    return len(healthy) if found < 0 else found


WRONG = {
    "first blip": [first_worse],
    "short prompts": [beginning_only],
    "however little": [no_margin],
    "last good position": [one_early],
    "wrong sign": [other_way],
    "no end": [length],
}
