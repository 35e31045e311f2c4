"""In which ward a place is: point in polygon over the boundaries that the operator has loaded."""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
import shapely
from sqlalchemy import Connection, Engine

from registry.db import wards as db

# By engine, because a process may have several databases. Replaced when the boundaries are.
_maps: "WeakKeyDictionary[Engine, WardMap]" = WeakKeyDictionary()


class WardMap:
    """Boundaries of one load, to be asked from any thread."""

    def __init__(self, revision: int, shapes: Sequence[tuple[str, bytes]]) -> None:
        """Args: shapes: (ward_code, well-known binary) in the order of the codes."""
        self.revision = revision
        self._codes = np.array([code for code, _ in shapes], dtype=object)
        self._shapes = shapely.from_wkb([shape for _, shape in shapes])
        shapely.prepare(self._shapes)
        self._tree = shapely.STRtree(self._shapes)

    def __len__(self) -> int:
        return len(self._codes)

    def locate(self, latitude: float | None, longitude: float | None) -> str:
        """The ward's code; empty outside all, or without a place."""
        if latitude is None or longitude is None or not len(self):
            return ""
        return self.locate_many([latitude], [longitude])[0]

    def locate_many(self, latitudes: Sequence[float], longitudes: Sequence[float]) -> list[str]:
        """As locate, for n places at once. On a common border the smallest code has it: the answer is stable."""
        x, y = np.asarray(longitudes, dtype=float), np.asarray(latitudes, dtype=float)
        found = np.full(len(x), "", dtype=object)
        if len(self) and len(x):
            point, shape = self._tree.query(shapely.points(x, y))
            inside = shapely.intersects_xy(self._shapes[shape], x[point], y[point])
            point, shape = point[inside], shape[inside]
            order = np.argsort(-shape, kind="stable")  # the smallest is written last
            found[point[order]] = self._codes[shape[order]]
        return [str(code) for code in found]


def ward_map(connection: Connection) -> WardMap:
    """The boundaries in force in this transaction; without any it knows no ward."""
    revision = db.boundaries_revision(connection)
    known = _maps.get(connection.engine)
    if known is None or known.revision != revision:
        stored = db.list_boundaries(connection)
        known = WardMap(revision, [(entry.ward_code, entry.boundary) for entry in stored])
        _maps[connection.engine] = known
    return known
