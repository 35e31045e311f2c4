"""From the token that a call brings to the caller."""

import hmac
import time
from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection

from registry.access.caller import INTERNAL, Caller
from registry.db import accounts as db
from registry.db import sequence
from registry.db.engine import Database
from registry.devices.tokens import digest
from registry.errors import UnauthenticatedError

_BEARER = "Bearer "
_MAX_LENGTH = 512  # of a token
_MINUTE_MS = 60_000
# A change of an account or the end of a token is a revision, and known at once; through another registry, as soon as
# the bell rings for that. This is for when it cannot.
_KNOWN_S = 1.0
_MAX_KNOWN = 10_000


class _Known(msgspec.Struct, frozen=True):
    """Who came with a token, as of a revision. `until_s`: monotonic; `expire_time_ms`: of the token."""

    caller: Caller
    expire_time_ms: int
    revision: int
    until_s: float


class Authenticator:
    """Args: internal_token: the secret of this deployment's own services."""

    def __init__(self, database: Database, internal_token: str) -> None:
        self._database = database
        self._internal = digest(internal_token)
        # Minutes in which tokens were used, UTC milliseconds by token_id: what was not written yet, and what was last.
        self._used: dict[str, int] = {}
        self._written: dict[str, int] = {}
        # By digest. To ask the database costs as much as most calls.
        self._known: dict[bytes, _Known] = {}

    async def caller(self, metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
        """Who has sent this metadata. Raises: UnauthenticatedError."""
        given = [value for key, value in metadata if key == "authorization"]
        if not given:
            text = "who is calling? send `authorization: Bearer <token>`; the token of a data folder is in its "
            raise UnauthenticatedError(text + "secrets/registry-admin")
        text = given[0].decode("latin-1") if isinstance(given[0], bytes) else given[0]
        token = text.removeprefix(_BEARER).strip()
        if len(given) > 1 or not text.startswith(_BEARER) or not token or len(token) > _MAX_LENGTH:
            raise UnauthenticatedError("authorization is `Bearer <token>`, once")
        token_sha256 = digest(token)
        if hmac.compare_digest(token_sha256, self._internal):
            return INTERNAL
        now_ms = sequence.now_ms()
        found = self._known.get(token_sha256)
        if found is None or not self._is_fresh(found, now_ms):
            found = await self._ask(token_sha256, now_ms)
        self._used[found.caller.token_id] = now_ms // _MINUTE_MS * _MINUTE_MS
        return found.caller

    def _is_fresh(self, known: _Known, now_ms: int) -> bool:
        is_of_now = known.revision == self._database.bell.revision and time.monotonic() < known.until_s
        return is_of_now and now_ms < known.expire_time_ms

    async def _ask(self, token_sha256: bytes, now_ms: int) -> _Known:
        # Before the question: what is committed after it makes the answer an old one.
        revision, until_s = self._database.bell.revision, time.monotonic() + _KNOWN_S
        found = await self._database.ask(_find, token_sha256, now_ms)
        if found is None:
            self._known.pop(token_sha256, None)
            # One answer for all: whether it was ever a token is nobody's business.
            text = "the token is not valid: unknown, expired or revoked, or its account is disabled"
            raise UnauthenticatedError(text)
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        known = self._known[token_sha256] = _Known(*found, revision, until_s)
        return known

    async def write_uses(self) -> None:
        """Write down which tokens were used since the last time. Raises: SQLAlchemyError; nothing is lost then."""
        used, self._used = self._used, {}
        new = {token_id: time_ms for token_id, time_ms in used.items() if self._written.get(token_id) != time_ms}
        if not new:
            return
        try:
            await self._database.write(db.note_use, new)
        except BaseException:
            self._used = {**used, **self._used}
            raise
        self._written = used


def _find(connection: Connection, token_sha256: bytes, now_ms: int) -> tuple[Caller, int] | None:
    """The caller, and when the token expires."""
    owner = db.owner_of_token(connection, token_sha256, now_ms)
    if owner is None:
        return None
    return Caller(f"accounts/{owner.account_id}", owner.grants, owner.token_id), owner.expire_time_ms
