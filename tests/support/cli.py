"""`cityfleet ARGUMENTS` within the process of the test: a tenth of the time that a process of its own takes."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

from cli.main import main

ROOT = Path(__file__).parents[2]


def cityfleet(data_dir: Path, *arguments: str, stdin: str = "", **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run it to its end, in the repository's folder, on the deployment of `data_dir`; nobody is at a terminal."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CITYFLEET_")}
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    given = io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
    with (
        patch.dict(os.environ, kept | {"CITYFLEET_DATA_DIR": str(data_dir)} | environ, clear=True),
        patch.object(sys, "argv", ["cityfleet", *arguments]),
        patch.object(sys, "stdin", given),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        contextlib.chdir(ROOT),
    ):
        try:
            main()
            code = 0
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else int(bool(exc.code))
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(arguments, code, *texts)
