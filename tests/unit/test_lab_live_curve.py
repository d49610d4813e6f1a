"""The curve that grows while a model trains: live in a notebook, silent elsewhere, a picture at the end."""

import base64
import io
from pathlib import Path

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from PIL import Image

from minimistral import ModelConfig, Transformer
from minimistral.lab import LiveCurve, live_curve
from minimistral.train import TrainConfig, train

torch.set_num_threads(1)


def some_records(n=50, held_out_every=10):
    records = [dict(step=i, loss=4.0 - i / 20) for i in range(n)]
    for record in records[held_out_every - 1 :: held_out_every]:
        record["held_out_loss"] = record["loss"] + 0.1
    return records


def test_outside_a_notebook_it_collects_and_shows_nothing(capsys):
    torch.manual_seed(0)
    sizes = dict(dim=24, n_layers=1, n_heads=6, n_kv_heads=2, head_dim=10, hidden_dim=40, vocab_size=37)
    curve, config = LiveCurve(), TrainConfig(steps=6, batch_size=2, context=8, warmup_steps=1)
    records = train(Transformer(ModelConfig(**sizes)), torch.arange(200) % 37, config, on_step=curve, progress=False)
    assert curve.records == records and capsys.readouterr() == ("", "")


def test_the_picture_says_whether_the_loss_has_fallen_and_nothing_that_varies():
    falling, rising = some_records(), [dict(step=i, loss=float(i)) for i in range(30)]
    bundle, metadata = LiveCurve(records=falling)._repr_mimebundle_()
    said = "The loss in nats a token against the step, over 50 steps: it ends lower than it began."
    assert metadata["image/png"]["alt"] == said and said in bundle["text/plain"] and said in bundle["text/html"]
    assert "does not end lower" in repr(LiveCurve(records=rising))
    assert LiveCurve(records=falling, alt="My own.").picture().alt == "My own."
    assert len(LiveCurve(records=falling).picture().png) < 60_000
    assert LiveCurve(records=falling[:1]).picture().png, "one step is a curve too"


def test_before_the_first_step_it_says_how_to_use_it():
    assert "no step yet" in repr(LiveCurve()) and LiveCurve()._repr_mimebundle_()[0].keys() == {"text/plain"}
    with pytest.raises(ValueError, match="on_step=curve"):
        LiveCurve().picture()


def test_the_figure_draws_every_loss_and_what_was_measured():
    axes = live_curve.draw(some_records(), "A title").axes[0]
    losses, mean, held_out = axes.lines
    assert list(losses.get_xdata()) == list(range(1, 51)) and losses.get_ydata()[0] == 4.0
    assert list(mean.get_ydata()) == pytest.approx(live_curve.running_mean([r["loss"] for r in some_records()]))
    assert list(held_out.get_xdata()) == [10, 20, 30, 40, 50]
    assert axes.get_xlabel() == "step" and "nats" in axes.get_ylabel() and axes.get_title(loc="left") == "A title"


@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
def test_the_running_mean_is_a_mean_of_the_last(share):
    values = [float((7 * i) % 11) for i in range(100)]
    found = live_curve.running_mean(values, share)
    for i in (0, 1, 9, 50, 99):
        last = values[: i + 1][-max(1, round((i + 1) * share)) :]
        assert found[i] == pytest.approx(sum(last) / len(last))


def test_in_a_notebook_the_image_changes_now_and_then_and_goes_when_the_picture_comes(monkeypatch):
    shown, clock = [], [100.0]
    monkeypatch.setattr(live_curve, "_in_a_notebook", lambda: True)
    monkeypatch.setattr(live_curve.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr("IPython.display.display", shown.append)
    curve, values = LiveCurve(), []
    for record in some_records(9):
        curve(record)
        clock[0] += 0.3
        values.append(shown[0].image.value)
    assert len(shown) == 1, "one image, not one a step"
    assert [a == b for a, b in zip(values, values[1:])] == [True, True, False, True, True, False, True, True]
    assert curve._live.image.comm is not None
    curve._repr_mimebundle_()
    assert curve._live.image.comm is None, "closed"


def test_a_slow_drawing_is_made_more_rarely(monkeypatch):
    clock, drawn = [0.0], []
    monkeypatch.setattr(live_curve, "_in_a_notebook", lambda: True)
    monkeypatch.setattr(live_curve.time, "monotonic", lambda: clock[0])

    def draw(self):
        drawn.append(clock[0])
        clock[0] += 2.0

    monkeypatch.setattr(LiveCurve, "_draw", draw)
    curve = LiveCurve()
    for record in some_records(100):
        curve(record)
        clock[0] += 1.0
    assert [round(b - a) for a, b in zip(drawn, drawn[1:])] == [22] * (len(drawn) - 1) and len(drawn) > 3


CELL = """
import torch
from minimistral import ModelConfig, Transformer
from minimistral.lab import LiveCurve
from minimistral.train import TrainConfig, train
torch.set_num_threads(1)
sizes = dict(dim=24, n_layers=1, n_heads=6, n_kv_heads=2, head_dim=10, hidden_dim=40, vocab_size=37)
config = TrainConfig(steps=20, batch_size=4, context=16, warmup_steps=5, learning_rate=1e-2)
curve = LiveCurve("Counting")
records = train(Transformer(ModelConfig(**sizes)), torch.arange(300) % 37, config, on_step=curve, progress=False)
curve
"""


def test_in_a_real_kernel_nothing_leaks_and_the_picture_stays():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    folder = Path(live_curve.__file__).parents[2]
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", store_widget_state=False,
                            resources={"metadata": {"path": folder}})  # fmt: skip
    client.execute()
    live, still = notebook.cells[0].outputs
    assert live.output_type == "display_data" and live.data["text/plain"] == "(the curve grew here while the cell ran)"
    assert "application/vnd.jupyter.widget-view+json" in live.data
    assert still.output_type == "execute_result" and "over 20 steps: it ends lower" in still.data["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" not in still.data
    assert Image.open(io.BytesIO(base64.b64decode(still.data["image/png"]))).size == (936, 390)
