"""A GeoJSON file (RFC 7946) becomes the boundaries of wards, or a list of what is wrong with it."""

from typing import Any

import msgspec
import shapely
from shapely.geometry.base import BaseGeometry

from registry.devices.wards import wards
from registry.errors import InvalidError, Violation

MAX_BYTES = 64 << 20
MAX_VIOLATIONS = 100
SHAPES = ("Polygon", "MultiPolygon")


class _Feature(msgspec.Struct):
    geometry: msgspec.Raw
    properties: dict[str, Any] | None = None


class _Kind(msgspec.Struct):
    kind: str = msgspec.field(name="type", default="")


class _Collection(msgspec.Struct):
    kind: str = msgspec.field(name="type", default="")
    features: list[_Feature] = []


def read_boundaries(geojson: bytes, code_property: str) -> list[tuple[str, bytes]]:
    """Boundaries as (ward_code, well-known binary), in the order of the codes; at least one.

    Args: code_property: of each feature, holds the code.
    Raises: InvalidError with everything that is wrong, at most MAX_VIOLATIONS.
    """
    try:
        collection = msgspec.json.decode(geojson, type=_Collection)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise InvalidError([Violation("geojson", "GEOJSON_INVALID", f"not a FeatureCollection: {exc}")]) from exc
    if collection.kind != "FeatureCollection" or not collection.features:
        text = "a FeatureCollection with at least one feature is wanted (RFC 7946)"
        raise InvalidError([Violation("geojson", "GEOJSON_INVALID", text)])
    found: list[Violation] = []
    shapes: dict[str, bytes] = {}
    for at, feature in enumerate(collection.features):
        field = f"features[{at}]"
        code = (feature.properties or {}).get(code_property)
        shape, problems = _shape(field, bytes(feature.geometry))
        problems = _check_code(f"{field}.properties.{code_property}", code) + problems
        if not problems and code in shapes:
            problems = [Violation(field, "WARD_TWICE", f"ward {code} has a boundary already; join them in one feature")]
        found += problems
        if shape is not None and not problems:
            shapes[str(code)] = shapely.to_wkb(shape)
        if len(found) >= MAX_VIOLATIONS:
            break
    if found:
        raise InvalidError(found[:MAX_VIOLATIONS])
    return sorted(shapes.items())


def _check_code(field: str, code: object) -> list[Violation]:
    if isinstance(code, str) and code in wards():
        return []
    text = f"`{code}` is not a ward of the city: 5 digits as a string, as in 00070"
    if code is None:
        text = "there is no such property; name the one that holds the ward's code with code_property"
    elif str(code).isdecimal() and str(code).zfill(5) in wards():
        text = f"`{code}` has lost its leading zeros or is a number: write it as a string, {str(code).zfill(5)}"
    return [Violation(field, "WARD_UNKNOWN", text)]


def _shape(field: str, geometry: bytes) -> tuple[BaseGeometry | None, list[Violation]]:
    try:
        kind = msgspec.json.decode(geometry, type=_Kind).kind
        if kind not in SHAPES:
            return None, [Violation(field, "SHAPE_UNKNOWN", f"a boundary is a Polygon or MultiPolygon, not `{kind}`")]
        shape = shapely.from_geojson(geometry)
    except (msgspec.DecodeError, shapely.GEOSException) as exc:
        return None, [Violation(field, "SHAPE_INVALID", f"its geometry cannot be read: {exc}")]
    if shape is None or shape.is_empty:
        return None, [Violation(field, "SHAPE_EMPTY", "its geometry has no points")]
    west, south, east, north = shape.bounds
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        text = "its coordinates are no WGS 84 degrees (longitude first); project them before (ogr2ogr -t_srs EPSG:4326)"
        return None, [Violation(field, "NOT_DEGREES", text)]
    if not shape.is_valid:
        # Simplified boundaries often cross themselves by a hair; what encloses nothing falls away.
        mended = shapely.make_valid(shape, method="structure", keep_collapsed=False)
        if mended.is_empty or mended.geom_type not in SHAPES:
            return None, [Violation(field, "SHAPE_INVALID", shapely.is_valid_reason(shape))]
        shape = mended
    return shapely.force_2d(shape), []
