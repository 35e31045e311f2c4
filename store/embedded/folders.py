"""Whether tables may have changed, by the times of their folders: no statement is run for it.

A part that comes, goes or is merged is a rename or a removal in its table's folder.
"""

import time
from collections.abc import Collection
from pathlib import Path

from store.embedded.engine import Engine

# A change this young may be followed by another at the same tick of the file system's clock, or be not yet complete.
_SETTLED_NS = 1_000_000_000


class Folders:
    """Folders of tables of `cityfleet` with data of their own: these, or all that there are. Blocks."""

    def __init__(self, engine: Engine, tables: Collection[str] = ()) -> None:
        answer = engine.ask(
            "SELECT arrayJoin(data_paths) FROM system.tables WHERE database = 'cityfleet' AND engine LIKE '%MergeTree' "
            "AND (empty({tables:Array(String)}) OR has({tables:Array(String)}, name))",
            {"tables": str(list(tables))},
        )
        self._paths = [Path(path) for path in answer.splitlines()]

    def state(self) -> tuple[int, ...] | None:
        """Equal to one before: no part has come or gone since. None: not known, for one may be doing so now."""
        try:
            found = tuple(path.stat().st_mtime_ns for path in self._paths)
        except OSError:
            return None
        if not found or max(found) > time.time_ns() - _SETTLED_NS:
            return None
        return found
