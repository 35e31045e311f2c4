"""Lists of sites: any filter, any order, page by page. There are thousands, so an order needs no index."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, select

from registry.db.conditions import Binding, Caller, Labels, Point, Text, Word, by_code_point, clause_of
from registry.db.device_list import View
from registry.db.keyset import SortKey, behind
from registry.db.near import near
from registry.db.schema import devices, site_labels, sites
from registry.db.sites import site_of
from registry.devices.model import State
from registry.filter.condition import Condition
from registry.filter.fields import SITE_KINDS
from registry.filter.order import OrderKey
from registry.sites.model import Site

_COLUMNS: dict[str, ColumnElement[Any]] = {
    "site_id": sites.c.site_id,
    "display_name": sites.c.display_name,
    "ward_code": sites.c.ward_code,
    "kind": case({kind: at for at, kind in enumerate(SITE_KINDS)}, value=sites.c.kind, else_=len(SITE_KINDS)),
    "create_time": sites.c.create_time_ms,
    "update_time": sites.c.update_time_ms,
}
_BINDINGS: Mapping[str, Binding] = {
    "site_id": Text(sites.c.site_id),
    "display_name": Text(sites.c.display_name),
    "kind": Word(sites.c.kind, {kind: kind for kind in SITE_KINDS}),
    "ward_code": Text(sites.c.ward_code),
    "labels": Labels(site_labels, "site_num", sites.c.site_num),
    "create_time": Point(sites.c.create_time_ms),
    "update_time": Point(sites.c.update_time_ms),
}
_CALLERS: dict[str, Caller] = {"near": near(sites)}


def find_page(
    connection: Connection,
    condition: Condition,
    order: Sequence[OrderKey],
    after: tuple[int | str, ...] | None,
    limit: int,
    *,
    show_deleted: bool,
) -> list[tuple[Site, tuple[int | str, ...]]]:
    """Up to `limit` sites that match, each with its key in the order.

    Args:
        order: sites with equal keys come in the order of their creation.
        after: key of the site after which to begin; None: from the beginning.
    """
    dialect = connection.dialect.name
    keys = [SortKey(_sort_column(key, dialect), key.descending) for key in order] + [SortKey(sites.c.site_num)]
    labelled = [key.column.label(f"key_{at}") for at, key in enumerate(keys)]
    query = select(sites, *labelled).where(clause_of(condition, _BINDINGS, _CALLERS, dialect))
    if not show_deleted:
        query = query.where(sites.c.delete_time_ms.is_(None))
    if after is not None:
        query = query.where(behind(keys, after))
    rows = connection.execute(query.order_by(*(key.ordered() for key in keys)).limit(limit))
    return [(site_of(row), tuple(row[-len(keys) :])) for row in rows]


def active_devices(connection: Connection, site_nums: Sequence[int], condition: Condition) -> dict[int, int]:
    """How many active devices that match are mounted at each site that has some; the condition is not about times."""
    query = View(connection, 0).select([devices.c.site_num, func.count()], condition)
    query = query.where(devices.c.site_num.in_(site_nums), devices.c.state == State.ACTIVE)
    return {row[0]: row[1] for row in connection.execute(query.group_by(devices.c.site_num))}


def _sort_column(key: OrderKey, dialect: str) -> ColumnElement[Any]:
    """Never NULL: what is absent is the smallest."""
    if key.field.name == "labels":
        label = site_labels.alias()
        found = select(label.c.value).where(label.c.site_num == sites.c.site_num, label.c.key == key.key)
        return by_code_point(func.coalesce(found.scalar_subquery(), ""), dialect)
    column = _COLUMNS[key.field.name]
    return by_code_point(column, dialect) if key.kind is str else column
