"""Rows of quarantine as they are printed, also by the million."""

import csv
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import msgspec

from cli.output import OutputFormat, show_document
from cli.quarantine_show import printable
from store.quarantine import Row

COLUMNS = ("id", "received_at", "device_id", "reason", "detail", "readings", "size_bytes")
CSV_COLUMNS = (
    "id",
    "received_at",
    "device_id",
    "topic",
    "transport",
    "encoding",
    "reason",
    "detail",
    "readings",
    "size_bytes",
)


def payload_row(row: Row, *, plain: bool = False) -> dict[str, Any]:
    """As it is printed; `plain`: for a terminal, without characters that it would obey."""
    texts = {
        "device_id": row.device_id,
        "topic": row.topic.decode(errors="replace"),
        "transport": row.transport,
        "encoding": row.encoding,
        "reason": row.reason,
        "detail": row.detail,
    }
    if plain:
        texts = {name: printable(text) for name, text in texts.items()}
    return {
        "id": str(row.id),
        "received_at": moment(row.received_ms),
        **texts,
        "readings": row.readings,
        "size_bytes": row.size_bytes,
    }


def moment(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1000:03}Z"


class Stream:
    """Prints rows as they come, in any format but a table: `with Stream(...) as stream: stream.write(row)`."""

    def __init__(self, columns: Sequence[str], output: OutputFormat, *, name: str) -> None:
        """`columns` are those of CSV, `name` the key whose value `-o name` prints."""
        self._columns = columns
        self._output = output
        self._name = name
        self._csv = csv.writer(sys.stdout, lineterminator="\n")
        self._before = "[\n  "

    def __enter__(self) -> "Stream":
        if self._output is OutputFormat.CSV:
            self._csv.writerow(self._columns)
        return self

    def write(self, row: Mapping[str, Any]) -> None:
        if self._output is OutputFormat.NAME:
            print(row[self._name])
        elif self._output is OutputFormat.CSV:
            self._csv.writerow([row[column] for column in self._columns])
        elif self._output is OutputFormat.YAML:
            show_document([row], self._output)
        else:
            sys.stdout.write(self._before + msgspec.json.encode(row).decode())
            self._before = ",\n  "

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._output is OutputFormat.JSON and error is None:
            print("[]" if self._before == "[\n  " else "\n]")
