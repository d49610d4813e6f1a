"""Chapter 10's quiz: the keys that can be computed."""

import math

from minimistral.lab import quizzes
from minimistral.multiple_choice import Scored, chosen
from minimistral.statistics import compare, difference_error, standard_error


def question(number):
    return quizzes.questions("10")[number - 1]


def key(number):
    return question(number).options[question(number).key]


def test_the_error_of_a_score():
    assert key(1) == f"{100 * standard_error(0.4, 600):.1f}"


def test_two_models_by_pairs_and_without():
    pairs = [(True, True)] * 600 + [(True, False)] * 60 + [(False, True)] * 30 + [(False, False)] * 310
    found = compare(*map(list, zip(*pairs)))
    assert key(2) == f"{found.difference / found.standard_error:.1f}"
    assert question(2).options[0] == f"{0.03 / difference_error(0.66, 1000, 0.63, 1000):.1f}"


def test_three_rules_three_choices():
    choices = [[Scored(-6, 3, 12), Scored(-7, 5, 10), Scored(-8, 4, 20)]]
    assert key(3) == ", ".join("ABC"[chosen(choices, rule)[0]] for rule in ("sum", "per token", "per byte"))


def test_bits_a_byte():
    assert key(5) == f"{math.log2(16) / 4:.0f}"
    assert question(5).options[1] == f"{math.log(16) / 4:.2f}"
