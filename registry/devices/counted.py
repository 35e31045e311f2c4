"""How many active devices are at a site or behind a gateway. Those outside the scope of a call hold it fast like any
other, but how many they are is not said."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection

from registry.access.caller import scope
from registry.db import devices as db
from registry.db import site_list
from registry.db import sites as db_sites
from registry.db.device_walk import active_behind_besides
from registry.devices.selection import within
from registry.filter.condition import All, Condition
from registry.filter.fields import DEVICES


def at_sites(connection: Connection, site_nums: Sequence[int]) -> dict[int, int]:
    """How many there are at each site that has some. At most some thousands of sites at once."""
    if scope().is_everything:
        return db_sites.active_devices(connection, site_nums)
    return site_list.active_devices(connection, site_nums, All(tuple(within(scope(), DEVICES))))


def behind(
    connection: Connection, gateway_nums: Iterable[int], besides: Condition | None = None, now_ms: int = 0
) -> dict[int, int]:
    """Every gateway that has some behind it, with how many, also outside the scope: `in_use` says what may be told.

    Args:
        gateway_nums: at most some thousands.
        besides: devices that match are left out; `now_ms` is for what it says of times.
    """
    nums = list(gateway_nums)
    if besides is None:
        return db.active_behind(connection, nums)
    return active_behind_besides(connection, nums, besides, now_ms)


def in_use(name: str, what: str, how: str, count: int, field: str) -> tuple[str, dict[str, str]]:
    """Why something cannot go, in words and as metadata.

    Within a scope it is the same answer whoever's devices they are: that they are, and no number of them.

    Args: what: what cannot be done, as in `cannot be deleted`. how: as in `are mounted there`. field: of the metadata.
    """
    if scope().is_everything:
        return f"{name} {what} while {count} active devices {how}", {field: str(count)}
    return f"{name} {what}: it is in use, by active devices of yours or of others", {}
