"""Errors against simulation and enumeration; votes against votes that were really cast."""

import itertools
import math
import random

import numpy as np
import pytest

from minimistral.statistics import bootstrap, compare, difference_error, interval, sign_test, standard_error
from minimistral.voting import majority, vote_accuracy


def test_the_standard_error_is_the_spread_of_simulated_scores():
    scores = np.random.default_rng(0).binomial(164, 0.305, size=20_000) / 164
    assert standard_error(0.305, 164) == pytest.approx(scores.std(), rel=0.02)
    with pytest.raises(ValueError, match="divide a percentage by 100"):
        standard_error(30.5, 164)


@pytest.mark.parametrize(("share", "n"), [(0.5, 20), (0.9, 50), (0.02, 100)])
def test_the_interval_holds_the_true_share_nearly_95_times_in_100(share, n):
    drawn = np.random.default_rng(1).binomial(n, share, size=4_000) / n
    holds = [low <= share <= high for low, high in (interval(score, n) for score in drawn)]
    assert 0.92 <= np.mean(holds) <= 0.985
    low, high = interval(1.0, n)
    assert low < high == pytest.approx(1)


def test_an_unpaired_difference_has_the_larger_error():
    draw = np.random.default_rng(2)
    hard = draw.random(1000)  # questions that are hard for both
    a, b = (draw.random(1000) < hard for _ in range(2))
    paired = compare(a.tolist(), b.tolist())
    assert paired.standard_error < difference_error(a.mean(), 1000, b.mean(), 1000)
    assert paired.difference == pytest.approx(a.mean() - b.mean())
    each = a.astype(float) - b.astype(float)
    assert paired.standard_error == pytest.approx(each.std() / math.sqrt(1000))
    assert difference_error(0.288, 3610, 0.290, 3610) == pytest.approx(0.01066, abs=1e-4)


def test_the_sign_test_counts_all_ways_to_throw_the_coins():
    for wins, losses in itertools.product(range(6), repeat=2):
        n = wins + losses
        as_uneven = [abs(2 * sum(throws) - n) >= abs(wins - losses) for throws in itertools.product((0, 1), repeat=n)]
        assert sign_test(wins, losses) == pytest.approx(sum(as_uneven) / 2**n)


def test_pairs_need_the_same_questions():
    with pytest.raises(ValueError, match="2 and 1 answers"):
        compare([True, False], [True])


def test_arrays_compare_like_lists_and_nothing_is_refused():
    a, b = np.array([True, True, False]), np.array([False, True, False])
    assert compare(a, b) == compare(a.tolist(), b.tolist()) and type(compare(a, b).only_a) is int
    assert compare([True], [False]).p_value == compare([True], [True]).p_value == 1
    assert majority(np.array([2, 7, 7])) == 7
    with pytest.raises(ValueError, match="no values"):
        bootstrap([])


def test_the_bootstrap_by_pairs_has_the_paired_error():
    draw = np.random.default_rng(4)
    a, b = draw.random(500) < 0.7, draw.random(500) < 0.6
    differences = a.astype(float) - b.astype(float)
    assert bootstrap(differences, repeats=2000).std() == pytest.approx(compare(a, b).standard_error, rel=0.06)


def test_the_bootstrap_of_a_mean_has_its_standard_error():
    values = np.random.default_rng(3).normal(size=400)
    means = bootstrap(values, repeats=2000)
    assert means.std() == pytest.approx(values.std() / 20, rel=0.06)
    assert np.array_equal(bootstrap(values, repeats=5), means[:5])
    assert bootstrap([1.0, 1.0], statistic=np.median, repeats=3).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("p", "n_wrong", "votes", "spread"),
    [(0.4, 1, 8, 0), (0.4, 3, 8, 0), (0.4, 20, 5, 0.3), (0.1, 2, 4, 0.7), (0.2, 3, 100, 0.1)],
)
def test_votes_are_right_as_often_as_votes_that_are_cast(p, n_wrong, votes, spread):
    draw, won, repeats = random.Random(0), 0, 20_000
    for _ in range(repeats):
        of_this = p if spread == 0 else draw.betavariate(p * (1 / spread - 1), (1 - p) * (1 / spread - 1))
        cast = [0 if draw.random() < of_this else draw.randint(1, n_wrong) for _ in range(votes)]
        most = max(cast.count(answer) for answer in cast)
        won += draw.choice([answer for answer in set(cast) if cast.count(answer) == most]) == 0
    assert vote_accuracy(p, n_wrong, votes, spread) == pytest.approx(won / repeats, abs=4 * math.sqrt(0.25 / repeats))


def test_the_ends_of_voting():
    assert vote_accuracy(0.3, 5, votes=1) == pytest.approx(0.3)
    assert vote_accuracy(0.3, 5, votes=8, spread=1) == 0.3
    assert vote_accuracy(0.0, 5) == 0 and vote_accuracy(1.0, 5) == 1
    assert [vote_accuracy(0.5, 1, votes=n) for n in (7, 499)] == pytest.approx([0.5, 0.5])
    for spread in (1e-6, 1e-15):
        assert vote_accuracy(0.3935, 3, 8, spread) == pytest.approx(vote_accuracy(0.3935, 3, 8), abs=1e-6)
    assert vote_accuracy(0.3935, 3, 8, 1 - 1e-12) == pytest.approx(0.3935)
    with pytest.raises(ValueError, match="from 0 to 1"):
        vote_accuracy(39.35, 3)


def test_majority_takes_the_first_of_equals():
    assert majority(["7", "8", "8", "7"]) == "7" and majority([3]) == 3
    with pytest.raises(ValueError, match="at least one"):
        majority([])
