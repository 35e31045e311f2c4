"""What is near a place, in SQL: the same answers as registry.filter.evaluate.is_near."""

import math

from sqlalchemy import ColumnElement, FromClause, Integer, and_, cast, func, literal_column

from registry.db.conditions import Caller, Clause
from registry.db.schema import devices
from registry.filter.evaluate import EARTH_RADIUS_M, haversine_limit

# Beyond this east to west says nothing: the box would hold a pole.
_POLE_DEGREES = 89.0
# The index of places has them by bands of latitude of some 550 m, and within a band by longitude.
_BANDS_PER_DEGREE = 200
# Sought one by one; of more, all is read that lies east and west too.
_MOST_BANDS = 60


def near_by_index(latitude: float, longitude: float, radius_m: float) -> Clause:
    """Of devices: what holds the circle and is read off the index of places. Without the latitude itself, which follows
    from the band: PostgreSQL would take both for rare, and what is found for a few devices."""
    at, (south, north) = devices.c, _latitudes(latitude, radius_m)
    # Written as it is in the index: else it is not used.
    band = cast(at.latitude * literal_column(str(_BANDS_PER_DEGREE)), Integer)
    # To an integer one database cuts and the other rounds.
    first, last = math.floor(south * _BANDS_PER_DEGREE), math.floor(north * _BANDS_PER_DEGREE) + 1
    is_few = last - first < _MOST_BANDS
    clauses = [band.in_(range(first, last + 1)) if is_few else band.between(first, last)]
    return and_(*clauses, *_longitudes(at.longitude, latitude, longitude, radius_m))


def near(table: FromClause, *, by_index: bool = False) -> Caller:
    """The function `near` of rows with columns `latitude` and `longitude`, degrees or NULL.

    Args: by_index: of all devices. Else of rows that were found otherwise, and no index is to be looked into again.
    """
    at = table.c

    def clause(latitude: float, longitude: float, radius_m: float) -> Clause:
        here = func.radians(at.latitude)
        half_lat = func.sin((here - math.radians(latitude)) * 0.5)
        half_lon = func.sin(func.radians(at.longitude - longitude) * 0.5)
        haversine = half_lat * half_lat + func.cos(here) * math.cos(math.radians(latitude)) * half_lon * half_lon
        return and_(
            *(at.latitude.is_not(None), at.longitude.is_not(None)),
            *((near_by_index(latitude, longitude, radius_m),) if by_index else ()),
            at.latitude.between(*_latitudes(latitude, radius_m)),
            *_longitudes(at.longitude, latitude, longitude, radius_m),
            haversine <= haversine_limit(radius_m),
        )

    return clause


def _latitudes(latitude: float, radius_m: float) -> tuple[float, float]:
    """Of a box round the circle."""
    spread = math.degrees(radius_m / EARTH_RADIUS_M) + 1e-9
    return latitude - spread, latitude + spread


def _longitudes(column: ColumnElement[float], latitude: float, longitude: float, radius_m: float) -> list[Clause]:
    """The same; none if it holds a pole, or crosses the date line."""
    spread = math.degrees(radius_m / EARTH_RADIUS_M) + 1e-9
    if abs(latitude) + spread < _POLE_DEGREES:
        width = spread / math.cos(math.radians(abs(latitude) + spread))
        if abs(longitude) + width < 180:
            return [column.between(longitude - width, longitude + width)]
    return []
