"""ClickHouse's errors: code and name out of the engine's text, and the HTTP status a ClickHouse server would give."""

import re

_CODE = re.compile(r"Code: (\d+)")
_VERSION = re.compile(r"\(version [^)]*\)")

# src/Server/HTTP/exceptionCodeToHTTPStatus.cpp; 201 and 202 are ours: one may ask again later.
_STATUS = {
    **dict.fromkeys((194,), 401),
    **dict.fromkeys((192, 193, 516, 497), 403),
    **dict.fromkeys((6, 26, 27, 33, 36, 38, 41, 53, 62, 69, 72, 117, 131, 386, 427, 456, 457, 675), 400),
    **dict.fromkeys((46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 511), 404),
    **dict.fromkeys((159,), 408),
    **dict.fromkeys((216,), 409),
    **dict.fromkeys((307,), 413),
    **dict.fromkeys((201,), 429),
    **dict.fromkeys((48,), 501),
    **dict.fromkeys((202, 209, 439), 503),
}

ACCESS_DENIED = 497
READONLY = 164
QUERY_WAS_CANCELLED = 394


class StoreError(Exception):
    """A query failed. `code` and the text are ClickHouse's own; the caller answers with `status`."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def status(self) -> int:
        return _STATUS.get(self.code, 500)


class EngineClosedError(StoreError):
    """The store is shutting down: ask again when it is back."""

    def __init__(self) -> None:
        super().__init__(202, text(202, "The store is shutting down", "TOO_MANY_SIMULTANEOUS_QUERIES"))


def text(code: int, reason: str, name: str) -> str:
    """An error of ours in ClickHouse's form."""
    return f"Code: {code}. DB::Exception: {reason}. ({name})"


def refused(code: int, reason: str, name: str) -> StoreError:
    return StoreError(code, text(code, reason, name))


def from_engine(exc: Exception) -> StoreError:
    """The engine's exception as ours; its text is kept. One whose text quotes data that is not UTF-8 comes as the error
    of decoding it."""
    raw = exc.object if isinstance(exc, UnicodeDecodeError) else None
    message = (str(exc) if raw is None else bytes(raw).decode(errors="replace")).strip()
    found = _CODE.search(message)
    return StoreError(int(found.group(1)) if found else 1002, message)


def with_version(message: str, version: str) -> str:
    """Servers end their error text with the version; clients look for it."""
    return message if _VERSION.search(message) else f"{message} (version {version})"
