"""An answer: columns as they came, in the shape that the caller works with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    import pandas as pd


class Answer:
    """`question`: what was asked. Times are UTC."""

    def __init__(self, question: str, table: pa.Table) -> None:
        self.question = question
        self._table = table

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __repr__(self) -> str:
        return f"<Answer to {self.question}: {len(self)} rows, {len(self.columns)} columns>"

    @property
    def columns(self) -> list[str]:
        return list(self._table.column_names)

    @property
    def as_of(self) -> datetime | None:
        """Newest event time that the answer rests on; None without a column `as_of`, or if all of it is empty."""
        return self._bound("max")

    @property
    def oldest_as_of(self) -> datetime | None:
        """`as_of` of the row that rests on the oldest readings."""
        return self._bound("min")

    def arrow(self) -> pa.Table:
        return self._table

    def pandas(self) -> pd.DataFrame:
        """Raises ImportError without pandas: `pip install cityfleet-ioc[pandas]`."""
        frame: pd.DataFrame = self._table.to_pandas()
        return frame

    def rows(self) -> list[dict[str, Any]]:
        """A dict for each row, by the columns' names."""
        rows: list[dict[str, Any]] = self._table.to_pylist()
        return rows

    def _bound(self, which: str) -> datetime | None:
        if "as_of" not in self._table.column_names or not len(self):
            return None
        found = pc.min_max(self._table.column("as_of"))[which].as_py()
        # An aggregate over nothing is the epoch.
        if not isinstance(found, datetime) or found.timestamp() <= 0:
            return None
        return found if found.tzinfo else found.replace(tzinfo=UTC)
