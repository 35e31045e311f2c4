"""Rows of devices from CSV or NDJSON, each either a row to be sent or the reason why it is none."""

import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from cli.errors import CommandError, ExitCode
from cli.import_lines import Lines, LineTooLongError, Position, RowLines, UnclosedRowError

# Columns of text, by their names here and as fields of a device.
TEXTS = (
    "device_type",
    "display_name",
    "gateway",
    "ward_code",
    "site",
    "site_id",
    "hardware_revision",
    "external_id",
)
PLACE = ("latitude", "longitude")
COLUMNS = ("device_id", *TEXTS, *PLACE, "token", "labels")
LABEL_PREFIX = "labels."
# What an export says of ward and place that are not the device's own; here: then they are not the row's word either.
DERIVED = ("is_ward_derived", "is_place_derived")
# What an export says besides: it can be imported as it is.
READ_ONLY = frozenset(
    {
        "device_num",
        "state",
        "create_time",
        "update_time",
        "connectivity",
        "health",
        "health_reasons",
        "reported",
        "etag",
        "delete_time",
        "purge_time",
        *DERIVED,
    }
)
REPORTED_PREFIX = "reported."
_WIDE = (b"\xff\xfe", b"\xfe\xff")
_labels_decoder = msgspec.json.Decoder(dict[str, str])


class RowError(msgspec.Struct, frozen=True):
    """Why a row was not imported. `row` counts from 1, without the CSV's head."""

    row: int
    device_id: str
    field: str
    reason: str
    description: str


class FileRow(msgspec.Struct, frozen=True):
    """`device` is what makes a Device; `fields`: what the row speaks of, as paths of an update mask."""

    row: int
    device_id: str
    device: dict[str, Any]
    token: str
    fields: tuple[str, ...]


class _Line(msgspec.Struct, frozen=True):
    device_id: str
    device_type: str
    display_name: str = ""
    gateway: str = ""
    ward_code: str = ""
    site: str = ""
    site_id: str = ""
    hardware_revision: str = ""
    external_id: str = ""
    latitude: float | None = None
    longitude: float | None = None
    labels: dict[str, str] = {}
    token: str = ""
    is_ward_derived: bool = False
    is_place_derived: bool = False


_line_decoder = msgspec.json.Decoder(_Line)
_raw_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


@contextmanager
def open_source(source: str) -> Iterator[tuple[BinaryIO, str]]:
    """Open FILE or `-`; gives the bytes and their format: `csv`, `ndjson`, or empty if the first line will tell.

    Raises: CommandError if it cannot be opened or its name does not tell the format.
    """
    if source == "-":
        yield sys.stdin.buffer, ""
        return
    formats = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}
    kind = formats.get(Path(source).suffix.lower())
    if kind is None:
        raise CommandError(f"{source}: neither .csv nor .ndjson", ExitCode.USAGE, "rename it, or pipe it in: -")
    try:
        file = Path(source).open("rb")  # noqa: SIM115
    except OSError as exc:
        raise CommandError(f"cannot read {source}: {exc.strerror}", ExitCode.USAGE) from exc
    with file:
        yield file, kind


