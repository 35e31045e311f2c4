"""Changes to every device that matches a filter, as operations: chunk by chunk, each device with its own verdict.

What is asked for is kept as plain data in the operation. Only devices that were there at the beginning are touched, and
`ago()` and health are judged by that time, however long it takes.
"""

import enum
from collections.abc import Sequence
from typing import TypeAlias

import msgspec
from sqlalchemy import Connection

from registry.audit.event import Origin
from registry.audit.record import changed
from registry.db import device_list, sequence
from registry.db import devices as db
from registry.db.device_walk import matching_among, next_numbers
from registry.devices.counted import behind
from registry.devices.fleet import Change, with_change
from registry.devices.many import Outcome, end_each, purge_each, undelete_each, update_each
from registry.devices.model import Device, DeviceSpec, State
from registry.devices.references import World, check_references, gather
from registry.devices.rules import check_device
from registry.devices.selection import selected
from registry.errors import InvalidError, PreconditionError, Violation
from registry.filter.condition import All, Condition, Relation, Test
from registry.filter.fields import DEVICES
from registry.operations import rules
from registry.operations.model import Operation, Step

CHUNK = 250
_DELETED = Test(DEVICES.fields["state"], "", Relation.EQUAL, "deleted")
# `position` of an operation: the turn, and the number of the last device that is settled in it.
_TURN = 1 << 33


class Action(enum.Enum):
    DECOMMISSION = "decommission"
    DELETE = "delete"
    UNDELETE = "undelete"
    PURGE = "purge"


# What is behind a gateway ends before it, and comes back after it.
_TURNS: dict[Action, tuple[bool | None, ...]] = {
    Action.DECOMMISSION: (False, True),
    Action.DELETE: (False, True),
    Action.UNDELETE: (True, False),
    Action.PURGE: (None,),
}


class Update(msgspec.Struct, frozen=True, tag=True):
    """The device id of the change is empty."""

    change: Change


class End(msgspec.Struct, frozen=True, tag=True):
    action: Action


What: TypeAlias = Update | End


class Asked(msgspec.Struct, frozen=True):
    """A request as it came; `message`: serialized.

    `expected_count`: how many must match; 0: any number.
    """

    origin: Origin
    message: bytes
    filter_text: str
    is_dry_run: bool
    expected_count: int = 0


class Order(msgspec.Struct, frozen=True):
    """What an operation is to do. `last_num`: the newest device at the beginning."""

    asked: Asked
    what: What
    last_num: int
    now_ms: int

    @property
    def turns(self) -> tuple[bool | None, ...]:
        """Whether gateways; None: all at once."""
        return _TURNS[self.what.action] if isinstance(self.what, End) else (None,)


_decoder = msgspec.msgpack.Decoder(Order)


def begin(connection: Connection, asked: Asked, what: What) -> Operation:
    """Begin the operation; a Runner works on it.

    Raises: InvalidError for what is wrong whatever device it meets, PreconditionError if not as many match as expected.
    """
    if not asked.filter_text.strip():
        raise InvalidError([Violation("filter", "FILTER_REQUIRED", "say which devices; `*` is all of them")])
    if isinstance(what, Update):
        _check(connection, what.change)
    now_ms, last_num = sequence.now_ms(), sequence.head_numbers(connection).device_num
    order = Order(asked, what, last_num, now_ms)
    matching = device_list.count(connection, _condition(connection, order), now_ms)
    if asked.expected_count and matching != asked.expected_count:
        raise PreconditionError(
            f"{matching} devices match, not {asked.expected_count}; look at them again, then repeat",
            reason="COUNT_DIFFERS",
            metadata={"matching": str(matching), "expected_count": str(asked.expected_count)},
        )
    request = msgspec.msgpack.encode(order)
    verb = what.action.value if isinstance(what, End) else "update"
    prefix = "dry-run" if asked.is_dry_run else "bulk"
    operation = rules.begin(connection, f"{prefix}-{verb}", asked.origin.method, asked.origin.actor, request, matching)
    if not asked.is_dry_run:
        changed(f"operations/{operation.operation_id}", None, {"filter": asked.filter_text, "matching": matching})
    return operation


def order_of(operation: Operation) -> Order:
    return _decoder.decode(operation.request)


def do_chunk(connection: Connection, operation: Operation, order: Order) -> Step:
    """Within the scope of whoever asked. Raises: InvalidError if the filter has lost what it names."""
    turn, after_num = divmod(operation.position, _TURN)
    turns = order.turns
    condition = _condition(connection, order)
    nums, settled = next_numbers(
        connection, condition, after_num, order.last_num, CHUNK, order.now_ms, are_gateways=turns[turn]
    )
    by_num = db.devices_by_num(connection, nums)
    outcome = _Chunk(connection, order, condition).settled([by_num[num] for num in nums])
    if (outcome.done or outcome.failures) and not order.asked.is_dry_run:
        _note(operation, order, outcome)
    progress = operation.progress.plus(
        succeeded=len(outcome.done), unchanged=outcome.unchanged, failures=outcome.failures
    )
    if settled < order.last_num:
        return Step(turn * _TURN + settled, progress, False)
    return Step((turn + 1) * _TURN, progress, turn + 1 == len(turns))


