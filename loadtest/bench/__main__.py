"""`make bench`: every benchmark, or one by name; what they print, and their JSON lines in build/bench.json."""

import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path

# A result without a table of its own is shown as it is.
_SHORT = 600
BENCHMARKS = ("decode", "device_index", "mqtt_endpoint", "main_job")


def run(name: str) -> list[dict[str, object]]:
    """Run one benchmark in a process of its own, show what it prints, return its lines of JSON."""
    print(f"== {name}", flush=True)
    lines = []
    with subprocess.Popen(
        [sys.executable, "-m", f"loadtest.bench.{name}"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                lines.append(json.loads(line))
                if len(line) < _SHORT:
                    print(line, end="", flush=True)
            else:
                print(line, end="", flush=True)
    if process.returncode:
        raise SystemExit(f"{name} failed with status {process.returncode}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", choices=BENCHMARKS)
    only = parser.parse_args().only
    results = {name: run(name) for name in BENCHMARKS if only in (None, name)}
    path = Path("build/bench.json")
    path.parent.mkdir(exist_ok=True)
    before = json.loads(path.read_text()) if path.exists() else {}
    machine = {"python": platform.python_version(), "machine": platform.machine(), "kernel": platform.release()}
    path.write_text(json.dumps({**before, "machine": machine, **results}, indent=2))
    print(f"figures in {path}")


if __name__ == "__main__":
    main()
