"""`python -m experiments`: what there is; `python -m experiments NAME …`: repeat these; `all`: repeat everything."""

import argparse
import pkgutil
import sys
from importlib import import_module
from pathlib import Path

from experiments import runner

# Every file here that names an EXPERIMENT; by chapter.
MODULES = [import_module(f"experiments.{module.name}") for module in pkgutil.iter_modules([str(Path(__file__).parent)])
           if module.name != "__main__"]  # fmt: skip
FOUND = [module.EXPERIMENT for module in MODULES if hasattr(module, "EXPERIMENT")]
EXPERIMENTS = {experiment.name: experiment for experiment in sorted(FOUND, key=lambda e: (e.chapter, e.name))}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all, or of: {', '.join(EXPERIMENTS)}")
    parser.add_argument(
        "--fresh", action="store_true", help="repeat what is stored already; again after an interruption goes on"
    )
    options = parser.parse_args(arguments)
    unknown = set(options.names) - {*EXPERIMENTS, "all"}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}. Choose from all, {', '.join(EXPERIMENTS)}.")
    for name, experiment in EXPERIMENTS.items():
        if not options.names:
            print(f"{name:15} chapter {experiment.chapter}, about {experiment.minutes} minutes: {experiment.question}")
        elif name in options.names or "all" in options.names:
            runner.repeat(experiment, fresh=options.fresh)
    if not options.names:
        print(f"{'all':15} about {sum(e.minutes for e in EXPERIMENTS.values())} minutes on one core")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
