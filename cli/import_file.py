"""Rows of devices or sites from CSV or NDJSON, each either a row to be sent or the reason why it is none."""

import csv
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from cli.errors import CommandError, ExitCode
from cli.import_lines import Lines, LineTooLongError, Position, RowLines, UnclosedRowError

_WIDE = (b"\xff\xfe", b"\xfe\xff")
PLACE = ("latitude", "longitude")
# What an export says of ward and place that are not the row's own; here: then they are not the row's word either.
DERIVED = ("is_ward_derived", "is_place_derived")
REPORTED_PREFIX = "reported."
LABEL_PREFIX = "labels."
_labels_decoder = msgspec.json.Decoder(dict[str, str])


class RowError(msgspec.Struct, frozen=True):
    """Why a row was not imported. `row` counts from 1, without the CSV's head."""

    row: int
    resource_id: str
    field: str
    reason: str
    description: str


class FileRow(msgspec.Struct, frozen=True):
    """`resource` is what makes the message; `fields`: what the row speaks of, as paths of an update mask."""

    row: int
    resource_id: str
    resource: dict[str, Any]
    token: str
    fields: tuple[str, ...]


class _DeviceLine(msgspec.Struct, frozen=True):
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


class _SiteLine(msgspec.Struct, frozen=True):
    site_id: str
    display_name: str = ""
    kind: str = ""
    ward_code: str = ""
    latitude: float | None = None
    longitude: float | None = None
    labels: dict[str, str] = {}
    is_ward_derived: bool = False


class Noun(msgspec.Struct, frozen=True):
    """What there are rows of: `line` is one of NDJSON. `others`: what an export says besides, so that it can be
    imported as it is."""

    collection: str
    id_column: str
    required: tuple[str, ...]
    others: tuple[str, ...]
    line: type[msgspec.Struct]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for name in self.line.__struct_fields__ if name not in DERIVED)

    @property
    def derived(self) -> tuple[str, ...]:
        return tuple(name for name in self.line.__struct_fields__ if name in DERIVED)

    @property
    def texts(self) -> tuple[str, ...]:
        """Columns that are fields of the message as they are."""
        return tuple(name for name in self.columns if name not in (self.id_column, *PLACE, "token", "labels"))


_TIMES = ("create_time", "update_time", "delete_time", "purge_time")
DEVICES = Noun(
    collection="devices",
    id_column="device_id",
    required=("device_id", "device_type"),
    others=("device_num", "state", "connectivity", "health", "health_reasons", "reported", "etag", *_TIMES),
    line=_DeviceLine,
)
SITES = Noun(
    collection="sites",
    id_column="site_id",
    required=("site_id",),
    others=("etag", "device_count", *_TIMES),
    line=_SiteLine,
)
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


class FileRows:
    """The rows in the order of the file, empty lines left out. Iterate once."""

    def __init__(self, file: BinaryIO, kind: str, noun: Noun = DEVICES) -> None:
        """Reads the first line. Raises: CommandError for a file, or a CSV head, that cannot be understood."""
        self._noun = noun
        self._lines = Lines(file)
        self._row = 0
        first = self._first()
        self._is_first_utf8 = not self._lines.is_broken_text
        is_ndjson = (kind or ("ndjson" if first.lstrip().startswith("{") else "csv")) == "ndjson"
        if is_ndjson:
            self._lines.settle()
            self._head: list[str] = []
        else:
            self._head = _head(first, noun)
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
            raise CommandError(
                "the file is empty", ExitCode.USAGE, f"CSV with a head of: {', '.join(self._noun.columns)}"
            )
        return first

    def _csv_rows(self) -> Iterator[FileRow | RowError]:
        lines, read = self._lines, _CsvRow(self._head, self._noun)
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
            yield _ndjson_row(self._noun, self._row, self._pending, self._is_first_utf8)
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
            yield _ndjson_row(self._noun, self._row, line, not is_broken)

    def _refused(self, reason: str, text: str) -> RowError:
        self._row += 1
        return RowError(self._row, "", "", reason, text)


