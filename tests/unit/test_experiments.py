"""The experiments' runner with a toy, and differences by pairs of seeds."""

import json
import math
import random
import re

import pytest

from experiments import __main__ as command
from experiments import runner
from minimistral.lab.stored_results import paired, student_quantile


class Stop(BaseException):
    pass


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """An experiment of four runs; it says what it ran, and stops before the run `stop_at`, where one is given."""
    monkeypatch.setattr(runner, "STORED", tmp_path)
    ran, control = [], {}

    def run(arm, sizes, seed):
        if len(ran) == control.get("stop_at"):
            raise Stop
        ran.append((arm, seed))
        return {"loss": seed + (arm == "b") * 0.5, "version": control.get("version", 1)}

    settings = [dict(arm=arm, sizes=(1, 2), seed=seed) for arm in "ab" for seed in range(2)]
    experiment = runner.Experiment("toy", "00", 3, "Does it run?", settings, run)
    return experiment, ran, control, tmp_path / "toy.json"


def runs_in(path):
    return [(run["arm"], run["seed"], run["version"]) for run in json.loads(path.read_text())["runs"]]


def test_each_setting_is_run_once_and_kept_with_its_origin(toy):
    experiment, ran, _, path = toy
    runner.repeat(experiment)
    runner.repeat(experiment)
    assert ran == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    content = json.loads(path.read_text())
    assert content["question"] == "Does it run?" and content["repeat"] == "python -m experiments toy"
    assert {"date", "machine", "versions"} <= content.keys()
    assert content["runs"][3] == dict(arm="b", sizes=[1, 2], seed=1, loss=1.5, version=1, seconds=0.0)


def test_after_an_interruption_it_goes_on(toy):
    experiment, ran, control, path = toy
    control["stop_at"] = 3
    with pytest.raises(Stop):
        runner.repeat(experiment)
    assert len(runs_in(path)) == 3
    control.clear()
    runner.repeat(experiment)
    assert ran == [("a", 0), ("a", 1), ("b", 0), ("b", 1)] and len(runs_in(path)) == 4


def test_a_fresh_repetition_keeps_the_old_results_until_it_is_whole_and_goes_on_too(toy):
    experiment, ran, control, path = toy
    runner.repeat(experiment)
    control.update(version=2, stop_at=6)
    with pytest.raises(Stop):
        runner.repeat(experiment, fresh=True)
    assert [version for *_, version in runs_in(path)] == [1] * 4
    control["stop_at"] = None
    runner.repeat(experiment, fresh=True)
    assert len(ran) == 8 and [version for *_, version in runs_in(path)] == [2] * 4
    assert [file.name for file in path.parent.iterdir()] == ["toy.json"]


def test_results_of_settings_that_are_no_longer_asked_for_are_dropped(toy):
    experiment, _, _, path = toy
    runner.repeat(experiment)
    fewer = runner.Experiment("toy", "00", 3, "?", experiment.settings[1:3] + [dict(arm="c", sizes=(1,), seed=0)],
                              experiment.run)  # fmt: skip
    runner.repeat(fewer)
    assert [run[:2] for run in runs_in(path)] == [("a", 1), ("b", 0), ("c", 0)]


def test_the_list_says_how_long_each_takes_and_all_is_all(monkeypatch, capsys):
    assert command.main([]) == 0
    listed = capsys.readouterr().out
    assert all(re.search(rf"{name} .*about {e.minutes} minutes", listed) for name, e in command.EXPERIMENTS.items())
    assert "window_cliff" in command.EXPERIMENTS and "\nall " in listed
    asked = []
    monkeypatch.setattr(command.runner, "repeat", lambda experiment, fresh: asked.append((experiment.name, fresh)))
    command.main(["all", "--fresh"])
    assert asked == [(name, True) for name in command.EXPERIMENTS]
    with pytest.raises(SystemExit):
        command.main(["all", "windowcliff"])


