"""Sites and their labels in SQL."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from registry.db import sequence
from registry.db.bulk import among, placed
from registry.db.schema import devices, site_labels, sites
from registry.devices.model import State
from registry.sites.model import Site, SiteSpec

_labels_decoder = msgspec.json.Decoder(dict[str, str])


def insert_sites(connection: Connection, new: Sequence[tuple[SiteSpec, str, bool]], now_ms: int) -> None:
    """Args: new: each with the ward in force, and whether that was found by the place."""
    if not new:
        return
    taken = sequence.take(connection, revisions=len(new), sites=len(new))
    first_num, first_revision = taken.site_num - len(new) + 1, taken.revision - len(new) + 1
    rows = [
        {
            "site_num": first_num + at,
            "site_id": spec.site_id,
            "revision": first_revision + at,
            "create_time_ms": now_ms,
            "update_time_ms": now_ms,
            **_columns(spec, ward_code, is_ward_derived),
        }
        for at, (spec, ward_code, is_ward_derived) in enumerate(new)
    ]
    connection.execute(insert(sites), rows)
    labels = [
        {"site_num": first_num + at, "key": key, "value": value}
        for at, (spec, _, _) in enumerate(new)
        for key, value in spec.labels.items()
    ]
    if labels:
        connection.execute(insert(site_labels), labels)


def update_site(
    connection: Connection, site_num: int, spec: SiteSpec, ward_code: str, is_ward_derived: bool, now_ms: int
) -> None:
    _change(connection, site_num, now_ms, **_columns(spec, ward_code, is_ward_derived))
    connection.execute(delete(site_labels).where(site_labels.c.site_num == site_num))
    _insert_labels(connection, site_num, spec.labels)


def set_deleted(
    connection: Connection,
    site_nums: Sequence[int],
    delete_time_ms: int | None,
    purge_time_ms: int | None,
    now_ms: int,
) -> None:
    """Delete sites softly, or with None undelete them. At most some thousands."""
    if not site_nums:
        return
    first = sequence.take(connection, revisions=len(site_nums)).revision - len(site_nums) + 1
    site_num, place = placed(connection, site_nums)
    times = {"delete_time_ms": delete_time_ms, "purge_time_ms": purge_time_ms, "update_time_ms": now_ms}
    connection.execute(update(sites).where(sites.c.site_num == site_num).values(revision=place + first, **times))


def set_wards(connection: Connection, wards: Sequence[tuple[int, str]], now_ms: int) -> None:
    """Args: wards: (site_num, ward_code) of sites whose ward has changed."""
    if not wards:
        return
    first = sequence.take(connection, revisions=len(wards)).revision - len(wards) + 1
    connection.execute(
        update(sites)
        .where(sites.c.site_num == bindparam("num"))
        .values(ward_code=bindparam("ward"), revision=bindparam("number"), update_time_ms=now_ms),
        [{"num": num, "ward": ward, "number": first + at} for at, (num, ward) in enumerate(wards)],
    )


def due_for_purge(connection: Connection, now_ms: int, limit: int) -> dict[int, str]:
    """Deleted sites whose time is over, at most `limit`: their ids by number."""
    due = select(sites.c.site_num, sites.c.site_id).where(sites.c.purge_time_ms <= now_ms)
    return {row[0]: row[1] for row in connection.execute(due.order_by(sites.c.site_num).limit(limit))}


def purge_sites(connection: Connection, site_nums: Sequence[int]) -> None:
    """Remove sites that no device is at."""
    connection.execute(delete(site_labels).where(site_labels.c.site_num.in_(site_nums)))
    connection.execute(delete(sites).where(sites.c.site_num.in_(site_nums)))


def find_site(connection: Connection, site_id: str) -> Site | None:
    return find_sites(connection, [site_id]).get(site_id)


def find_sites(connection: Connection, site_ids: Iterable[str]) -> dict[str, Site]:
    """Those of the given sites that exist, deleted ones too, by id. At most some thousands at once."""
    query = select(sites).where(among(connection, sites.c.site_id, site_ids))
    return {row.site_id: site_of(row) for row in connection.execute(query)}


def sites_after(connection: Connection, after_num: int, limit: int) -> list[Site]:
    """Sites with a number above `after_num`, deleted ones too, in the order of their numbers."""
    query = select(sites).where(sites.c.site_num > after_num).order_by(sites.c.site_num).limit(limit)
    return [site_of(row) for row in connection.execute(query)]


def active_devices(connection: Connection, site_nums: Sequence[int]) -> dict[int, int]:
    """How many active devices are mounted at each site that has some. At most some thousands of sites at once."""
    query = (
        select(devices.c.site_num, func.count())
        .where(devices.c.site_num.in_(site_nums), devices.c.state == State.ACTIVE)
        .group_by(devices.c.site_num)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def _change(connection: Connection, site_num: int, now_ms: int, **values: object) -> None:
    revision = sequence.take(connection, revisions=1).revision
    change = update(sites).where(sites.c.site_num == site_num)
    connection.execute(change.values(revision=revision, update_time_ms=now_ms, **values))


def _columns(spec: SiteSpec, ward_code: str, is_ward_derived: bool) -> dict[str, object]:
    return {
        "display_name": spec.display_name,
        "kind": spec.kind,
        "latitude": spec.latitude,
        "longitude": spec.longitude,
        "ward_code": ward_code,
        "is_ward_derived": is_ward_derived,
        "labels": msgspec.json.encode(spec.labels, order="sorted").decode(),
    }


def _insert_labels(connection: Connection, site_num: int, labels: dict[str, str]) -> None:
    if labels:
        rows = [{"site_num": site_num, "key": key, "value": value} for key, value in labels.items()]
        connection.execute(insert(site_labels), rows)


def site_of(row: Row[Any]) -> Site:
    """Of a row with all columns of the table."""
    return Site(
        site_num=row.site_num,
        spec=SiteSpec(
            site_id=row.site_id,
            display_name=row.display_name,
            kind=row.kind,
            latitude=row.latitude,
            longitude=row.longitude,
            ward_code="" if row.is_ward_derived else row.ward_code,
            labels=_labels_decoder.decode(row.labels),
        ),
        ward_code=row.ward_code,
        is_ward_derived=bool(row.is_ward_derived),
        revision=row.revision,
        create_time_ms=row.create_time_ms,
        update_time_ms=row.update_time_ms,
        delete_time_ms=row.delete_time_ms,
        purge_time_ms=row.purge_time_ms,
    )
