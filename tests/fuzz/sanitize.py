"""`make sanitize`: fuzz targets and unit tests of ext under the address and undefined behaviour sanitizers.

They are built from the same C files into build/sanitize, so nothing of the ordinary build changes. Leaks are not looked
for: the interpreter itself leaves memory behind at its end. tests/unit/ext/test_no_leaks.py looks for ours.
"""

import os
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "sanitize"
FLAGS = (
    *("-O1", "-g", "-fPIC", "-shared", "-w", "-fno-omit-frame-pointer"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"),
)
SECONDS = 5.0


def build() -> None:
    """Compile what is older than its C file, and put the packages' own files beside."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    include = sysconfig.get_path("include")
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        jobs = []
        for source in sorted((ROOT / "ext").rglob("*.c")):
            made = FOLDER / source.relative_to(ROOT).with_suffix(suffix)
            if made.exists() and made.stat().st_mtime > source.stat().st_mtime:
                continue
            made.parent.mkdir(parents=True, exist_ok=True)
            command = ["gcc", *FLAGS, f"-I{include}", f"-I{ROOT}", str(source), "-o", str(made)]
            jobs.append(pool.submit(subprocess.run, command, check=True))
        for job in jobs:
            job.result()
    for plain in (ROOT / "ext").rglob("*.py"):
        copy = FOLDER / plain.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(plain.read_bytes())


def environment() -> dict[str, str]:
    asan = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    return {
        **os.environ,
        "LD_PRELOAD": asan.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "PYTHONMALLOC": "malloc",  # so that bytes objects have edges, too
        "CITYFLEET_SANITIZED": str(FOLDER),
        "PYTHONPATH": os.pathsep.join(map(str, (FOLDER, ROOT, ROOT / "proto" / "gen"))),
    }


def main() -> int:
    build()
    checked = environment()
    proof = f"import ext.telemetry.index as i; assert i.__file__.startswith({str(FOLDER)!r}), i.__file__"
    subprocess.run([sys.executable, "-c", proof], cwd=FOLDER, env=checked, check=True)
    fuzz = [sys.executable, "-m", "tests.fuzz", "--engine", "mutator", "--seconds", str(SECONDS), *sys.argv[1:]]
    # The parent runs without: what it starts is sanitized by its environment.
    fuzzed = subprocess.run(
        fuzz, cwd=ROOT, env={**checked, "LD_PRELOAD": "", "CITYFLEET_PRELOAD": checked["LD_PRELOAD"]}
    )
    # -s: pytest would swallow what a dying process says. chDB cannot be loaded beside a sanitizer.
    tests = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "tests/unit/ext"]
    tests += ["-o", f"pythonpath={FOLDER} . proto/gen"]
    tests += ["--ignore=tests/unit/ext/test_no_leaks.py", "--ignore=tests/unit/ext/clickhouse"]
    tested = subprocess.run(tests, cwd=ROOT, env=checked)
    return fuzzed.returncode or tested.returncode


if __name__ == "__main__":
    sys.exit(main())
