"""Pages of a list by the key of the last row so far: no page costs more than another, and no row comes twice."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import BigInteger, ColumnElement, String, and_, literal, or_, tuple_


class SortKey(msgspec.Struct, frozen=True):
    """`column` is never NULL."""

    column: ColumnElement[Any]
    descending: bool = False

    def ordered(self) -> ColumnElement[Any]:
        return self.column.desc() if self.descending else self.column.asc()


def behind(keys: Sequence[SortKey], after: Sequence[int | str]) -> ColumnElement[bool]:
    """Rows that come after the row with the key `after`, which has one value for each of `keys`; of a shorter one,
    after all rows whose keys begin with it."""
    keys = keys[: len(after)]
    values = [literal(value, String() if isinstance(value, str) else BigInteger()) for value in after]
    if len({key.descending for key in keys}) == 1:
        # As one comparison of rows both databases read it straight off an index of those columns.
        whole = tuple_(*(key.column for key in keys))
        return whole < tuple_(*values) if keys[0].descending else whole > tuple_(*values)
    rest: ColumnElement[bool] | None = None
    for key, value in zip(reversed(keys), reversed(values), strict=True):
        further = key.column < value if key.descending else key.column > value
        rest = further if rest is None else or_(further, and_(key.column == value, rest))
    assert rest is not None
    first = keys[0].column <= values[0] if keys[0].descending else keys[0].column >= values[0]
    # The first part says nothing new, but an index on the first column can begin there.
    return and_(first, rest)
