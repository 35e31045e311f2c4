"""What a dry run of an import remembers from one request to the next: the devices that it would have created.

In a database of its own, because a file may have more rows than there is memory. SQLite keeps one without a name in
memory as long as it is small, then in a file that goes with it (https://www.sqlite.org/inmemorydb.html, section 3).
"""

import json
import sqlite3
from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from registry.devices.model import DeviceSpec

_TABLES = """
CREATE TABLE planned (device_id TEXT PRIMARY KEY, is_gateway INTEGER, content INTEGER) WITHOUT ROWID;
CREATE TABLE external_ids (external_id TEXT PRIMARY KEY, device_id TEXT) WITHOUT ROWID;
"""
_IDS = "SELECT device_id, is_gateway, content FROM planned WHERE device_id IN (SELECT value FROM json_each(?))"
_NAMES = "SELECT external_id, device_id FROM external_ids WHERE external_id IN (SELECT value FROM json_each(?))"


class Planned(msgspec.Struct, frozen=True):
    """`content`: the same number for the same row."""

    is_gateway: bool
    content: int


New: TypeAlias = tuple[DeviceSpec, Planned]


class DryRun:
    """Of one stream; one thread at a time. It is gone with the last who holds it, which may be a thread of a call that
    has ended."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._database.executescript("PRAGMA journal_mode = OFF; PRAGMA cache_size = -8192;" + _TABLES)

    def planned(self, device_ids: Iterable[str]) -> dict[str, Planned]:
        """Those of the given devices that were added, by id."""
        rows = self._database.execute(_IDS, (json.dumps(list(device_ids)),))
        return {device_id: Planned(bool(is_gateway), content) for device_id, is_gateway, content in rows}

    def holders(self, external_ids: Iterable[str]) -> dict[str, str]:
        """Whose the given external ids would be."""
        return dict(self._database.execute(_NAMES, (json.dumps(list(external_ids)),)).fetchall())

    def add(self, new: Iterable[New]) -> None:
        """None of them was added before."""
        new = list(new)
        rows = [(spec.device_id, int(planned.is_gateway), planned.content) for spec, planned in new]
        names = [(spec.external_id, spec.device_id) for spec, _ in new if spec.external_id]
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO planned VALUES (?, ?, ?)", rows)
        self._database.executemany("INSERT INTO external_ids VALUES (?, ?)", names)
        self._database.execute("COMMIT")


def content(spec: DeviceSpec, token: str) -> int:
    """Of a row, in this process: 64 bits."""
    return hash((msgspec.json.encode(spec, order="sorted"), token))
