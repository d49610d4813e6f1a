"""13.3: answers as people write them."""


def stated_first(entries):
    window = entries.get("sliding_window", None)
    default = 10_000.0 if window else 1_000_000.0
    return entries.get("rope_theta", default), window


def in_one_line(entries):
    window = entries.get("sliding_window", None)
    return (entries["rope_theta"] if entries.get("rope_theta") else 1e4 if window is not None else 1e6), window


RIGHT = [stated_first, in_one_line]


def untouched(entries):
    return entries.get("rope_theta") or 1e4, entries.get("sliding_window") or 4096


def window_left(entries):
    theta = entries.get("rope_theta") or (1e4 if entries.get("sliding_window") else 1e6)
    return theta, entries.get("sliding_window") or 4096


def theta_left(entries):
    return entries.get("rope_theta", 1e4), entries.get("sliding_window")


def million(entries):
    return entries.get("rope_theta", 1e6), entries.get("sliding_window")


def from_window(entries):
    return 1e4 if entries.get("sliding_window") else 1e6, entries.get("sliding_window")


def from_experts(entries):
    return entries.get("rope_theta", 1e6 if "moe" in entries else 1e4), entries.get("sliding_window")


def turned(entries):
    return stated_first(entries)[::-1]


WRONG = {
    "as given": [untouched],
    "still a window": [window_left],
    "theta of the other": [theta_left],
    "large for all": [million],
    "stated and ignored": [from_window],
    "told by the experts": [from_experts],
    "swapped": [turned],
}
