"""Lists and counts of devices."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from registry.db import device_count, device_list
from registry.db import devices as db
from registry.devices.selection import selected
from registry.filter.order import OrderKey
from registry.state.described import Described, describe


class DevicePage(msgspec.Struct, frozen=True):
    """`last_key`: where the next page begins; None: this was the last."""

    devices: list[Described]
    last_key: tuple[int | str, ...] | None


class Counts(msgspec.Struct, frozen=True):
    """The largest groups first, each as (its values, how many); the totals are of all groups there are."""

    groups: list[tuple[tuple[str, ...], int]]
    total_devices: int
    total_groups: int


def list_devices(
    connection: Connection,
    filter_text: str,
    order: Sequence[OrderKey],
    after: tuple[int | str, ...] | None,
    limit: int,
    now_ms: int,
    show_deleted: bool,
    *,
    with_documents: bool = False,
) -> DevicePage:
    """Raises: InvalidError."""
    condition = selected(connection, filter_text, now_ms, show_deleted=show_deleted)
    found = device_list.find_page(connection, condition, order, after, limit + 1, now_ms)
    last_key = found[limit - 1].key if len(found) > limit else None
    nums = [row.device_num for row in found[:limit]]
    by_num = db.devices_by_num(connection, nums)
    in_order = [by_num[num] for num in nums]
    return DevicePage(describe(connection, in_order, now_ms, with_documents=with_documents), last_key)


def count_devices(
    connection: Connection, filter_text: str, group_by: Sequence[OrderKey], max_groups: int, now_ms: int
) -> Counts:
    """Raises: InvalidError."""
    condition = selected(connection, filter_text, now_ms)
    return Counts(*device_count.count_groups(connection, condition, group_by, max_groups, now_ms))
