"""How many active devices are at a site or behind a gateway, as far as the call may tell: those outside its scope hold
it fast like any other, but how many they are is not said."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection

from registry.access.caller import scope
from registry.db import devices as db
from registry.db import site_list
from registry.db import sites as db_sites
from registry.db.device_walk import active_behind_besides
from registry.devices.selection import within
from registry.filter.condition import All, Any, Condition, negate
from registry.filter.fields import DEVICES


def at_sites(connection: Connection, site_nums: Sequence[int]) -> dict[int, int]:
    """How many there are at each site that has some. At most some thousands of sites at once."""
    if scope().is_everything:
        return db_sites.active_devices(connection, site_nums)
    return site_list.active_devices(connection, site_nums, All(tuple(within(scope(), DEVICES))))


def behind(
    connection: Connection, gateway_nums: Iterable[int], besides: Condition | None = None, now_ms: int = 0
) -> dict[int, int]:
    """Every gateway that has some behind it, with how many of them are within the scope: perhaps none.

    Args:
        gateway_nums: at most some thousands.
        besides: devices that match are left out; `now_ms` is for what it says of times.
    """
    nums = list(gateway_nums)
    found = (
        db.active_behind(connection, nums)
        if besides is None
        else active_behind_besides(connection, nums, besides, now_ms)
    )
    if not found or scope().is_everything:
        return found
    outside = negate(All(tuple(within(scope(), DEVICES))))
    left_out = outside if besides is None else Any((besides, outside))
    told = active_behind_besides(connection, list(found), left_out, now_ms)
    return {num: told.get(num, 0) for num in found}


def active_devices(count: int) -> str:
    """In words, for whoever is in the way of something."""
    if scope().is_everything:
        return f"{count} active devices"
    return f"active devices ({count} that you have the role for)"
