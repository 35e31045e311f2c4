"""REST and JSON in, gRPC out: each request is a call to this registry's own gRPC port, so it holds the same rules."""

import asyncio
from typing import Any

import grpc
from aiohttp import web
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2

from registry.api.peer import Forwarding
from registry.api.status import DETAILS_KEY, DOMAIN
from registry.http.routes import Key, Route

CALL_S = 30.0
# As much as a call may have: a batch of thousands goes in one.
MAX_BODY_BYTES = 16 << 20
# google.rpc.Code says which.
_HTTP = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


class _Refused(Exception):
    """The request stands for no call: `reason` is UPPER_SNAKE_CASE; `http` 0: as the code says."""

    def __init__(
        self, reason: str, message: str, code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT, http: int = 0
    ) -> None:
        super().__init__(message)
        self.reason, self.code, self.http = reason, code, http


class Gateway:
    """`web.Application` routes by `routes()`; `aclose()` at the end."""

    def __init__(self, address: str, routes: dict[Key, Route], forwarding: Forwarding) -> None:
        """Args: address: of the registry's gRPC port, HOST:PORT. forwarding: says whom a call is for."""
        host, _, port = address.rpartition(":")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 (not bound to)
        self._channel = grpc.aio.insecure_channel(f"{host}:{port}", [("grpc.max_receive_message_length", 64 << 20)])
        self._routes = routes
        self._forwarding = forwarding

    def routes(self) -> list[web.RouteDef]:
        return [web.route("*", "/v1/{path:.+}", self._answer)]

    async def aclose(self) -> None:
        await self._channel.close()

    async def _answer(self, request: web.Request) -> web.Response:
        try:
            route, name = self._route(request.method, request.match_info["path"])
            message = await _message(request, route, name)
            call = self._channel.unary_unary(
                route.path,
                request_serializer=lambda given: given.SerializeToString(),
                response_deserializer=GetMessageClass(route.method.output_type).FromString,
            )
            given = request.headers.get("Authorization")
            metadata = [self._forwarding.entry(_peer(request)), *([("authorization", given)] if given else [])]
            answer = await call(message, timeout=CALL_S, metadata=metadata)
        except _Refused as exc:
            info = error_details_pb2.ErrorInfo(domain=DOMAIN, reason=exc.reason)
            status = status_pb2.Status(code=exc.code.value[0], message=str(exc))
            status.details.add().Pack(info)
            return _error(exc.code, status, exc.http)
        except grpc.aio.AioRpcError as exc:
            return _error(exc.code(), _status(exc))
        return web.json_response(text=await asyncio.to_thread(_json, answer))

    def _route(self, method: str, path: str) -> tuple[Route, str]:
        """The route, and the name of the resource; empty: none is named."""
        path, _, verb = path.partition(":")
        collection, slash, resource_id = path.partition("/")
        # Only verbs are for what lies deeper, as tokens of an account.
        if bool(resource_id) == bool(slash) and (verb or "/" not in resource_id):
            place = (collection, bool(slash), verb)
            if route := self._routes.get((method, *place)):
                return route, path if slash else ""
            if others := sorted(key[0] for key in self._routes if key[1:] == place):
                text = f"only {', '.join(others)} here"
                raise _Refused("METHOD_NOT_ALLOWED", text, grpc.StatusCode.UNIMPLEMENTED, 405)
        text = "nothing is here; paths are as the methods of the API, as in /v1/devices/wl-1:undelete"
        raise _Refused("NO_SUCH_PATH", text, grpc.StatusCode.NOT_FOUND)


