"""Resource names and times between protobuf and the registry."""

from google.protobuf.timestamp_pb2 import Timestamp

from registry.errors import InvalidError, Violation


def id_of(name: str, collection: str, field: str = "name") -> str:
    """The last part of `collection/id`. Raises: InvalidError if the name is of another shape."""
    prefix, _, resource_id = name.partition("/")
    # PostgreSQL has no texts with NUL, so nothing is called so.
    if prefix != collection or not resource_id or "/" in resource_id or "\0" in resource_id:
        text = f"`{name}` is not a name here; it is {collection}/ and an id, as in {collection}/example"
        raise InvalidError([Violation(field, "NAME_INVALID", text)])
    return resource_id


def created_id(given: str, name: str, collection: str, field: str) -> str:
    """The id of a resource to be created: `field` of the request; its own name must agree or be empty."""
    if name and id_of(name, collection) != given:
        text = f"`{name}` and {field} `{given}` differ; leave the name empty"
        raise InvalidError([Violation("name", "NAME_DIFFERS", text)])
    return given


def versioned(name: str, collection: str) -> tuple[str, int | None]:
    """The id and the version of `collection/id@version` (AIP-162); None: without one.

    Raises: InvalidError if the name is of another shape.
    """
    resource_id, at, version = id_of(name, collection).partition("@")
    if not at:
        return resource_id, None
    if not (version.isascii() and version.isdecimal() and len(version) <= 9 and int(version) > 0):
        text = f"`{version}` is not a version; it is a number, as in {collection}/example@3"
        raise InvalidError([Violation("name", "VERSION_INVALID", text)])
    return resource_id, int(version)


def timestamp(time_ms: int) -> Timestamp:
    return Timestamp(seconds=time_ms // 1000, nanos=time_ms % 1000 * 1_000_000)


def optional_timestamp(time_ms: int | None) -> Timestamp | None:
    return None if time_ms is None else timestamp(time_ms)
