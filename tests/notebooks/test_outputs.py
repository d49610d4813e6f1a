"""Every chapter, run in a fresh kernel, gives the outputs that are committed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_fresh_run_gives_the_committed_outputs(chapter, tmp_path):
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval" if sys.platform == "linux" else "--nbval-lax",
        "--nbval-current-env",
    ]
    command += ["--nbval-cell-timeout=180", "--nbval-sanitize-with", str(ROOT / "tests/notebooks/sanitize.cfg")]
    command += ["-p", "no:cacheprovider", "-q", str(chapter)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "MINIMISTRAL_PROGRESS": str(tmp_path)}
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
