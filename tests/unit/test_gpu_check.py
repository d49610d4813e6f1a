"""`make gpu-check` without a GPU: every part runs on tiny shapes, and what it writes and answers is what it says."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks import gpu_check
from minimistral.quantize import Int4Linear, Int8Linear

torch.set_num_threads(1)
ROOT = Path(__file__).parents[2]


def written(folder):
    (path,) = folder.iterdir()
    return json.loads(path.read_text(encoding="utf-8"))


def test_every_part_runs_on_tiny_shapes_and_keeps_its_promises(tmp_path, capsys):
    started = time.process_time()
    assert gpu_check.main(["--tiny", "--out", str(tmp_path)]) == 0
    assert time.process_time() - started < 20
    parts = written(tmp_path)["parts"]
    assert set(parts) == set(gpu_check.PARTS) and not any("failed" in found for found in parts.values())
    assert written(tmp_path)["machine"]["cores"] and written(tmp_path)["date"]
    assert parts["parity"]["mixture: the same 60 greedy ids, fast and plain"] == 1
    assert 0 < parts["offloaded"]["hit rate with half of the experts on the device"] < 1
    for name in ("compiled_7b", "compiled_7b_int8", "compiled_7b_int4", "mixtral_int8", "mixtral_int4"):
        assert parts[name]["fast, tokens a second"] > 0 and parts[name]["share of the measured bandwidth"] > 0
    assert "NOT" not in capsys.readouterr().out


def test_a_part_alone_needs_few_packages_and_leaves_the_others_findings(tmp_path):
    blocked = (
        "import sys; sys.modules |= dict.fromkeys(['transformers', 'huggingface_hub', 'jupyterlab', 'matplotlib']); "
    )
    code = blocked + "from benchmarks.gpu_check import main; sys.exit(main(sys.argv[1:]))"
    for part in ("prefill_32k", "compiled_7b"):
        command = [sys.executable, "-c", code, "--tiny", "--part", part, "--out", tmp_path]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert list(written(tmp_path)["parts"]) == ["prefill_32k", "compiled_7b"]


def test_without_a_gpu_it_says_so_in_one_line_and_answers_2(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_check.main(["--out", str(tmp_path)]) == 2
    assert len(capsys.readouterr().out.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_a_part_that_fails_or_falls_short_is_recorded_and_the_next_one_runs(monkeypatch, tmp_path, capsys):
    def fails(setting, found):
        """Fails."""
        found.note("before", 1.0)
        raise RuntimeError("out of memory")

    def falls_short(setting, found):
        """Falls short."""
        found.promise("speed", 0.5, 0.8)

    monkeypatch.setattr(gpu_check, "PARTS", {"fails": fails, "falls_short": falls_short})
    assert gpu_check.main(["--tiny", "--out", str(tmp_path)]) == 1
    for name in gpu_check.PARTS:
        assert gpu_check.main(["--tiny", "--out", str(tmp_path), "--part", name]) == 1
    parts = written(tmp_path)["parts"]
    assert parts["fails"]["failed"] == "RuntimeError: out of memory" and parts["fails"]["before"] == 1.0
    assert parts["falls_short"]["speed"] == 0.5
    assert "NOT" in capsys.readouterr().out


def test_tiny_numbers_never_land_among_the_results(monkeypatch):
    monkeypatch.setattr(gpu_check, "PARTS", {"none": lambda setting, found: None})
    monkeypatch.setattr(gpu_check, "write", lambda *args: pytest.fail("written"))
    assert gpu_check.main(["--tiny"]) == 0


def test_what_a_gpu_cannot_hold_is_left_out_and_named(monkeypatch):
    monkeypatch.setattr(gpu_check, "available_bytes", lambda device: 23 * 10**9)
    setting, found = gpu_check.real(), gpu_check.Findings()
    assert gpu_check.has_room(setting, found, setting.dense, None) and not found
    gpu_check.mixtral_int8(setting, found)
    gpu_check.mixtral_int4(setting, found)
    assert found["left out"].endswith("and 23.0 are free") and not found.broken
    assert gpu_check.has_room(gpu_check.tiny(), found, setting.mixture, None)  # on a CPU nothing is measured


@pytest.mark.parametrize("bits", [None, "int8", "int4"])
def test_random_models_have_the_shapes_and_kinds_that_loading_gives(bits):
    config = gpu_check.tiny().mixture
    model = gpu_check.random_model(config, torch.device("cpu"), torch.bfloat16, bits)
    kind = {None: torch.nn.Linear, "int8": Int8Linear, "int4": Int4Linear}[bits]
    assert {type(expert.w2) for layer in model.layers for expert in layer.feed_forward.experts} == {kind}
    assert type(model.layers[0].attention.wk) is type(model.output) is kind
    assert type(model.layers[0].feed_forward.gate) is torch.nn.Linear and model.norm.weight.eq(1).all()
    assert model(torch.tensor([[1, 2]])).isfinite().all()


def test_the_real_parts_have_the_real_shapes_and_fit_an_80_gb_gpu():
    setting = gpu_check.real()
    assert setting.dense.count_parameters().total == 7_241_732_096
    assert setting.mixture.count_parameters().total == 46_702_792_704
    assert setting.few_layers.n_layers == 8 and setting.few_layers.moe == setting.mixture.moe
    assert 1.1 * setting.mixture.count_parameters().total < 80e9  # int8, with scales and room for one joined layer
