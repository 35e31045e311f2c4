"""Errors as application/problem+json (RFC 9457), and the middleware that makes every error one."""

import asyncio
import time
from collections.abc import Callable

import msgspec
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from share import metrics

log = structlog.get_logger()
_TITLES = {
    400: "Bad request",
    401: "Who are you?",
    403: "Not allowed",
    404: "Not found",
    405: "Read-only",
    429: "Too many requests",
    502: "The store refused the question",
    503: "Busy",
    504: "Too slow",
}
# Of errors that NGSI-LD has names for.
_NGSI_LD = {
    400: "BadRequestData",
    404: "ResourceNotFound",
    405: "OperationNotSupported",
    500: "InternalError",
    502: "InternalError",
    503: "InternalError",
    504: "InternalError",
}


class Problem(Exception):
    """A request that gets an error. `parameter` is what the client must change, as $filter.

    `ngsi_ld`: NGSI-LD's name of the error, where it is not the usual one of the status.
    """

    def __init__(self, status: int, detail: str, parameter: str = "", ngsi_ld: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.parameter = parameter
        self.ngsi_ld = ngsi_ld

    def response(self, api: str) -> web.Response:
        name = (self.ngsi_ld or _NGSI_LD.get(self.status)) if api == "ngsi-ld" else None
        body = {
            "type": f"https://uri.etsi.org/ngsi-ld/errors/{name}" if name else "about:blank",
            "title": _TITLES.get(self.status, "Error"),
            "status": self.status,
            "detail": self.detail,
        }
        if self.parameter:
            body["parameter"] = self.parameter
        headers = {"Content-Type": "application/problem+json", "Cache-Control": "no-store"}
        if self.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="cityfleet", charset="UTF-8"'
        if self.status in (429, 503):
            headers["Retry-After"] = "5"
        return web.Response(body=msgspec.json.encode(body), status=self.status, headers=headers)


def problems(api_of: Callable[[str], str], deadline_s: float) -> Middleware:
    """The outermost middleware: errors, the deadline, and what is counted."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        begun = time.monotonic()
        api = api_of(request.path)
        response: web.StreamResponse
        try:
            async with asyncio.timeout(deadline_s):
                response = await handler(request)
        except Problem as exc:
            response = exc.response(api)
        except TimeoutError:
            response = Problem(504, f"there was no answer within {deadline_s:g} s: ask for less").response(api)
        except web.HTTPMethodNotAllowed as exc:
            response = Problem(405, f"{exc.method} is not offered: data is only read here").response(api)
            response.headers["Allow"] = "GET, HEAD"
        except web.HTTPException as exc:
            response = Problem(exc.status, exc.reason).response(api)
        except asyncio.CancelledError:
            raise
        except Exception as exc:
            log.error("request failed", path=request.path, error=repr(exc))
            response = Problem(500, "an error of ours; it is in the log").response(api)
        metrics.requests.labels(api, str(response.status)).inc()
        metrics.request_seconds.labels(api).observe(time.monotonic() - begun)
        return response

    return middleware
