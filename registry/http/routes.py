"""Which method of the API an HTTP request stands for. No table: it all follows from the descriptors.

    GET    /v1/devices               ListDevices      GET    /v1/devices/wl-1               GetDevice
    POST   /v1/devices?device_id=..  CreateDevice     PATCH  /v1/devices/wl-1?update_mask=  UpdateDevice
    PUT    /v1/deviceTypes/gauge     ApplyDeviceType  DELETE /v1/devices/wl-1               DeleteDevice
    POST   /v1/devices/wl-1:undelete UndeleteDevice   GET    /v1/deviceTypes/gauge:listRevisions
    POST   /v1/devices:batchGet      BatchGetDevices  GET    /v1/accounts/nga:listAccessTokens

Every other method is `POST /v1/{collection}:{verb}`, or with the name of a resource when its request has one; the verb
is the method's name without the resource's. A method that names no resource with a list of its own belongs to the
first of its service, as in `POST /v1/accounts:whoAmI`. Streams are for gRPC alone.
"""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import msgspec
from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor

# HTTP method, collection, whether a resource of it is named, verb.
Key: TypeAlias = tuple[str, str, bool, str]
_STANDARD = {"Get": "GET", "Update": "PATCH", "Delete": "DELETE", "Apply": "PUT"}


class Route(msgspec.Struct, frozen=True):
    """`name_field`: where the name of the resource goes, as a path of fields; empty: nowhere.
    `body_field`: the field that the body is; empty: the request itself."""

    method: MethodDescriptor
    name_field: tuple[str, ...] = ()
    body_field: str = ""

    @property
    def path(self) -> str:
        return f"/{self.method.containing_service.full_name}/{self.method.name}"


def routes_of(services: Iterable[ServiceDescriptor]) -> dict[Key, Route]:
    found: dict[Key, Route] = {}
    for service in services:
        found.update(_routes(service))
    return found


def _routes(service: ServiceDescriptor) -> Iterator[tuple[Key, Route]]:
    methods = [each for each in service.methods if not each.client_streaming and not each.server_streaming]
    plurals = dict(filter(None, map(_resource, methods)))
    if not plurals:
        return
    first, *_ = plurals.items()
    for method in methods:
        named = [pair for pair in plurals.items() if pair[0] in method.name or pair[1] in method.name]
        yield _route(method, *max(named, key=lambda pair: len(pair[0]), default=first))


def _resource(method: MethodDescriptor) -> tuple[str, str] | None:
    """Singular and plural of what a List method lists: `("DeviceType", "DeviceTypes")`."""
    plural, fields = method.name.removeprefix("List"), method.input_type.fields_by_name
    if plural == method.name or "parent" in fields:
        return None
    listed = next(field.message_type.name for field in method.output_type.fields if field.message_type is not None)
    # What has a name is a list of something of that resource, but for that of operations.
    return None if "name" in fields and plural != f"{listed}s" else (listed, plural)


def _route(method: MethodDescriptor, singular: str, plural: str) -> tuple[Key, Route]:
    collection, name = _lower(plural), method.name
    if name == f"List{plural}":
        return ("GET", collection, False, ""), Route(method)
    body = _body(method.input_type, singular)
    if name == f"Create{singular}":
        return ("POST", collection, False, ""), Route(method, (), body)
    for prefix, verb in _STANDARD.items():
        if name == f"{prefix}{singular}":
            return (verb, collection, True, ""), Route(method, (body, "name") if body else ("name",), body)
    fields = method.input_type.fields_by_name
    naming = next((field for field in ("name", "parent") if field in fields), "")
    verb = _lower(name.replace(plural, "") if plural in name else name.replace(singular, ""))
    http = "GET" if name.startswith("List") else "POST"
    return (http, collection, bool(naming), verb), Route(method, (naming,) if naming else ())


def _body(request: Descriptor, singular: str) -> str:
    """The field that has the resource itself."""
    return next(
        (field.name for field in request.fields if field.message_type and field.message_type.name == singular), ""
    )


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]
