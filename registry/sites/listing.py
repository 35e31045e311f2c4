"""Lists of sites."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from registry.access.caller import scope
from registry.db import site_list
from registry.devices.counted import at_sites
from registry.devices.selection import within
from registry.filter.check import condition_of
from registry.filter.condition import All
from registry.filter.fields import SITES
from registry.filter.order import OrderKey
from registry.sites.model import Site


class SitePage(msgspec.Struct, frozen=True):
    """Sites, each with how many active devices of the scope are there.

    `last_key`: where the next page begins; None: this is the last.
    """

    sites: list[tuple[Site, int]]
    last_key: tuple[int | str, ...] | None


def list_sites(
    connection: Connection,
    filter_text: str,
    order: Sequence[OrderKey],
    after: tuple[int | str, ...] | None,
    limit: int,
    now_ms: int,
    show_deleted: bool,
) -> SitePage:
    """Those within the scope of the call. Raises: InvalidError."""
    condition = All((condition_of(filter_text, SITES, now_ms), *within(scope(), SITES)))
    found = site_list.find_page(connection, condition, order, after, limit + 1, show_deleted=show_deleted)
    last_key = found[limit - 1][1] if len(found) > limit else None
    page = [site for site, _ in found[:limit]]
    devices = at_sites(connection, [site.site_num for site in page])
    return SitePage([(site, devices.get(site.site_num, 0)) for site in page], last_key)
