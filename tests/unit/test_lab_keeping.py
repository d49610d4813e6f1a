"""What a learner keeps in a notebook is there again in the next one."""

import linecache

import pytest
import torch
from torch import nn

from minimistral.lab import keep, kept

CELL = '''"""A cell with more in it."""
other = 3


class Doubled(nn.Module):
    def forward(self, x):
        return twice(x)


def tripled(x):
    return x * 3
'''


@pytest.fixture
def cell(tmp_path, monkeypatch):
    """Names as a notebook's cell defines them: of __main__, with a source that stands in no file."""
    monkeypatch.setenv("MINIMISTRAL_PROGRESS", str(tmp_path))
    linecache.cache["<cell 1>"] = (len(CELL), None, CELL.splitlines(keepends=True), "<cell 1>")
    space = {"nn": nn, "__name__": "__main__"}
    exec(compile(CELL, "<cell 1>", "exec"), space)
    yield space
    del linecache.cache["<cell 1>"]


def test_a_class_of_a_notebook_is_kept(cell, capsys):
    keep("doubled", cell["Doubled"])
    found = kept("doubled", nn.Identity, twice=lambda x: x * 2)
    assert torch.equal(found()(torch.ones(2)), torch.full((2,), 2.0))
    assert "your own Doubled" in capsys.readouterr().out


def test_a_function_of_a_notebook_is_kept(cell):
    keep("tripled", cell["tripled"])
    assert kept("tripled", abs)(2) == 6


def test_without_one_the_librarys_is_used_and_it_says_so(cell, capsys):
    assert kept("nothing", nn.Identity) is nn.Identity
    assert "none of your own" in capsys.readouterr().out


def test_what_has_no_source_is_refused(cell):
    for thing in (abs, type("Empty", (), {})):
        with pytest.raises(ValueError, match="a cell of this notebook"):
            keep("wrong", thing)
