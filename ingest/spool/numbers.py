"""Names of segments, which are insert tokens: the name of this spool and a number that never goes back."""

import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path

import structlog

from ingest.disk import move_aside, write_file

log = structlog.get_logger()

_NODE = re.compile(r"[A-Za-z0-9_]{1,64}")
_SEGMENT = re.compile(rf"({_NODE.pattern})-(\d{{1,18}})")
_COUNTER = re.compile(r"[1-9]\d{0,17}", re.ASCII)
# The counter is written ahead in such steps: numbers may be left out after a crash, never used twice.
_STEP = 1000


def new_node() -> str:
    """A name that no other spool has, so that tokens of two never meet."""
    return secrets.token_hex(6)


def parse_name(text: str) -> tuple[str, int] | None:
    """Node and number of a segment's name; None if it is none."""
    match = _SEGMENT.fullmatch(text)
    return (match[1], int(match[2])) if match else None


class Numbers:
    """The files `node` and `next` of a spool. Without both as they should be, both are made anew at the first `take`:
    which numbers were used is not known then, so the name must be another one.
    """

    def __init__(self, folder: Path, on_aside: Callable[[], None] = lambda: None) -> None:
        """Never refuses: what cannot be read or is not what it should be is set aside, and `on_aside` called."""
        self._folder = folder
        self._on_aside = on_aside
        node = self._read("node", lambda text: text if _NODE.fullmatch(text) else None)
        reserved = self._read("next", lambda text: int(text) if _COUNTER.fullmatch(text) else None)
        self.node = ""
        self._next = 1
        # Numbers below are ours to use: the counter on disk says that they may have been.
        self._reserved = 1
        if isinstance(node, str) and isinstance(reserved, int):
            self.node = node
            self._next = self._reserved = reserved

    def _read(self, name: str, parse: Callable[[str], str | int | None]) -> str | int | None:
        path = self._folder / name
        try:
            file = os.open(path, os.O_RDONLY)
            try:
                text = os.pread(file, 1000, 0).decode("ascii").strip()
            finally:
                os.close(file)
            if (found := parse(text)) is not None:
                return found
            reason = "not what it should be"
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as exc:
            reason = str(exc)
        log.warning("spool_file_set_aside", file=name, reason=reason)
        self._on_aside()
        try:
            move_aside(path, ".aside")
        except OSError as exc:
            log.warning("spool_file_not_moved", file=name, reason=exc.strerror)
        return None

    def seen(self, node: str, number: int) -> None:
        """There is a file of this name: the number is used."""
        if node == self.node:
            self._next = max(self._next, number + 1)

    def take(self) -> tuple[str, int]:
        """Node and number of the next segment, used by nobody before. Raises: OSError; it may be called again."""
        if not self.node:
            # In this order: an old name must never meet a counter that begins again.
            node = new_node()
            write_file(self._folder / "node", node.encode())
            write_file(self._folder / "next", b"%d" % (1 + _STEP))
            self.node, self._next, self._reserved = node, 1, 1 + _STEP
        if self._next >= self._reserved:
            write_file(self._folder / "next", b"%d" % (self._next + _STEP))
            self._reserved = self._next + _STEP
        self._next += 1
        return self.node, self._next - 1
