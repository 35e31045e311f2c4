"""Groups and saved queries in SQL."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from registry.db import sequence
from registry.db.schema import devices, group_members, groups, saved_queries
from registry.groups.model import Group, SavedQuery

_MEMBERS = (
    select(func.count()).where(group_members.c.group_num == groups.c.group_num).correlate(groups).scalar_subquery()
)
_GROUPS = select(groups, _MEMBERS.label("member_count"))


def insert_group(connection: Connection, group_id: str, display_name: str, description: str, now_ms: int) -> None:
    taken = sequence.take(connection, revisions=1, groups=1)
    connection.execute(
        insert(groups).values(
            group_num=taken.group_num,
            group_id=group_id,
            display_name=display_name,
            description=description,
            revision=taken.revision,
            create_time_ms=now_ms,
            update_time_ms=now_ms,
        )
    )


def update_group(connection: Connection, group_num: int, display_name: str, description: str, now_ms: int) -> None:
    _touch(connection, group_num, now_ms, display_name=display_name, description=description)


def delete_group(connection: Connection, group_num: int) -> None:
    sequence.take(connection, revisions=1)
    connection.execute(delete(group_members).where(group_members.c.group_num == group_num))
    connection.execute(delete(groups).where(groups.c.group_num == group_num))


def find_group(connection: Connection, group_id: str) -> Group | None:
    row = connection.execute(_GROUPS.where(groups.c.group_id == group_id)).one_or_none()
    return _group(row) if row else None


def list_groups(connection: Connection, after_num: int, limit: int) -> list[Group]:
    """Groups with a number above `after_num`, in the order of their creation."""
    query = _GROUPS.where(groups.c.group_num > after_num).order_by(groups.c.group_num).limit(limit)
    return [_group(row) for row in connection.execute(query)]


def device_nums(connection: Connection, device_ids: Iterable[str]) -> dict[str, int]:
    """Of those that exist, by id. At most some thousands at once."""
    query = select(devices.c.device_id, devices.c.device_num).where(devices.c.device_id.in_(list(device_ids)))
    return {row.device_id: row.device_num for row in connection.execute(query)}


def members_among(connection: Connection, group_num: int, nums: Sequence[int]) -> set[int]:
    """Which of the devices are in the group."""
    query = select(group_members.c.device_num).where(
        group_members.c.group_num == group_num, group_members.c.device_num.in_(nums)
    )
    return set(connection.scalars(query))


def change_members(
    connection: Connection, group_num: int, added: Sequence[int], removed: Sequence[int], now_ms: int
) -> None:
    """Args: added: of devices that are not in the group. removed: of devices that are."""
    if removed:
        own = group_members.c.group_num == group_num
        connection.execute(delete(group_members).where(own, group_members.c.device_num.in_(removed)))
    if added:
        connection.execute(
            insert(group_members), [{"group_num": group_num, "device_num": device_num} for device_num in added]
        )
    _touch(connection, group_num, now_ms)


def insert_query(connection: Connection, query_id: str, display_name: str, filter_text: str, now_ms: int) -> None:
    connection.execute(
        insert(saved_queries).values(
            saved_query_id=query_id,
            display_name=display_name,
            filter=filter_text,
            revision=sequence.take(connection, revisions=1).revision,
            create_time_ms=now_ms,
            update_time_ms=now_ms,
        )
    )


def update_query(connection: Connection, query_id: str, display_name: str, filter_text: str, now_ms: int) -> None:
    revision = sequence.take(connection, revisions=1).revision
    change = update(saved_queries).where(saved_queries.c.saved_query_id == query_id)
    connection.execute(
        change.values(display_name=display_name, filter=filter_text, revision=revision, update_time_ms=now_ms)
    )


def delete_query(connection: Connection, query_id: str) -> None:
    sequence.take(connection, revisions=1)
    connection.execute(delete(saved_queries).where(saved_queries.c.saved_query_id == query_id))


def find_query(connection: Connection, query_id: str) -> SavedQuery | None:
    row = connection.execute(select(saved_queries).where(saved_queries.c.saved_query_id == query_id)).one_or_none()
    return SavedQuery(*row) if row else None


def list_queries(connection: Connection, after_id: str, limit: int) -> list[SavedQuery]:
    """Saved queries with an id behind `after_id`, in the order of their ids."""
    own = saved_queries.c.saved_query_id
    query = select(saved_queries).where(own > after_id).order_by(own).limit(limit)
    return [SavedQuery(*row) for row in connection.execute(query)]


def all_queries(connection: Connection) -> list[SavedQuery]:
    return [SavedQuery(*row) for row in connection.execute(select(saved_queries))]


def _touch(connection: Connection, group_num: int, now_ms: int, **values: str) -> None:
    revision = sequence.take(connection, revisions=1).revision
    change = update(groups).where(groups.c.group_num == group_num)
    connection.execute(change.values(revision=revision, update_time_ms=now_ms, **values))


def _group(row: Row[tuple[object, ...]]) -> Group:
    return Group(
        group_num=row.group_num,
        group_id=row.group_id,
        display_name=row.display_name,
        description=row.description,
        member_count=row.member_count,
        revision=row.revision,
        create_time_ms=row.create_time_ms,
        update_time_ms=row.update_time_ms,
    )
