"""Groups: create, update, delete, put devices in and take them out. Each function runs in one write transaction."""

from collections.abc import Sequence

from sqlalchemy import Connection

from registry.audit.record import changed
from registry.db import groups as db
from registry.db import sequence
from registry.devices.catalogue import check_etag
from registry.devices.rules import DEVICE_ID, MAX_DESCRIPTION, MAX_TEXT, check_text
from registry.errors import AlreadyExistsError, InvalidError, NotFoundError, Violation
from registry.groups import queries
from registry.groups.model import Group

UPDATABLE = ("display_name", "description")
MAX_MEMBERS_AT_ONCE = 5000


def create_group(connection: Connection, group_id: str, display_name: str, description: str) -> Group:
    """Raises: InvalidError, AlreadyExistsError."""
    found = _check(display_name, description)
    if not DEVICE_ID.fullmatch(group_id):
        text = f"`{group_id[:80]}` is not a group: lowercase letters, digits and `-`, 1 to 63 characters"
        found.append(Violation("group_id", "GROUP_ID_INVALID", text))
    if found:
        raise InvalidError(found)
    if db.find_group(connection, group_id):
        text = f"the group {group_id} exists; choose another name, or update it"
        raise AlreadyExistsError(text, metadata={"group": group_id})
    db.insert_group(connection, group_id, display_name, description, sequence.now_ms())
    group = get_group(connection, group_id)
    changed(f"groups/{group_id}", None, group)
    return group


def get_group(connection: Connection, group_id: str) -> Group:
    """Raises: NotFoundError."""
    group = db.find_group(connection, group_id)
    if group is None:
        text = f"there is no group {group_id}; `cityfleet group list` shows those there are"
        raise NotFoundError(text, reason="GROUP_NOT_FOUND", metadata={"group": group_id})
    return group


def update_group(
    connection: Connection, group_id: str, display_name: str | None, description: str | None, given_etag: str
) -> Group:
    """None: leave it. Raises: InvalidError, NotFoundError, EtagMismatchError."""
    before = get_group(connection, group_id)
    check_etag(f"groups/{group_id}", given_etag, before.revision)
    name = before.display_name if display_name is None else display_name
    text = before.description if description is None else description
    if found := _check(name, text):
        raise InvalidError(found)
    if (name, text) == (before.display_name, before.description):
        return before
    db.update_group(connection, before.group_num, name, text, sequence.now_ms())
    after = get_group(connection, group_id)
    changed(f"groups/{group_id}", before, after)
    return after


def delete_group(connection: Connection, group_id: str, given_etag: str) -> None:
    """Raises: NotFoundError, EtagMismatchError, PreconditionError while a saved query names it."""
    group = get_group(connection, group_id)
    check_etag(f"groups/{group_id}", given_etag, group.revision)
    queries.check_unused(connection, "in_group", group_id)
    db.delete_group(connection, group.group_num)
    changed(f"groups/{group_id}", group, None)


def modify_members(
    connection: Connection, group_id: str, added: Sequence[str], removed: Sequence[str], given_etag: str = ""
) -> Group:
    """Put devices in and take others out, all or none; who is in already stays in, who is not stays out.

    Raises: InvalidError, NotFoundError, EtagMismatchError.
    """
    if len(added) + len(removed) > MAX_MEMBERS_AT_ONCE:
        text = f"at most {MAX_MEMBERS_AT_ONCE} devices at once, not {len(added) + len(removed)}"
        raise InvalidError([Violation("add_devices", "TOO_MANY_DEVICES", text)])
    if both := set(added) & set(removed):
        text = f"{min(both)} cannot be put in and taken out at once"
        raise InvalidError([Violation("remove_devices", "DEVICE_NAMED_TWICE", text)])
    group = get_group(connection, group_id)
    check_etag(f"groups/{group_id}", given_etag, group.revision)
    nums = db.device_nums(connection, {*added, *removed})
    for device_id in (*added, *removed):
        if device_id not in nums:
            text = f"there is no device {device_id}; nobody was put in or taken out"
            raise NotFoundError(text, reason="DEVICE_NOT_FOUND", metadata={"device": device_id})
    there = db.members_among(connection, group.group_num, list(nums.values()))
    new = sorted(device_id for device_id in set(added) if nums[device_id] not in there)
    gone = sorted(device_id for device_id in set(removed) if nums[device_id] in there)
    if not new and not gone:
        return group
    db.change_members(
        connection, group.group_num, [nums[each] for each in new], [nums[each] for each in gone], sequence.now_ms()
    )
    changed(f"groups/{group_id}", {"removed": gone}, {"added": new})
    return get_group(connection, group_id)


def _check(display_name: str, description: str) -> list[Violation]:
    return check_text("display_name", display_name, MAX_TEXT) + check_text("description", description, MAX_DESCRIPTION)
