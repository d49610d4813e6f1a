"""The course's one script: `python start.py lab`, `test` or `update`. Needs nothing but Python.

lab     make the environment (once), copy the chapters to my-course/, open JupyterLab there
test    everything: lint, unit, parity, hub, exercises, notebooks, browser   (--fast: no notebooks, no browser)
update  after `git pull`: bring new chapters into my-course/, carrying your answers over
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
COURSE = ROOT / "my-course"
OLDEST, NEWEST = (3, 11), (3, 14)
TORCH_INDEX = "https://download.pytorch.org/whl/"  # PyTorch's own: builds that the general package index lacks
SUITES = ["unit", "parity", "hub", "exercises", "notebooks", "browser"]
FAST_SUITES = SUITES[:4]


class Stop(Exception):
    """Ends the script with one line that says what to do."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    lab = commands.add_parser("lab", help="open the course in JupyterLab")
    lab.add_argument(
        "--progress", help="where your progress is kept (else MINIMISTRAL_PROGRESS, else my-course/.progress)"
    )
    test = commands.add_parser("test", help="run every test")
    test.add_argument("--fast", action="store_true", help="without notebooks and browser")
    commands.add_parser("update", help="bring new chapters into my-course/")
    commands.add_parser("env", help="make the environment for development and stop")
    options, rest = parser.parse_known_args(arguments)
    if rest and options.command != "lab":
        parser.error("unknown: " + " ".join(rest))
    try:
        check_python()
        if options.command == "update":
            return update_course()
        python = make_environment("lab" if options.command == "lab" else "test")
        if options.command == "env":
            return 0
        return run_lab(python, options.progress, rest) if options.command == "lab" else run_tests(python, options.fast)
    except Stop as stop:
        print(stop, file=sys.stderr)
        return 1
    except OSError as error:
        print(explain(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


# ---- The environment ----------------------------------------------------------------------------------------------


def check_python(version: tuple = tuple(sys.version_info[:2])) -> None:
    if not OLDEST <= version <= NEWEST:
        raise Stop(
            "This is Python {}.{}; the course needs {}.{} to {}.{}. Install one from https://www.python.org/downloads/ "
            "and run it by name, e.g. `python3.12 start.py lab`.".format(*version, *OLDEST, *NEWEST)
        )


def environment_python() -> Path:
    return ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def recipe(extra: str) -> str:
    """A fingerprint of all that the environment is made from: as long as it stays, nothing is installed."""
    files = b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))
    return hashlib.sha256(files + f"{extra} {sys.version} {has_nvidia()}".encode()).hexdigest()


def make_environment(extra: str) -> Path:
    """The environment's Python, installing what is missing. A stamp, written last, tells a whole one from a half-made one."""
    python = environment_python()
    stamps = {name: ENVIRONMENT / f"ready-{name}.txt" for name in ("lab", "test")}
    for name in ("lab", "test") if extra == "lab" else ("test",):  # test holds all of lab
        if python.exists() and stamps[name].exists() and stamps[name].read_text() == recipe(name):
            return python
    need_modules()
    need_space()
    print("Making the environment in .venv (once; some minutes) …", flush=True)
    if not works(python):
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        run([sys.executable, "-m", "venv", str(ENVIRONMENT)], "Making .venv failed")
    stamps[extra].unlink(missing_ok=True)
    install_torch(python)
    pip(python, ["-c", str(ROOT / "constraints.txt"), "-e", f"{ROOT}[{extra}]"])
    quiet_first_start()
    stamps[extra].write_text(recipe(extra))
    return python


def works(python: Path) -> bool:
    return (
        python.exists() and subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True).returncode == 0
    )


def need_modules() -> None:
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        raise Stop(
            "This Python lacks the venv module. On Debian and Ubuntu: sudo apt install python3-venv. Then run the same again."
        ) from None


def need_space() -> None:
    need = 12 if has_nvidia() else 3
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < need:
        raise Stop(
            f"The environment needs about {need} GB, and the disk of {ROOT} has {free:.1f} GB free. Make room, or move the folder."
        )


def has_nvidia() -> bool:
    return shutil.which("nvidia-smi") is not None


def install_torch(python: Path) -> None:
    """The build that uses this machine's device: Apple's and the plain one as they come, CUDA or CPU where that is a choice."""
    wanted = next(
        line.strip() for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch==")
    )
    index: list[str] = []
    if platform.system() == "Linux" and not has_nvidia() and brings_cuda(python, wanted):
        index = ["--index-url", TORCH_INDEX + "cpu"]
    elif platform.system() == "Windows" and has_nvidia():
        index = ["--index-url", TORCH_INDEX + "cu128"]
    if index and subprocess.run(pip_command(python, [*index, "--retries", "1", wanted])).returncode == 0:
        return
    pip(python, [wanted])


def brings_cuda(python: Path, requirement: str) -> bool:
    """Whether the package index's torch would pull gigabytes of CUDA libraries (asked without downloading it)."""
    command = pip_command(python, ["--dry-run", "--no-deps", "--ignore-installed", "--report", "-", requirement])
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        needs = json.loads(done.stdout)["install"][0]["metadata"].get("requires_dist", [])
    except (ValueError, LookupError):
        return True
    return any(need.startswith(("nvidia", "cuda")) and "extra ==" not in need for need in needs)


def pip_command(python: Path, arguments: list[str]) -> list[str]:
    return [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]


def pip(python: Path, arguments: list[str]) -> None:
    run(pip_command(python, arguments), "Installing failed: is this machine online, and is there room on its disk?")


def run(command: list[str], what_failed: str) -> None:
    if subprocess.run(command).returncode:
        raise Stop(f"{what_failed} What was printed above says more. Run the same again: it goes on from here.")


