"""The name of an ingest process at the registry, which knows by it whose connections end when it is gone."""

import os
import secrets
import socket
from pathlib import Path

_HOST_CHARACTERS = 40


def node_name(data_dir: Path, number: int, given: str) -> str:
    """`{name}/{number}`: the same after every start of this data folder, and no other's.

    Args:
        number: of the worker.
        given: name of the node from the settings; empty: the host's, with a number kept in the data folder.
    Raises: OSError if the folder cannot be written.
    """
    if not given:
        given = f"{socket.gethostname()[:_HOST_CHARACTERS]}-{_number(data_dir / 'ingest' / 'node')}"
    return f"{given}/{number}"


def _number(path: Path) -> str:
    """Two folders on one host are two nodes. Workers ask at once: one of them is first, and its number counts."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".node.{secrets.token_hex(4)}")
        draft.write_text(secrets.token_hex(4), encoding="ascii")
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text(encoding="ascii").strip()[:8]
