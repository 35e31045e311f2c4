"""What is near a place, in SQL: the same answers as registry.filter.evaluate.is_near."""

import math

from sqlalchemy import ColumnElement, FromClause, Integer, and_, cast, func, literal_column

from registry.db.conditions import Caller, Clause
from registry.filter.evaluate import EARTH_RADIUS_M, haversine_limit

# Beyond this east to west says nothing: the box would hold a pole.
_POLE_DEGREES = 89.0
# The index of places has them by bands of latitude of some 550 m, and within a band by longitude.
_BANDS_PER_DEGREE = 200
# Sought one by one; of more, all is read that lies east and west too.
_MOST_BANDS = 60


def box(table: FromClause, latitude: float, longitude: float, radius_m: float) -> Clause:
    """Within a box round the circle, which an index finds."""
    at = table.c
    spread = math.degrees(radius_m / EARTH_RADIUS_M) + 1e-9
    south, north = latitude - spread, latitude + spread
    clauses = [at.latitude.is_not(None), at.latitude.between(south, north), _in_bands(at.latitude, south, north)]
    if abs(latitude) + spread < _POLE_DEGREES:
        width = spread / math.cos(math.radians(abs(latitude) + spread))
        if abs(longitude) + width < 180:
            clauses.append(at.longitude.between(longitude - width, longitude + width))
    return and_(*clauses)


def _in_bands(latitude: ColumnElement[float], south: float, north: float) -> Clause:
    # Written as it is in the index: else it is not used.
    band = cast(latitude * literal_column(str(_BANDS_PER_DEGREE)), Integer)
    # To an integer one database cuts and the other rounds.
    first, last = math.floor(south * _BANDS_PER_DEGREE), math.floor(north * _BANDS_PER_DEGREE) + 1
    if last - first < _MOST_BANDS:
        return band.in_(range(first, last + 1))
    return band.between(first, last)


def near(table: FromClause) -> Caller:
    """The function `near` of rows with columns `latitude` and `longitude`, degrees or NULL."""
    at = table.c

    def clause(latitude: float, longitude: float, radius_m: float) -> Clause:
        here = func.radians(at.latitude)
        half_lat = func.sin((here - math.radians(latitude)) * 0.5)
        half_lon = func.sin(func.radians(at.longitude - longitude) * 0.5)
        haversine = half_lat * half_lat + func.cos(here) * math.cos(math.radians(latitude)) * half_lon * half_lon
        within = box(table, latitude, longitude, radius_m)
        return and_(within, at.longitude.is_not(None), haversine <= haversine_limit(radius_m))

    return clause
