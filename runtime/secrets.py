"""Secrets of one deployment: random tokens in files of mode 0600 below the data folder, made at first use."""

import os
import secrets as random
from pathlib import Path


def secret(data_dir: Path, name: str) -> str:
    """Return the secret `name`, creating it if it does not exist; safe when several processes ask at once.

    Raises: OSError if the folder cannot be written.
    """
    folder = data_dir / "secrets"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / name
    if not path.exists():
        draft = _draft(path)
        try:
            os.link(draft, path)  # fails if another process was first, then its secret counts
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text(encoding="ascii").strip()


def existing_secret(data_dir: Path, name: str) -> str:
    """Return the secret `name`; empty if there is none, or none that we may read."""
    try:
        return (data_dir / "secrets" / name).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def renew_secret(data_dir: Path, name: str) -> str:
    """Replace the secret `name` by a new one. Raises: OSError if the folder cannot be written."""
    path = data_dir / "secrets" / name
    _draft(path).replace(path)
    return path.read_text(encoding="ascii").strip()


def _draft(path: Path) -> Path:
    draft = path.with_name(f".{path.name}.{random.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(random.token_urlsafe(24))
        file.flush()
        os.fsync(file.fileno())
    return draft