class _CsvRow:
    """Cells to rows, for one head."""

    def __init__(self, head: list[str], noun: Noun) -> None:
        self._head = head
        self._collection = noun.collection
        self.id_at = head.index(noun.id_column)
        self._token_at = head.index("token") if "token" in head else -1
        self._labels_at = head.index("labels") if "labels" in head else -1
        self._texts = [(name, head.index(name)) for name in noun.texts if name in head]
        self._derived = [(name, head.index(name)) for name in noun.derived if name in head]
        self._place = [(name, head.index(name)) for name in PLACE if name in head]
        self._labels = [
            (name.removeprefix(LABEL_PREFIX), at) for at, name in enumerate(head) if name.startswith(LABEL_PREFIX)
        ]
        self._fields = _spoken(head, noun)

    def row(self, row: int, cells: list[str]) -> FileRow | RowError:
        if len(cells) != len(self._head):
            given = cells[self.id_at].strip() if self.id_at < len(cells) else ""
            text = f"{len(cells)} cells, but the head has {len(self._head)}; quote a cell that contains a comma"
            return RowError(row, given, "", "CELLS_MISCOUNTED", text)
        resource_id = cells[self.id_at].strip()
        resource: dict[str, Any] = {"name": f"{self._collection}/{resource_id}"}
        for name, at in self._texts:
            if text := cells[at].strip():
                resource[name] = text
        for name, at in self._place:
            if text := cells[at].strip():
                try:
                    resource[name] = float(text)
                except ValueError:
                    return RowError(row, resource_id, name, "NOT_A_NUMBER", f"`{text}` is not a number, as in 21.0287")
        for name, at in self._derived:
            if cells[at].strip() == "true":
                resource[name] = True
        labels = {key: text for key, at in self._labels if (text := cells[at].strip())}
        if self._labels_at >= 0 and (text := cells[self._labels_at].strip()):
            try:
                labels = _labels_decoder.decode(text) | labels
            except msgspec.DecodeError:
                text = 'a JSON object of texts, as in {"owner":"tnmt"}; or a column labels.KEY for each'
                return RowError(row, resource_id, "labels", "FIELD_INVALID", text)
        if labels:
            resource["labels"] = labels
        token = cells[self._token_at].strip() if self._token_at >= 0 else ""
        return FileRow(row, resource_id, resource, token, self._fields)


def _is_told(name: str, noun: Noun) -> bool:
    """An export's word, not the engineer's."""
    return name in noun.others or name in noun.derived or name.startswith(REPORTED_PREFIX)


def _spoken(names: Iterable[str], noun: Noun) -> tuple[str, ...]:
    """Paths of an update mask."""
    return tuple(name for name in names if name not in (noun.id_column, "token") and not _is_told(name, noun))


def _head(line: str, noun: Noun) -> list[str]:
    try:
        head = [name.strip() for name in next(csv.reader([line], strict=True))]
    except csv.Error as exc:
        raise CommandError(f"the head is not CSV: {exc}", ExitCode.USAGE) from exc
    for name in head:
        is_label = name.startswith(LABEL_PREFIX) and len(name) > len(LABEL_PREFIX)
        if name not in noun.columns and not _is_told(name, noun) and not is_label:
            raise CommandError(
                f"unknown column `{name}`",
                ExitCode.USAGE,
                f"columns are {', '.join(noun.columns)} and {LABEL_PREFIX}KEY",
            )
        if head.count(name) > 1:
            raise CommandError(f"the column `{name}` is there twice", ExitCode.USAGE)
    for name in noun.required:
        if name not in head:
            raise CommandError(f"the column `{name}` is missing", ExitCode.USAGE, f"the head is {', '.join(head)}")
    return head


def _ndjson_row(noun: Noun, row: int, line: str, is_utf8: bool) -> FileRow | RowError:
    raw = line.encode("utf-8", "surrogateescape")
    try:
        found = msgspec.json.decode(raw, type=noun.line)
        names = _raw_decoder.decode(raw).keys()
    except msgspec.ValidationError as exc:
        text, _, path = str(exc).partition(" - at `$")
        return RowError(row, _id(raw, noun), path.strip(".`"), "FIELD_INVALID", text)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        return RowError(row, "", "", "ROW_NOT_JSON" if is_utf8 else "NOT_UTF8", str(exc))
    resource_id = getattr(found, noun.id_column)
    if unknown := {name for name in names - set(noun.columns) if not _is_told(name, noun)}:
        return RowError(row, resource_id, "", "FIELD_INVALID", f"unknown field `{min(unknown)}`")
    resource: dict[str, Any] = {"name": f"{noun.collection}/{resource_id}"}
    for name in (*noun.texts, "labels", *noun.derived):
        if value := getattr(found, name):
            resource[name] = value
    for name in PLACE:
        if (place := getattr(found, name)) is not None:
            resource[name] = place
    return FileRow(row, resource_id, resource, getattr(found, "token", ""), _spoken(sorted(names), noun))


def _not_utf8(row: int, resource_id: str) -> RowError:
    shown = resource_id.strip().encode("ascii", "replace").decode()
    return RowError(row, shown, "", "NOT_UTF8", "not UTF-8 text; convert the file: iconv -t UTF-8")


def _id(raw: bytes, noun: Noun) -> str:
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return str(found.get(noun.id_column, "")) if isinstance(found, dict) else ""
