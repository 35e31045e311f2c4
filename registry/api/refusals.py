"""Calls that are refused, for the audit log: changes that were not made, and whatever the caller may not do."""

import time
from collections.abc import Iterator
from typing import Any

import msgspec
import structlog
from google.protobuf.message import Message
from sqlalchemy.exc import SQLAlchemyError

from registry.api.status import code_of
from registry.audit.event import Origin
from registry.audit.log import append_refusal
from registry.db.engine import Database
from registry.errors import PermissionDeniedError, RegistryError, ResumeTokenError, StoppingError

# Of one caller; more are counted. Nobody can fill the disk with what he may not do.
LOGGED_AT_ONCE = 60
PERIOD_S = 60.0
_READING = ("Get", "BatchGet", "List", "Aggregate", "Export", "Watch", "Locate", "Wait", "WhoAmI", "Verify")
# What a request to create something calls its id.
_COLLECTIONS = {
    "device_id": "devices",
    "site_id": "sites",
    "group_id": "groups",
    "saved_query_id": "savedQueries",
    "metric_id": "metrics",
    "operator_id": "operators",
    "account_id": "accounts",
}
log = structlog.get_logger()


class _Spell(msgspec.Struct):
    """Refusals of one caller since `start_s`."""

    start_s: float
    logged: int = 0
    unrecorded: int = 0


class Refusals:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._spells: dict[str, _Spell] = {}

    async def note(self, origin: Origin, request: Message | None, exc: Exception) -> None:
        """Log that a call ended so, if it is worth it. Raises nothing: the call has its answer already.

        Args: request: None: a stream of them.
        """
        if not isinstance(exc, RegistryError) or isinstance(exc, StoppingError | ResumeTokenError):
            return  # nobody has decided it
        is_denied = isinstance(exc, PermissionDeniedError)
        if not is_denied and (not is_change(origin.method) or getattr(request, "validate_only", False)):
            return
        spell = self._spell(origin.actor)
        if spell.logged >= LOGGED_AT_ONCE:
            spell.unrecorded += 1
            return
        spell.logged += 1
        unrecorded, spell.unrecorded = spell.unrecorded, 0
        result = f"{code_of(exc).name} {exc.reason}"
        try:
            await self._database.write(append_refusal, origin, named_in(request), result, unrecorded)
        except SQLAlchemyError as error:
            log.warning("refusal_not_recorded", actor=origin.actor, method=origin.method, error=str(error))

    def _spell(self, actor: str) -> _Spell:
        now_s = time.monotonic()
        spell = self._spells.get(actor)
        if spell is None or now_s - spell.start_s >= PERIOD_S:
            unrecorded = spell.unrecorded if spell is not None else 0
            spell = self._spells[actor] = _Spell(now_s, unrecorded=unrecorded)
        return spell


def is_change(method: str) -> bool:
    """Whether a method, by its full name, is there to change something."""
    return not method.rpartition("/")[2].startswith(_READING)


def named_in(request: Any | None) -> str:
    """The resource that a request is about, as it says itself; empty: none, or several."""
    return next(filter(None, _names(request)), "") if request is not None else ""


def _names(request: Any) -> Iterator[str]:
    fields = request.DESCRIPTOR.fields_by_name
    yield from (getattr(request, name) for name in ("name", "parent") if name in fields)
    for name, collection in _COLLECTIONS.items():
        if name in fields and getattr(request, name):
            yield f"{collection}/{getattr(request, name)}"
    for field, value in request.ListFields():
        if field.message_type is not None and not field.is_repeated and "name" in field.message_type.fields_by_name:
            yield value.name or ""