def quiet_first_start() -> None:
    """JupyterLab asks a new user about news from the network; a learner opening it for the first time need not answer."""
    folder = ENVIRONMENT / "share" / "jupyter" / "lab" / "settings"
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
    (folder / "overrides.json").write_text(json.dumps(settings))


def explain(error: OSError) -> str:
    if error.errno == 28:
        return f"The disk is full ({error.filename or ROOT}). Make room (the environment needs about 3 GB) and run the same again."
    return f"{error.filename or 'A file'}: {error.strerror}. Check that you may write to {ROOT}."


# ---- lab ----------------------------------------------------------------------------------------------------------


def run_lab(python: Path, progress: str | None, rest: list[str]) -> int:
    copy_course()
    environment = dict(os.environ)
    chosen = progress or environment.get("MINIMISTRAL_PROGRESS") or COURSE / ".progress"
    environment["MINIMISTRAL_PROGRESS"] = str(Path(chosen).expanduser().resolve())
    return subprocess.call([str(python), "-m", "jupyter", "lab", *lab_arguments(rest)], cwd=COURSE, env=environment)


def lab_arguments(rest: list[str]) -> list[str]:
    """What LAB_ARGS and the command line pass on to JupyterLab; as root it would refuse to start without --allow-root."""
    arguments = [*shlex.split(os.environ.get("LAB_ARGS", "")), *rest]
    if getattr(os, "geteuid", lambda: 1)() == 0 and "--allow-root" not in arguments:
        arguments.append("--allow-root")
    return arguments


def copy_course() -> None:
    """Chapters that my-course/ lacks, and the files that they show; never over a file that is there."""
    COURSE.mkdir(exist_ok=True)
    for source in sorted((ROOT / "chapters").rglob("*")):
        target = COURSE / source.relative_to(ROOT / "chapters")
        if source.is_file() and ".ipynb_checkpoints" not in source.parts and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            if source.suffix == ".ipynb":
                remember(target.name, source_of(source))


# ---- update -------------------------------------------------------------------------------------------------------


def update_course() -> int:
    """Untouched chapters are replaced; in touched ones the answers move to the new text, and the old file is kept."""
    copy_course()
    for source in sorted((ROOT / "chapters").glob("*.ipynb")):
        mine, new = COURSE / source.name, source_of(source)
        if new == remembered().get(source.name):
            continue
        if source_of(mine) == remembered().get(source.name):
            shutil.copyfile(source, mine)
            print(f"{source.name}: replaced by the new version.")
        else:
            backup = mine.with_name(f"{mine.stem}.mine-{time.strftime('%Y%m%d-%H%M%S')}.ipynb")
            shutil.copyfile(mine, backup)
            n_carried = carry_answers(backup, source, mine)
            print(
                f"{source.name}: new version with {n_carried} of your answers; your whole file is kept as {backup.name}."
            )
        remember(source.name, new)
    return 0


def carry_answers(old: Path, new: Path, target: Path) -> int:
    """Write chapter `new` to `target` with the answer cells of `old`, matched by exercise id; returns how many."""
    answers = {}
    for cell in json.loads(old.read_text(encoding="utf-8"))["cells"]:
        exercise = answer_of(cell)
        if exercise:
            answers[exercise] = cell["source"]
    chapter = json.loads(new.read_text(encoding="utf-8"))
    n_carried = 0
    for cell in chapter["cells"]:
        exercise = answer_of(cell)
        if exercise in answers:
            n_carried += cell["source"] != answers[exercise]
            cell["source"] = answers[exercise]
    draft = target.with_suffix(".part")
    draft.write_text(json.dumps(chapter, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    draft.replace(target)
    return n_carried


def answer_of(cell: dict) -> str | None:
    mark = cell.get("metadata", {}).get("minimistral", {})
    return mark.get("exercise") if mark.get("role") == "answer" else None


def source_of(notebook: Path) -> str:
    """A fingerprint of what is written in a notebook's cells: running it changes nothing, editing it does."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    text = json.dumps([[cell["cell_type"], "".join(cell["source"])] for cell in cells])
    return hashlib.sha256(text.encode()).hexdigest()


def remembered() -> dict:
    """Chapter to the fingerprint of the version that was last copied."""
    path = COURSE / ".copied.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def remember(name: str, fingerprint: str) -> None:
    draft = COURSE / ".copied.json.part"
    draft.write_text(json.dumps({**remembered(), name: fingerprint}, indent=1), encoding="utf-8")
    draft.replace(COURSE / ".copied.json")


# ---- test ---------------------------------------------------------------------------------------------------------


def run_tests(python: Path, fast: bool) -> int:
    """Each suite on its own, its time printed; the exit status says whether all passed."""
    if not (ROOT / "tests").is_dir():
        raise Stop("There is no tests/ folder here: clone the whole project.")
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # two workers share two cores
    parallel = ["-n", "2", "--dist", "loadfile"]
    steps = [("lint", ["ruff", "check", "."], {}), ("format", ["ruff", "format", "--check", "."], {})]
    for suite in FAST_SUITES if fast else SUITES:
        if (ROOT / "tests" / suite).is_dir():
            alone = suite == "browser"  # it measures time
            command = ["pytest", "-q", f"tests/{suite}", *([] if alone else parallel)]
            steps.append((suite, command, {} if alone else one_thread))
    failed = []
    for name, command, extra in steps:
        print(f"\n=== {name} ===", flush=True)
        started = time.time()
        if subprocess.call([str(python), "-m", *command], cwd=ROOT, env={**os.environ, **extra}):
            failed.append(name)
        print(f"--- {name}: {time.time() - started:.0f} s", flush=True)
    print(f"\nFailed: {', '.join(failed)}" if failed else "\nEverything passed.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
