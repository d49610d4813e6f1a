"""10.2: answers as people write them."""

import math
from statistics import fmean, pstdev

import numpy as np


def with_numpy(a, b):
    d = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    error = d.std() / np.sqrt(len(d))
    return d.mean(), error, bool(abs(d.mean()) > 1.96 * error)


def from_a_table_of_four(a, b):
    only_a = sum(x and not y for x, y in zip(a, b))
    only_b = sum(y and not x for x, y in zip(a, b))
    n = len(a)
    d = (only_a - only_b) / n
    se = math.sqrt((only_a + only_b) / n - d * d) / math.sqrt(n)
    return d, se, abs(d) > 1.96 * se


def by_the_standard_library(a, b):
    news = [x - y for x, y in zip(a, b)]
    error = pstdev(news) / len(news) ** 0.5
    return [fmean(news), error, not -1.96 * error <= fmean(news) <= 1.96 * error]


RIGHT = [with_numpy, from_a_table_of_four, by_the_standard_library]


def two_samples(a, b):
    p, q = np.mean(a), np.mean(b)
    error = np.sqrt(p * (1 - p) / len(a) + q * (1 - q) / len(b))
    return p - q, error, bool(abs(p - q) > 1.96 * error)


def do_they_overlap(a, b):
    d, error, _ = with_numpy(a, b)
    ends = []
    for answers in (a, b):
        p = np.mean(answers)
        half = 1.96 * np.sqrt(p * (1 - p) / len(answers))
        ends.append((p - half, p + half))
    (low_a, high_a), (low_b, high_b) = ends
    return d, error, bool(low_a > high_b or low_b > high_a)


def the_other_way(a, b):
    return from_a_table_of_four(b, a)


def in_questions(a, b):
    d, error, sure = with_numpy(a, b)
    return d * len(a), error * len(a), sure


def no_square_root_of_n(a, b):
    d = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    return d.mean(), d.std(), bool(abs(d.mean()) > 1.96 * d.std())


def better_means_a(a, b):
    d, error, _ = with_numpy(a, b)
    return d, error, bool(d > 1.96 * error)


WRONG = {
    "unpaired error": [two_samples],
    "overlapping intervals": [do_they_overlap],
    "b minus a": [the_other_way],
    "numbers of questions": [in_questions],
    "spread of one question": [no_square_root_of_n],
    "only where a is better": [better_means_a],
}