class DeviceRows:
    """The rows in the order of the file, empty lines left out. Iterate once."""

    def __init__(self, file: BinaryIO, kind: str) -> None:
        """Reads the first line. Raises: CommandError for a file, or a CSV head, that cannot be understood."""
        self._lines = Lines(file)
        self._row = 0
        first = self._first()
        self._is_first_utf8 = not self._lines.is_broken_text
        is_ndjson = (kind or ("ndjson" if first.lstrip().startswith("{") else "csv")) == "ndjson"
        if is_ndjson:
            self._lines.settle()
            self._head: list[str] = []
        else:
            self._head = _head(first)
            self._lines.settle()
        self._pending = first if is_ndjson else ""

    def skip_to(self, position: Position) -> bool:
        """Go on where an earlier reading stopped; False if the file does not begin as it did then."""
        if position.offset and not self._lines.skip_to(position):
            return False
        if position.offset:
            self._row, self._pending = position.row, ""
        return True

    def position(self) -> Position:
        """After the last row that was given out."""
        return self._lines.position(self._row)

    def __iter__(self) -> Iterator[FileRow | RowError]:
        return self._csv_rows() if self._head else self._ndjson_rows()

    def _first(self) -> str:
        try:
            first = self._lines.take() or ""
        except LineTooLongError as exc:
            text = "the first line has more than a million bytes; is this a file of text?"
            raise CommandError(text, ExitCode.USAGE) from exc
        if first.encode("utf-8", "surrogateescape").startswith(_WIDE) or "\0" in first:
            raise CommandError(
                "the file is not UTF-8 but, it seems, UTF-16",
                ExitCode.USAGE,
                "iconv -f UTF-16 -t UTF-8 FILE > new.csv; Excel: save as `CSV UTF-8`",
            )
        if not first.strip():
            raise CommandError("the file is empty", ExitCode.USAGE, f"CSV with a head of: {', '.join(COLUMNS)}")
        return first

    def _csv_rows(self) -> Iterator[FileRow | RowError]:
        lines, read = self._lines, _CsvRow(self._head)
        reader = csv.reader(RowLines(lines), strict=True)
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except LineTooLongError:
                lines.settle()
                yield self._refused("ROW_TOO_LONG", "a line of more than a million bytes was left out")
                continue
            except (csv.Error, UnclosedRowError) as exc:
                # The lines after the first are rows of their own, as far as anybody can tell.
                lines.settle(only_first=True)
                text = str(exc) or "a quote is opened and not closed"
                yield self._refused("ROW_NOT_CSV", text)
                continue
            if len(cells) != len(self._head) and lines.taken > 1:
                lines.settle(only_first=True)
                yield self._refused("ROW_NOT_CSV", "a quote is opened and not closed in its row")
                continue
            is_broken = lines.is_broken_text
            lines.settle()
            if not any(cell.strip() for cell in cells):
                continue
            self._row += 1
            row = read.row(self._row, cells)
            if is_broken:
                yield _not_utf8(self._row, "" if len(cells) != len(self._head) else cells[read.id_at])
            else:
                yield row

    def _ndjson_rows(self) -> Iterator[FileRow | RowError]:
        lines = self._lines
        line: str | None
        if self._pending:
            self._row += 1
            yield _ndjson_row(self._row, self._pending, self._is_first_utf8)
        while True:
            try:
                line = lines.take()
            except LineTooLongError:
                lines.settle()
                yield self._refused("ROW_TOO_LONG", "a line of more than a million bytes was left out")
                continue
            if line is None:
                return
            is_broken = lines.is_broken_text
            lines.settle()
            if not line.strip():
                continue
            self._row += 1
            yield _ndjson_row(self._row, line, not is_broken)

    def _refused(self, reason: str, text: str) -> RowError:
        self._row += 1
        return RowError(self._row, "", "", reason, text)