def _condition(connection: Connection, order: Order) -> Condition:
    is_of_deleted = isinstance(order.what, End) and order.what.action in (Action.UNDELETE, Action.PURGE)
    parts = [selected(connection, order.asked.filter_text, order.now_ms, show_deleted=is_of_deleted)]
    if is_of_deleted:
        parts.append(_DELETED)
    parts.append(Test(DEVICES.fields["device_num"], "", Relation.LESS_EQUAL, order.last_num))
    return All(tuple(parts))


class _Chunk:
    """Args: condition: which devices it is all about, those of other chunks too."""

    def __init__(self, connection: Connection, order: Order, condition: Condition) -> None:
        self._connection, self._order, self._condition = connection, order, condition

    def settled(self, found: Sequence[Device]) -> Outcome:
        """Change them; in a dry run see what a change would come to."""
        if not found:
            return Outcome([], 0, [])
        part = self._connection.begin_nested()
        outcome = self._changed(found)
        if self._order.asked.is_dry_run:
            part.rollback()
        else:
            part.commit()
        return outcome

    def _changed(self, found: Sequence[Device]) -> Outcome:
        what = self._order.what
        if isinstance(what, Update):
            return update_each(self._connection, found, what.change)
        match what.action:
            case Action.UNDELETE:
                return undelete_each(self._connection, found, self._world(found))
            case Action.PURGE:
                return purge_each(self._connection, found)
            case Action.DELETE:
                return end_each(self._connection, found, State.DELETED, self._behind(found))
            case Action.DECOMMISSION:
                return end_each(self._connection, found, State.DECOMMISSIONED, self._behind(found))

    def _behind(self, found: Sequence[Device]) -> dict[int, int]:
        """Which have active devices behind them; in a dry run those left out that would have ended before."""
        nums = [device.device_num for device in found]
        if not self._order.asked.is_dry_run:
            return behind(self._connection, nums)
        return behind(self._connection, nums, self._condition, self._order.now_ms)

    def _world(self, found: Sequence[Device]) -> World:
        """What they name; in a dry run with those gateways active that would have come back before."""
        world = gather(self._connection, (device.spec for device in found))
        gone = [gateway.device_num for gateway in world.gateways.values() if not gateway.is_active]
        if not self._order.asked.is_dry_run or not gone:
            return world
        coming = matching_among(self._connection, self._condition, gone, self._order.now_ms)
        gateways = {
            name: msgspec.structs.replace(gateway, is_active=gateway.is_active or gateway.device_num in coming)
            for name, gateway in world.gateways.items()
        }
        return msgspec.structs.replace(world, gateways=gateways)


def _note(operation: Operation, order: Order, outcome: Outcome) -> None:
    """For the audit, once a chunk: which devices, what became of them, and why not of the others."""
    told: dict[str, object] = {"devices": [device.spec.device_id for device in outcome.done]}
    if outcome.failures:
        told["failed"] = {failure.name: failure.reason for failure in outcome.failures}
    if isinstance(order.what, Update):
        change = order.what.change
        given = msgspec.structs.asdict(change.given)
        told |= {"set": {name: given[name] for name in sorted(change.fields)}}
        told |= {"labels": {key: change.given.labels.get(key) for key in sorted(change.label_keys)}}
    changed(f"operations/{operation.operation_id}", None, told)


def _check(connection: Connection, change: Change) -> None:
    """What is wrong with the change itself. Raises: InvalidError."""
    if not change.fields and not change.label_keys:
        raise InvalidError([Violation("update_mask", "NOTHING_TO_CHANGE", "name the fields to set, as labels.owner")])
    if "external_id" in change.fields and change.given.external_id:
        text = "no two devices have the same; by a filter it can only be cleared"
        raise InvalidError([Violation("external_id", "EXTERNAL_ID_OF_ONE", text)])
    spec = with_change(DeviceSpec("", ""), change)
    touched = set(change.fields)
    if not {"latitude", "longitude"} <= touched:
        touched -= {"latitude", "longitude"}  # the other may be the device's own
    found = [
        violation
        for violation in check_device(spec) + check_references(spec, gather(connection, [spec]))
        if violation.field.partition(".")[0] in touched or (change.label_keys and violation.field.startswith("labels"))
    ]
    if found:
        raise InvalidError(found)
