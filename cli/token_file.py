"""A file of tokens: CSV, for its owner alone; added to and never begun anew: what is in it exists nowhere else."""

import os
from pathlib import Path
from typing import IO

from cli.errors import CommandError, ExitCode


def open_tokens(path: Path) -> IO[str]:
    """Open for adding; a new file gets its head. Raises: CommandError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as exc:
        raise CommandError(f"cannot write {path}: {exc.strerror}", ExitCode.USAGE) from exc
    os.fchmod(descriptor, 0o600)
    file = os.fdopen(descriptor, "w", encoding="utf-8", newline="")
    if os.fstat(descriptor).st_size == 0:
        file.write("device_id,token\n")
    return file
