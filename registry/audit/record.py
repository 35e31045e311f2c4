"""What a transaction changes, noted by the rules while they change it.

A rule calls `changed(...)` once for each resource. Who did it, from where and with which method the frame of the call
adds (api/call.py), and writes it in the same transaction. Outside a call, as in jobs at the start, notes go nowhere.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

import msgspec

from registry.access.within import check_change

# Without secrets. Of devices and sites it has `ward_code` and `labels`, by which the caller's scope is checked.
State: TypeAlias = msgspec.Struct | Mapping[str, Any] | None


class Change(msgspec.Struct, frozen=True):
    """`resource` is a resource name; None before: it was created; None after: it is gone."""

    resource: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


_changes: ContextVar[list[Change] | None] = ContextVar("changes", default=None)


def changed(resource: str, before: State, after: State) -> None:
    """Note that this transaction brings `resource` from one state to another; the same state twice is no change.

    For an import or a change by filter, note the request or chunk once, as `changed("devices", None, {"created": 40})`.

    Raises: PermissionDeniedError if it was, or would be, outside the scope of the call.
    """
    change = Change(resource, _plain(before), _plain(after))
    check_change(resource, change.before, change.after)
    noted = _changes.get()
    if noted is not None and change.before != change.after:
        noted.append(change)


@contextmanager
def noting() -> Iterator[list[Change]]:
    """Collect what is noted within."""
    noted: list[Change] = []
    before = _changes.set(noted)
    try:
        yield noted
    finally:
        _changes.reset(before)


def _plain(state: State) -> dict[str, Any] | None:
    if state is None:
        return None
    plain: dict[str, Any] = msgspec.to_builtins(state)
    return plain
