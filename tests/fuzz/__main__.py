"""`make fuzz`: every target for SECONDS each, or `--only` one; inputs that broke one stay in build/fuzz."""

import argparse
import random
import sys
from pathlib import Path

from tests.fuzz import runner


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--only", action="append", choices=runner.targets())
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 1 << 31))
    parser.add_argument("--engine", choices=("mutator", "atheris"), default=runner.best_engine())
    parser.add_argument("--repeat", type=Path, metavar="FILE", help="run one input again; with --only TARGET")
    arguments = parser.parse_args()
    if arguments.repeat and len(arguments.only or ()) != 1:
        parser.error("--repeat needs --only TARGET")
    engine = "mutator" if arguments.repeat else arguments.engine
    print(f"engine {engine}, seed {arguments.seed}", flush=True)
    failed = 0
    for target in arguments.only or runner.targets():
        outcome = runner.run(target, arguments.seconds, arguments.seed, engine, arguments.repeat)
        print(f"{target}: {outcome.runs} inputs, {outcome.problem or 'nothing found'}", flush=True)
        if outcome.problem:
            failed += 1
            again = f"python -m tests.fuzz --only {target} --repeat {outcome.input_path}"
            print(f"{outcome.output}\nthe input is kept; again: {again}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