def _peer(request: web.Request) -> str:
    """The client's address, as HOST:PORT."""
    found = request.transport.get_extra_info("peername") if request.transport is not None else None
    host, port = found[:2] if isinstance(found, tuple) else (request.remote or "unknown", 0)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _message(request: web.Request, route: Route, name: str) -> Message:
    """The gRPC request. Raises: _Refused."""
    message: Message = GetMessageClass(route.method.input_type)()
    # Not from a form of somebody else's page: a browser asks first before it sends JSON elsewhere.
    if request.method == "POST" and request.content_type != "application/json":
        text = "send the body as `Content-Type: application/json`, {} if there is nothing to say"
        raise _Refused("CONTENT_TYPE_NOT_JSON", text)
    try:
        body = await request.clone(client_max_size=MAX_BODY_BYTES).read()
    except web.HTTPRequestEntityTooLarge as exc:
        text = f"the body may have {MAX_BODY_BYTES} bytes; send less at once, or stream it over gRPC"
        raise _Refused("BODY_TOO_LARGE", text, grpc.StatusCode.RESOURCE_EXHAUSTED, 413) from exc
    if body and request.method in ("GET", "DELETE"):
        raise _Refused("BODY_NOT_ALLOWED", f"{request.method} takes no body")
    try:
        if body:
            json_format.Parse(body, getattr(message, route.body_field) if route.body_field else message)
    except (json_format.ParseError, UnicodeDecodeError, RecursionError) as exc:
        raise _Refused("BODY_INVALID", f"body: {exc}") from exc
    _take_query(request, message)
    if route.name_field:
        *path, last = route.name_field
        holder: Any = message
        for field in path:
            holder = getattr(holder, field)
        if getattr(holder, last) not in ("", name):
            text = f"the body names {getattr(holder, last)}, the path {name}; leave the name out of the body"
            raise _Refused("NAME_DIFFERS", text)
        setattr(holder, last, name)
    return message


def _take_query(request: web.Request, message: Message) -> None:
    """Take fields of the request from the query string. Raises: _Refused."""
    fields = message.DESCRIPTOR.fields
    known = {field.name: field for field in fields} | {field.json_name: field for field in fields}
    for key in dict.fromkeys(request.query):
        field = known.get(key)
        if field is None or (field.message_type is not None and field.message_type.name != "FieldMask"):
            text = f"`{key}` is not a parameter; one of {', '.join(sorted(each.name for each in fields))}"
            raise _Refused("PARAMETER_UNKNOWN", text)
        values = request.query.getall(key)
        if field.message_type is not None:
            getattr(message, field.name).paths.extend(path for text in values for path in text.split(",") if path)
            continue
        plain = [_BOOLEANS.get(text, text) if field.type == FieldDescriptor.TYPE_BOOL else text for text in values]
        try:
            json_format.ParseDict({field.name: plain if field.is_repeated else plain[-1]}, message)
        except json_format.ParseError as exc:
            raise _Refused("PARAMETER_INVALID", f"{key}: {exc}") from exc


_BOOLEANS: dict[str, Any] = {"true": True, "false": False, "1": True, "0": False, "": True}


def _status(exc: grpc.aio.AioRpcError) -> status_pb2.Status:
    for key, value in exc.trailing_metadata() or ():
        if key == DETAILS_KEY:
            return status_pb2.Status.FromString(value)
    return status_pb2.Status(code=exc.code().value[0], message=exc.details() or "")


def _error(code: grpc.StatusCode, status: status_pb2.Status, http: int = 0) -> web.Response:
    """As Google's APIs have it (AIP-193): `{"error": {"code", "message", "status", "details"}}`."""
    http = http or _HTTP.get(code, 500)
    plain = json_format.MessageToDict(status, preserving_proto_field_name=True)
    error = {"code": http, "message": status.message, "status": code.name, "details": plain.get("details", [])}
    headers = {"WWW-Authenticate": "Bearer"} if http == 401 else {}
    return web.json_response({"error": error}, status=http, headers=headers)


def _json(message: Message) -> str:
    # Fields have one name everywhere: here, in filters, in masks, in the CLI.
    return json_format.MessageToJson(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, ensure_ascii=False
    )
