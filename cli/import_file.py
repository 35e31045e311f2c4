"""Rows of devices from CSV or NDJSON, each either a message or the reason why it is none."""

import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec

from cityfleet.registry.v1 import device_pb2 as pb
from cli.errors import CommandError, ExitCode

COLUMNS = (
    "device_id",
    "device_type",
    "display_name",
    "gateway",
    "ward_code",
    "site",
    "latitude",
    "longitude",
    "external_id",
    "token",
)
LABEL_PREFIX = "labels."


class RowError(msgspec.Struct, frozen=True):
    """Why a row was not imported. `row` counts from 1, without the CSV's head."""

    row: int
    device_id: str
    field: str
    reason: str
    description: str


class ImportLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of NDJSON, and what a line of CSV is turned into."""

    device_id: str
    device_type: str
    display_name: str = ""
    gateway: str = ""
    ward_code: str = ""
    site: str = ""
    latitude: float | None = None
    longitude: float | None = None
    external_id: str = ""
    labels: dict[str, str] = {}
    token: str = ""

    def message(self, row: int) -> pb.ImportRow:
        device = pb.Device(
            name=f"devices/{self.device_id}",
            device_type=self.device_type,
            display_name=self.display_name,
            gateway=self.gateway,
            ward_code=self.ward_code,
            site=self.site,
            latitude=self.latitude,
            longitude=self.longitude,
            external_id=self.external_id,
            labels=self.labels,
        )
        return pb.ImportRow(row=row, device=device, token=self.token)


_line_decoder = msgspec.json.Decoder(ImportLine)


@contextmanager
def open_source(source: str) -> Iterator[tuple[IO[str], str]]:
    """Open FILE or `-`; gives the text and its format, `csv` or `ndjson`.

    Raises: CommandError if it cannot be opened or its name does not tell the format.
    """
    if source == "-":
        sys.stdin.reconfigure(encoding="utf-8-sig", newline="", errors="surrogateescape")  # type: ignore[union-attr]
        yield sys.stdin, ""
        return
    formats = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}
    kind = formats.get(Path(source).suffix.lower())
    if kind is None:
        raise CommandError(f"{source}: neither .csv nor .ndjson", ExitCode.USAGE, "rename it, or pipe it in: -")
    try:
        file = Path(source).open(encoding="utf-8-sig", newline="", errors="surrogateescape")  # noqa: SIM115
    except OSError as exc:
        raise CommandError(f"cannot read {source}: {exc.strerror}", ExitCode.USAGE) from exc
    with file:
        yield file, kind


def read_rows(file: IO[str], kind: str) -> Iterator[pb.ImportRow | RowError]:
    """Rows in the order of the file, empty lines left out. An empty `kind` is found out from the first line.

    Raises: CommandError for a CSV head that cannot be understood.
    """
    first = file.readline()
    if not first.strip():
        raise CommandError("the file is empty", ExitCode.USAGE, f"CSV with a head of: {', '.join(COLUMNS)}")
    if (kind or ("ndjson" if first.lstrip().startswith("{") else "csv")) == "ndjson":
        return _ndjson_rows(first, file)
    return _csv_rows(_head(first), file)


def _head(line: str) -> list[str]:
    head = [name.strip() for name in next(csv.reader([line]))]
    for name in head:
        if name not in COLUMNS and not (name.startswith(LABEL_PREFIX) and len(name) > len(LABEL_PREFIX)):
            raise CommandError(
                f"unknown column `{name}`", ExitCode.USAGE, f"columns are {', '.join(COLUMNS)} and {LABEL_PREFIX}KEY"
            )
        if head.count(name) > 1:
            raise CommandError(f"the column `{name}` is there twice", ExitCode.USAGE)
    for name in ("device_id", "device_type"):
        if name not in head:
            raise CommandError(f"the column `{name}` is missing", ExitCode.USAGE, f"the head is {', '.join(head)}")
    return head


def _csv_rows(head: list[str], file: IO[str]) -> Iterator[pb.ImportRow | RowError]:
    row = 0
    reader = csv.reader(file, strict=True)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as exc:
            row += 1
            yield RowError(row, "", "", "ROW_NOT_CSV", str(exc))
            continue
        if not any(cell.strip() for cell in cells):
            continue
        row += 1
        yield _csv_row(row, head, cells)


def _csv_row(row: int, head: list[str], cells: list[str]) -> pb.ImportRow | RowError:
    given = dict(zip(head, (cell.strip() for cell in cells), strict=False))
    device_id = given.get("device_id", "")
    if len(cells) != len(head):
        text = f"{len(cells)} cells, but the head has {len(head)}; quote a cell that contains a comma"
        return RowError(row, device_id, "", "CELLS_MISCOUNTED", text)
    place: dict[str, Any] = {}
    for name in ("latitude", "longitude"):
        if text := given.pop(name, ""):
            try:
                place[name] = float(text)
            except ValueError:
                return RowError(row, device_id, name, "NOT_A_NUMBER", f"`{text}` is not a number, as in 21.0287")
    labels = {
        name.removeprefix(LABEL_PREFIX): given.pop(name)
        for name in head
        if name.startswith(LABEL_PREFIX) and given.get(name)
    }
    plain: dict[str, Any] = {name: value for name, value in given.items() if not name.startswith(LABEL_PREFIX)}
    return _message(row, ImportLine(**plain, **place, labels=labels))


def _ndjson_rows(first: str, file: IO[str]) -> Iterator[pb.ImportRow | RowError]:
    row = 0
    for line in (line for lines in ([first], file) for line in lines):
        if not line.strip():
            continue
        row += 1
        try:
            yield _message(row, _line_decoder.decode(line.encode("utf-8", "surrogateescape")))
        except msgspec.ValidationError as exc:
            text, _, path = str(exc).partition(" - at `$")
            yield RowError(row, _device_id(line), path.strip(".`"), "FIELD_INVALID", text)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            yield RowError(row, "", "", "ROW_NOT_JSON", str(exc))


def _message(row: int, line: ImportLine) -> pb.ImportRow | RowError:
    try:
        return line.message(row)
    except (UnicodeEncodeError, ValueError):
        device_id = line.device_id.encode("ascii", "replace").decode()
        return RowError(row, device_id, "", "NOT_UTF8", "not UTF-8 text; convert the file to UTF-8")


def _device_id(line: str) -> str:
    try:
        found = msgspec.json.decode(line.encode("utf-8", "surrogateescape"))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return str(found.get("device_id", "")) if isinstance(found, dict) else ""
