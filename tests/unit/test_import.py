"""What `import minimistral` brings along, and how small the model's files are."""

import subprocess
import sys
from pathlib import Path

import pytest

import minimistral

PACKAGE = Path(minimistral.__file__).parent
MODEL_FILES = ["config", "norm", "rope", "masks", "attention", "cache", "feed_forward", "moe", "transformer"]


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_loads_nothing_heavy():
    assert (
        python("import minimistral, sys; print([m for m in ('torch', 'numpy', 'IPython') if m in sys.modules])") == "[]"
    )


def test_the_model_brings_no_widget_or_plotting_library():
    code = (
        "import minimistral as m, sys\n"
        "[getattr(m, name) for name in m.__all__]\n"
        "print(sorted({'matplotlib', 'ipywidgets', 'anywidget', 'IPython', 'transformers', 'huggingface_hub',"
        "'mistral_common', 'minimistral.lab'} & set(sys.modules)))"
    )
    assert python(code) == "[]"


def test_no_file_of_the_library_imports_lab():
    for path in [*PACKAGE.glob("*.py"), *PACKAGE.glob("checkpoints/*.py")]:
        text = path.read_text(encoding="utf-8")
        if path.name not in ("cli.py", "start.py"):
            assert "minimistral.lab" not in text and "transformers import" not in text, path


def test_the_nine_model_files_can_be_read_in_an_evening():
    lines = {name: len((PACKAGE / f"{name}.py").read_text(encoding="utf-8").splitlines()) for name in MODEL_FILES}
    assert sum(lines.values()) < 1200, lines
    assert max(lines.values()) <= 200, lines


def test_public_names_resolve_and_an_unknown_one_lists_them():
    assert all(getattr(minimistral, name) for name in minimistral.__all__)
    assert set(minimistral.__all__) <= set(dir(minimistral))
    with pytest.raises(AttributeError, match="Transformer"):
        minimistral.Tranformer  # noqa: B018
