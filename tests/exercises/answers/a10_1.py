"""10.1: answers as people write them."""

import math

import numpy as np


def all_in_percent(percent, n):
    error = (percent * (100 - percent) / n) ** 0.5
    return percent - 1.96 * error, percent + 1.96 * error


def through_counts(percent, n):
    right = percent / 100 * n
    spread = math.sqrt(n * (right / n) * (1 - right / n))
    return 100 * (right - 1.96 * spread) / n, 100 * (right + 1.96 * spread) / n


def as_a_list(percent, n):
    p = np.array(percent) / 100
    return [float(100 * (p + sign * 1.96 * np.sqrt(p * (1 - p) / n))) for sign in (-1, 1)]


RIGHT = [all_in_percent, through_counts, as_a_list]


def forgot_to_go_back(percent, n):
    share = percent / 100
    half = 1.96 * (share * (1 - share) / n) ** 0.5
    return (percent - half, percent + half)


def shares_all_the_way(percent, n):
    share = percent / 100
    half = 1.96 * (share * (1 - share) / n) ** 0.5
    return (share - half, share + half)


def counts_not_shares(percent, n):
    share = percent / 100
    half = 1.96 * math.sqrt(share * (1 - share) * n)
    return (percent - half, percent + half)


def variance(percent, n):
    share = percent / 100
    half = 100 * 1.96 * (share * (1 - share) / n)
    return (percent - half, percent + half)


def two_in_three(percent, n):
    error = math.sqrt(percent * (100 - percent) / n)
    return percent - error, percent + error


def without_n(percent, n):
    half = 1.96 * math.sqrt(percent * (100 - percent))
    return percent - half, percent + half


def always_a_half(percent, n):
    half = 98 / math.sqrt(n)
    return percent - half, percent + half


WRONG = {
    "percent for share": [forgot_to_go_back],
    "in shares": [shares_all_the_way],
    "error of the sum": [counts_not_shares],
    "no root": [variance],
    "one standard error": [two_in_three],
    "of a single question": [without_n],
    "p taken as a half": [always_a_half],
}
