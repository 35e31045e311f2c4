"""Lists and counts of devices."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from registry.db import device_count, device_pages
from registry.devices.selection import selected
from registry.filter.order import OrderKey
from registry.state.described import Described, describe_numbers


class DevicePage(msgspec.Struct, frozen=True):
    """`last_key`: where the next page begins, also if this one is short or empty; None: this was the last."""

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
    page = device_pages.find_page(connection, condition, order, after, limit, now_ms)
    nums = [row.device_num for row in page.found]
    return DevicePage(describe_numbers(connection, nums, now_ms, with_documents=with_documents), page.end)


def count_devices(
    connection: Connection, filter_text: str, group_by: Sequence[OrderKey], max_groups: int, now_ms: int
) -> Counts:
    """Raises: InvalidError."""
    condition = selected(connection, filter_text, now_ms)
    return Counts(*device_count.count_groups(connection, condition, group_by, max_groups, now_ms))