class _CsvRow:
    """Cells to rows, for one head."""

    def __init__(self, head: list[str]) -> None:
        self._head = head
        self.id_at = head.index("device_id")
        self._token_at = head.index("token") if "token" in head else -1
        self._labels_at = head.index("labels") if "labels" in head else -1
        self._texts = [(name, head.index(name)) for name in TEXTS if name in head]
        self._place = [(name, head.index(name)) for name in PLACE if name in head]
        self._labels = [
            (name.removeprefix(LABEL_PREFIX), at) for at, name in enumerate(head) if name.startswith(LABEL_PREFIX)
        ]
        self._derived = [(name, head.index(name)) for name in DERIVED if name in head]
        self._fields = tuple(
            name
            for name in head
            if name not in ("device_id", "token") and name not in READ_ONLY and not name.startswith(REPORTED_PREFIX)
        )

    def row(self, row: int, cells: list[str]) -> FileRow | RowError:
        if len(cells) != len(self._head):
            given = cells[self.id_at].strip() if self.id_at < len(cells) else ""
            text = f"{len(cells)} cells, but the head has {len(self._head)}; quote a cell that contains a comma"
            return RowError(row, given, "", "CELLS_MISCOUNTED", text)
        device_id = cells[self.id_at].strip()
        device: dict[str, Any] = {"name": f"devices/{device_id}"}
        for name, at in self._texts:
            if text := cells[at].strip():
                device[name] = text
        for name, at in self._place:
            if text := cells[at].strip():
                try:
                    device[name] = float(text)
                except ValueError:
                    return RowError(row, device_id, name, "NOT_A_NUMBER", f"`{text}` is not a number, as in 21.0287")
        for name, at in self._derived:
            if cells[at].strip() == "true":
                device[name] = True
        labels = {key: text for key, at in self._labels if (text := cells[at].strip())}
        if self._labels_at >= 0 and (text := cells[self._labels_at].strip()):
            try:
                labels = _labels_decoder.decode(text) | labels
            except msgspec.DecodeError:
                text = 'a JSON object of texts, as in {"owner":"tnmt"}; or a column labels.KEY for each'
                return RowError(row, device_id, "labels", "FIELD_INVALID", text)
        if labels:
            device["labels"] = labels
        token = cells[self._token_at].strip() if self._token_at >= 0 else ""
        return FileRow(row, device_id, device, token, self._fields)


def _head(line: str) -> list[str]:
    try:
        head = [name.strip() for name in next(csv.reader([line], strict=True))]
    except csv.Error as exc:
        raise CommandError(f"the head is not CSV: {exc}", ExitCode.USAGE) from exc
    for name in head:
        is_label = name.startswith(LABEL_PREFIX) and len(name) > len(LABEL_PREFIX)
        is_read_only = name in READ_ONLY or name.startswith(REPORTED_PREFIX)
        if name not in COLUMNS and not is_read_only and not is_label:
            raise CommandError(
                f"unknown column `{name}`", ExitCode.USAGE, f"columns are {', '.join(COLUMNS)} and {LABEL_PREFIX}KEY"
            )
        if head.count(name) > 1:
            raise CommandError(f"the column `{name}` is there twice", ExitCode.USAGE)
    for name in ("device_id", "device_type"):
        if name not in head:
            raise CommandError(f"the column `{name}` is missing", ExitCode.USAGE, f"the head is {', '.join(head)}")
    return head


def _ndjson_row(row: int, line: str, is_utf8: bool) -> FileRow | RowError:
    raw = line.encode("utf-8", "surrogateescape")
    try:
        found = _line_decoder.decode(raw)
        names = _raw_decoder.decode(raw).keys()
    except msgspec.ValidationError as exc:
        text, _, path = str(exc).partition(" - at `$")
        return RowError(row, _device_id(raw), path.strip(".`"), "FIELD_INVALID", text)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        return RowError(row, "", "", "ROW_NOT_JSON" if is_utf8 else "NOT_UTF8", str(exc))
    if unknown := names - set(COLUMNS) - READ_ONLY:
        return RowError(row, found.device_id, "", "FIELD_INVALID", f"unknown field `{min(unknown)}`")
    device: dict[str, Any] = {"name": f"devices/{found.device_id}"}
    for name in (*TEXTS, "labels", *DERIVED):
        if value := getattr(found, name):
            device[name] = value
    for name in PLACE:
        if (place := getattr(found, name)) is not None:
            device[name] = place
    fields = tuple(sorted(names - {"device_id", "token"} - READ_ONLY))
    return FileRow(row, found.device_id, device, found.token, fields)


def _not_utf8(row: int, device_id: str) -> RowError:
    shown = device_id.strip().encode("ascii", "replace").decode()
    return RowError(row, shown, "", "NOT_UTF8", "not UTF-8 text; convert the file: iconv -t UTF-8")


def _device_id(raw: bytes) -> str:
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return str(found.get("device_id", "")) if isinstance(found, dict) else ""