def test_what_is_stored_is_what_the_experiments_ask_for():
    for name, experiment in command.EXPERIMENTS.items():
        assert bool({"seed", "seeds"} & experiment.settings[0].keys()) is experiment.is_random, name
        assert all(setting.keys() == experiment.settings[0].keys() for setting in experiment.settings), name


def some_runs(n, effect, noise=1.0):
    draw = random.Random(0)
    runs = []
    for seed in range(n):
        level = draw.gauss(0, 10)  # what a seed brings to both: pairs take it out
        runs += [
            dict(arm="a", seed=seed, loss=level + effect + draw.gauss(0, noise)),
            dict(arm="b", seed=seed, loss=level),
        ]
    draw.shuffle(runs)
    return runs


def test_a_difference_by_pairs_follows_its_formulas():
    runs = [dict(arm="a", seed=s, loss=x) for s, x in enumerate([3.0, 5.0, 10.0, 4.0])]
    runs += [dict(arm="b", seed=s, loss=x) for s, x in enumerate([1.0, 4.0, 6.0, 3.0])]  # differences 2, 1, 4, 1
    found = paired([*runs[:4], *reversed(runs[4:])], "loss", dict(arm="a"), dict(arm="b"))
    assert found.mean == 2.0 and found.n == 4
    assert found.standard_error == pytest.approx(math.sqrt(2) / 2)
    assert found.could_show == pytest.approx((3.182 + 0.978) * math.sqrt(2) / 2, rel=0.01)  # a table's t, 3 degrees
    assert paired(runs, "loss", dict(arm="b"), dict(arm="a")).mean == -2.0
    assert "+2 ± 0.71 (one standard error, 4 pairs" in str(found)


def test_could_show_is_found_four_times_in_five():
    draw, n, found = random.Random(1), 8, 0
    for _ in range(2000):
        values = [draw.gauss(0, 1) for _ in range(n)]
        effect = (student_quantile(0.975, 7) + student_quantile(0.8, 7)) / math.sqrt(n)  # with the true spread
        runs = [dict(arm="a", seed=s, x=value + effect) for s, value in enumerate(values)]
        runs += [dict(arm="b", seed=s, x=0.0) for s in range(n)]
        result = paired(runs, "x", dict(arm="a"), dict(arm="b"))
        found += abs(result.mean) > student_quantile(0.975, 7) * result.standard_error
    assert 0.75 < found / 2000 < 0.85


def test_seeds_trained_at_once_are_pairs_too():
    runs = [dict(arm="a", seeds=3, loss=[1.0, 2.0, 4.0]), dict(arm="b", seeds=3, loss=[1.0, 1.0, 1.0])]
    assert paired(runs, "loss", dict(arm="a"), dict(arm="b")).mean == pytest.approx(4 / 3)


def test_pairs_that_cannot_be_are_refused():
    runs = some_runs(4, 1.0)
    with pytest.raises(ValueError, match="Run the missing"):
        paired([run for run in runs if run != runs[0]], "loss", dict(arm="a"), dict(arm="b"))
    with pytest.raises(ValueError, match="several runs of one seed"):
        paired(runs, "loss", {}, dict(arm="b"))
    with pytest.raises(ValueError, match="3 or more"):
        paired(runs, "loss", dict(arm="c"), dict(arm="d"))
    with pytest.raises(ValueError, match="3 or more"):
        paired(some_runs(2, 1.0), "loss", dict(arm="a"), dict(arm="b"))


# From a printed table of Student's t.
@pytest.mark.parametrize(
    ("p", "degrees", "value", "within"),
    [(0.975, 2, 4.303, 0.04), (0.975, 4, 2.776, 0.003), (0.975, 19, 2.093, 1e-3), (0.8, 4, 0.941, 2e-3)],
)
def test_the_quantile_is_the_table_s(p, degrees, value, within):
    assert student_quantile(p, degrees) == pytest.approx(value, rel=within)
