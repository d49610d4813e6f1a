"""What the doctor says of machines that lack something."""

import builtins
import sys
from collections import namedtuple

import pytest

from minimistral import doctor, machine


def finding(what):
    return next(found for found in doctor.examine() if found.what == what)


def test_on_this_machine_nothing_needed_is_missing():
    assert [found for found in doctor.examine() if found.is_fine is False] == []


def test_an_old_python_is_a_problem_and_a_new_one_a_note(monkeypatch):
    version = namedtuple("version", "major minor micro releaselevel serial")
    monkeypatch.setattr(sys, "version_info", version(3, 10, 1, "final", 0))
    assert doctor._python().is_fine is False and "3.11" in doctor._python().found
    monkeypatch.setattr(sys, "version_info", version(3, 15, 0, "final", 0))
    assert doctor._python().is_fine is None


@pytest.mark.parametrize(("name", "verdict"), [("safetensors", False), ("jupyterlab", None)])
def test_a_missing_package_is_named_with_its_command(monkeypatch, name, verdict):
    real = doctor.version

    def version(asked):
        if asked == name:
            raise doctor.PackageNotFoundError(asked)
        return real(asked)

    monkeypatch.setattr(doctor, "version", version)
    assert finding(name).is_fine is verdict
    assert f"pip install {name}" in finding(name).found


def test_an_old_torch_is_a_problem(monkeypatch):
    import torch

    monkeypatch.setattr(torch, "__version__", "2.8.1+cpu")
    assert finding("torch").is_fine is False and "2.9" in finding("torch").found


def test_a_torch_that_cannot_be_imported_is_a_problem(monkeypatch):
    real = builtins.__import__

    def broken(name, *rest):
        if name == "torch":
            raise ImportError("libgomp.so.1: cannot open shared object file")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", broken)
    [found] = doctor._torch()
    assert found.is_fine is False and "libgomp" in found.found


def test_a_torch_that_computes_wrongly_is_noticed(monkeypatch):
    from minimistral.cache import LayerCache

    real = LayerCache.write_one
    monkeypatch.setattr(
        LayerCache, "write_one", lambda self, k, v: (lambda a, b, m: (a, b + 0.1, m))(*real(self, k, v))
    )
    assert finding("arithmetic").is_fine is False


def test_little_memory_is_a_note_and_a_full_disk_a_problem(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor, "memory_bytes", lambda: 2 * doctor.GIB)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage(10, 10, doctor.GIB // 2))
    assert finding("memory").is_fine is None and finding("disk").is_fine is False
    monkeypatch.setattr(doctor, "memory_bytes", lambda: None)
    assert finding("memory").is_fine is None


def test_the_real_models_are_planned_in_one_line(monkeypatch):
    here = machine.Machine(8, 16 * 10**9, 13 * 10**9, 300 * 10**9)
    asked = []
    monkeypatch.setattr(machine, "machine", lambda measure: asked.append(measure) or here)
    found = finding("real models")
    assert asked == [False] and found.is_fine is True
    assert found.found == (
        "Mistral 7B: 8-bit on the CPU; Mixtral 8x7B: 4-bit on the CPU, experts on disk (more: minimistral plan)"
    )


def test_a_system_that_says_nothing_of_its_memory(monkeypatch):
    for total in (None, 8 * 10**9):
        monkeypatch.setattr(machine, "available_bytes", lambda device: None)
        monkeypatch.setattr(machine, "memory_bytes", lambda total=total: total)
        assert machine.machine(measure=False).memory_free == (total or 0)
