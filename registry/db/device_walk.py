"""Walking through all devices that match, a bounded piece at a time: for changes in the order of their numbers, for
exports of their ids."""

import time
from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from registry.db.conditions import by_code_point
from registry.db.device_list import View
from registry.db.schema import device_types, devices
from registry.devices.model import State
from registry.filter.condition import Condition, negate

# One question looks at so many numbers, however few devices match; questions go on until the time is up.
SPAN = 20_000
BUDGET_S = 0.05


def next_numbers(
    connection: Connection,
    condition: Condition,
    after_num: int,
    last_num: int,
    limit: int,
    now_ms: int,
    *,
    are_gateways: bool | None = None,
) -> tuple[list[int], int]:
    """The next devices that match with numbers above `after_num`, up to `limit` and `last_num`.

    Args: are_gateways: only gateways, or only others; None: both.
    Returns: their numbers in order, and the number up to which there are no others: `last_num` at the end.
    """
    query = View(connection, now_ms).select([devices.c.device_num], condition)
    if are_gateways is not None:
        kinds = select(device_types.c.type_num).where(device_types.c.is_gateway.is_(are_gateways))
        query = query.where(devices.c.type_num.in_(kinds))
    query = query.order_by(devices.c.device_num)
    found: list[int] = []
    end = time.monotonic() + BUDGET_S
    while after_num < last_num:
        up_to = min(after_num + SPAN, last_num)
        piece = query.where(devices.c.device_num > after_num, devices.c.device_num <= up_to).limit(limit - len(found))
        found += connection.execute(piece).scalars()
        if len(found) >= limit:
            return found, found[-1]
        after_num = up_to
        if time.monotonic() >= end:
            break
    return found, after_num


def next_by_id(connection: Connection, condition: Condition, after_id: str, limit: int, now_ms: int) -> list[int]:
    """The numbers of up to `limit` devices that match with ids behind `after_id`, in the order of their ids."""
    device_id = by_code_point(devices.c.device_id, connection.dialect.name)
    query = View(connection, now_ms).select([devices.c.device_num], condition)
    rows = connection.execute(query.where(device_id > after_id).order_by(device_id).limit(limit))
    return list(rows.scalars())


def matching_among(connection: Connection, condition: Condition, device_nums: Sequence[int], now_ms: int) -> set[int]:
    """Those of the given devices that match. At most some thousands."""
    query = View(connection, now_ms).select([devices.c.device_num], condition)
    return set(connection.execute(query.where(devices.c.device_num.in_(device_nums))).scalars())


def active_behind_besides(
    connection: Connection, gateway_nums: Sequence[int], condition: Condition, now_ms: int
) -> dict[int, int]:
    """As registry.db.devices.active_behind, without the devices that match."""
    query = View(connection, now_ms).select([devices.c.gateway_num, func.count()], negate(condition))
    query = query.where(devices.c.gateway_num.in_(gateway_nums), devices.c.state == State.ACTIVE)
    return {row[0]: row[1] for row in connection.execute(query.group_by(devices.c.gateway_num))}
