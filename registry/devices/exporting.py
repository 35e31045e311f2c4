"""The export: every device that matches, page by page in the order of their ids."""

from sqlalchemy import Connection

from registry.db import device_list
from registry.db.device_walk import next_by_id
from registry.devices.selection import selected
from registry.state.described import Described, describe_numbers


def count_for_export(connection: Connection, filter_text: str, now_ms: int, show_deleted: bool) -> int:
    """How many there are. Raises: InvalidError."""
    return device_list.count(connection, selected(connection, filter_text, now_ms, show_deleted=show_deleted), now_ms)


def export_page(
    connection: Connection,
    filter_text: str,
    after_id: str,
    limit: int,
    now_ms: int,
    show_deleted: bool,
    with_documents: bool,
) -> list[Described]:
    """Up to `limit` devices behind `after_id`. Raises: InvalidError."""
    condition = selected(connection, filter_text, now_ms, show_deleted=show_deleted)
    nums = next_by_id(connection, condition, after_id, limit, now_ms)
    return describe_numbers(connection, nums, now_ms, with_documents=with_documents)
