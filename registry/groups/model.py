"""Groups and saved queries as plain data. Times are UTC milliseconds."""

import msgspec


class Group(msgspec.Struct, frozen=True):
    group_num: int
    group_id: str
    display_name: str
    description: str
    member_count: int
    revision: int
    create_time_ms: int
    update_time_ms: int


class SavedQuery(msgspec.Struct, frozen=True):
    """In the order of the table's columns."""

    saved_query_id: str
    display_name: str
    filter: str
    revision: int
    create_time_ms: int
    update_time_ms: int
