"""The explorer's numbers against the tables by hand; each of its states says something."""

import itertools

import pytest

from minimistral.lab import BenchmarkExplorer
from minimistral.lab.tools.benchmark_explorer import (
    ALL,
    AS_DRAWN,
    TABLES,
    State,
    bars,
    benchmarks,
    describe,
    length,
    protocols,
    results,
)

FIGURE_1, FIGURE_3, *_ = TABLES


def test_the_figure_as_it_was_drawn_and_from_zero():
    text = describe(State())
    assert "drawn 1.13 times as long" in text and "ratio is 1.06" in text  # 46.4 : 41.2, and 86.4 : 81.2
    assert "drawn 1.06 times as long" in describe(State(axis=0))
    assert "But their protocols differ: 5-shot; not stated." in text
    first, second = bars(State())[:2]
    assert (first.model, second.model) == ("GPT-4", "Mistral Large")
    assert length(first, State()) / length(second, State()) == pytest.approx(46.4 / 41.2)


def test_mistakes_turn_a_small_gap_into_a_large_ratio():
    assert describe(State(measure="mistakes", axis=0)).startswith(
        "Mistral Large makes 18.8 mistakes in 100 and GPT-4 13.6: 1.38 times as many."
    )


def test_the_errors_are_those_of_unpaired_shares():
    text = describe(State(FIGURE_3, "NQ", axis=0))
    assert "0.2 points, one standard error 1.07 (3,610 questions, unpaired): too close to call." in text
    assert "more than chance gives" in describe(State(FIGURE_3, "GSM8K", axis=0))
    assert "how many questions were asked is not stated" in describe(State(FIGURE_3, "TriviaQA", axis=0))


def test_a_protocol_filters_and_all_shows_what_the_figure_left_out():
    assert [bar.model for bar in bars(State(protocol="5-shot"))][:2] == ["GPT-4", "Gemini Pro 1.0"]
    assert "as that of GPT-4 (OpenAI)" in describe(State(protocol=ALL))  # Google asked it too
    assert len(bars(State(protocol=ALL))) > len(bars(State(protocol=AS_DRAWN))) == 6
    assert "nothing to compare" in describe(State(protocol="not stated"))


def test_every_state_has_a_sentence_and_bars_of_some_length():
    for table in TABLES:
        for benchmark in benchmarks(table):
            state = State(table, benchmark, axis=0)
            for protocol, measure in itertools.product(protocols(state), ("score", "mistakes")):
                state = State(table, benchmark, measure, 0, True, protocol)
                assert describe(state).endswith((".", ".")) and all(length(bar, state) > 0 for bar in bars(state))
        assert all(bar.n_items is None or bar.n_items > 100 for bar in results(table))


def test_the_picture_says_the_sentence_and_bad_names_are_listed():
    tool = BenchmarkExplorer(FIGURE_3, "HumanEval", errors=True)
    assert tool.picture().alt == repr(tool) and tool.start()["axis"] == 0
    assert BenchmarkExplorer().start()["axis"] == 40
    with pytest.raises(ValueError, match="the tool shows 'Figure 1: MMLU, six models'"):
        BenchmarkExplorer("Figure 2")
    with pytest.raises(ValueError, match="this table has MMLU"):
        BenchmarkExplorer(FIGURE_3, "Chess")


def test_it_opens_only_in_states_that_its_controls_reach():
    assert "1.38 times as many" in repr(BenchmarkExplorer(measure="mistakes"))
    assert "Only Mistral Large" in repr(BenchmarkExplorer(protocol="not stated"))
    assert BenchmarkExplorer(axis=65).start()["axis"] == 65  # the shortest bar, another team's 68.0, is longer
    for bad, says in (
        (dict(axis=90), "from 0 to 65"),
        (dict(axis=-5), "from 0 to 65"),
        (dict(measure="mistakes", axis=10), "from 0 to 0"),
        (dict(measure="faults"), "'score' or 'mistakes'"),
        (dict(protocol="9-shot"), "this benchmark has 'as in the figure', 'all that is published', '5-shot'"),
    ):
        with pytest.raises(ValueError, match=says):
            BenchmarkExplorer(**bad)
