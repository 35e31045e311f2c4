"""`cityfleet import sites`: the sites of a file, some hundreds by one call; those it refuses in smaller parts."""

import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import grpc
import msgspec
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from cityfleet.registry.v1 import site_pb2 as pb
from cli.import_file import SITES, FileRow, FileRows, RowError, open_source
from cli.import_report import (
    DryRunOption,
    ErrorReport,
    ErrorsOption,
    SourceArgument,
    UpdateOption,
    fail_if_any,
    progress_bar,
    show_summary,
    size_of,
)
from cli.output import OutputFormat, OutputOption
from cli.registry_client import CALL_S, RegistryClient, RegistryOption, connect
from cli.settings import ConfigOption, DataOption

BATCH_ROWS = 500
# No site has it: a site that somebody has made meanwhile is not taken for a new one.
_ETAG_OF_NONE = '"0"'
_OF_REQUEST = re.compile(r"requests\[(\d+)\]\.")
# What concerns one row; with any other status there is no point in trying the next.
_OF_A_ROW = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.PERMISSION_DENIED,
)


class Verdict(msgspec.Struct, frozen=True):
    """`outcome` is created, updated, unchanged or failed."""

    outcome: str
    errors: tuple[RowError, ...] = ()


def import_sites(
    source: SourceArgument,
    dry_run: DryRunOption = False,
    errors_out: ErrorsOption = None,
    update_existing: UpdateOption = False,
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Register the sites of a file: bad rows are reported, the good ones are created. Sites come before their devices.

    It may be run again: a site that is there already and the same counts as unchanged. Devices follow a site that
    moves. Exit code 5 if any row failed.

    Examples:
        cityfleet import sites sites.csv --dry-run
        cityfleet import sites sites.csv --update-existing --errors-out bad.csv

    CSV has a head: site_id, then any of display_name, kind (bts, pole, bridge, building, river, road, other),
    ward_code, latitude, longitude, labels.KEY. NDJSON has the same keys, and `labels` as an object. Only the columns
    that are there are compared with a site that exists. Without a ward code a site is in the ward that has its place.
    """
    counts: Counter[str] = Counter()
    started = time.monotonic()
    with ExitStack() as stack:
        file, kind = stack.enter_context(open_source(source))
        rows = FileRows(file, kind, SITES)
        report = ErrorReport(stack, errors_out, SITES)
        progress = stack.enter_context(progress_bar())
        task = progress.add_task("sites", total=size_of(file))
        client = stack.enter_context(connect(registry, config, data))
        for verdict in _verdicts(client, rows, update_existing, dry_run):
            counts[verdict.outcome] += 1
            for error in verdict.errors:
                report.add(error)
            progress.update(task, completed=rows.position().offset)
    show_summary(counts, time.monotonic() - started, counts.total(), dry_run, output)
    fail_if_any(counts, errors_out)


def _verdicts(client: RegistryClient, rows: FileRows, update_existing: bool, dry_run: bool) -> Iterator[Verdict]:
    """In the order of the rows. Raises: grpc.RpcError that concerns more than a row."""
    importer = _Importer(client, update_existing, dry_run)
    batch: list[FileRow | RowError] = []
    ids: set[str] = set()
    for row in rows:
        # Two rows of one site are done one after the other.
        if len(batch) >= BATCH_ROWS or row.resource_id in ids:
            yield from importer.put(batch)
            batch, ids = [], set()
        batch.append(row)
        ids.add(row.resource_id)
    yield from importer.put(batch)


class _Importer:
    def __init__(self, client: RegistryClient, update_existing: bool, dry_run: bool) -> None:
        self._client = client
        self._update_existing = update_existing
        self._dry_run = dry_run

    def put(self, rows: Sequence[FileRow | RowError]) -> list[Verdict]:
        """A verdict for each row. Args: rows: each of another site."""
        verdicts: dict[int, Verdict] = {}
        given: dict[int, pb.Site] = {}
        for at, row in enumerate(rows):
            if isinstance(row, RowError):
                verdicts[at] = Verdict("failed", (row,))
                continue
            try:
                given[at] = pb.Site(**row.resource)
            except (UnicodeEncodeError, ValueError):
                shown = row.resource_id.encode("ascii", "replace").decode()
                text = "not UTF-8 text; convert the file to UTF-8"
                verdicts[at] = _failed(RowError(row.row, shown, "", "NOT_UTF8", text))
        sent = [(row, given[at]) for at, row in enumerate(rows) if at in given and isinstance(row, FileRow)]
        verdicts |= zip(given, self._put(sent), strict=True)
        return [verdicts[at] for at in range(len(rows))]

    def _put(self, rows: Sequence[tuple[FileRow, pb.Site]]) -> list[Verdict]:
        if not rows:
            return []
        try:
            return self._put_at_once(rows)
        except grpc.RpcError as exc:
            if exc.code() not in _OF_A_ROW:
                raise
            if len(rows) == 1:
                return [_failed(*_errors(exc, rows[0][0]))]
        # One of them: which one is not told.
        half = len(rows) // 2
        return self._put(rows[:half]) + self._put(rows[half:])

    def _put_at_once(self, rows: Sequence[tuple[FileRow, pb.Site]]) -> list[Verdict]:
        """By one call that changes all but what it names as wrong. Raises: grpc.RpcError: none is changed."""
        there = self._find([site.name for _, site in rows])
        verdicts: dict[int, Verdict] = {}
        wanted: dict[int, pb.UpdateSiteRequest] = {}
        for at, (row, site) in enumerate(rows):
            decided = self._decided(row, site, there.get(site.name))
            if isinstance(decided, Verdict):
                verdicts[at] = decided
            else:
                wanted[at] = decided
        while wanted:
            try:
                batch = pb.BatchUpdateSitesRequest(requests=wanted.values(), validate_only=self._dry_run)
                self._client.sites.BatchUpdateSites(batch, timeout=CALL_S)
                break
            except grpc.RpcError as exc:
                places = list(wanted)
                wrong = _by_request(exc)
                if not wrong or exc.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                    raise
                for place, violations in wrong.items():
                    row = rows[places[place]][0]
                    errors = [RowError(row.row, row.resource_id, *violation) for violation in violations]
                    verdicts[places[place]] = _failed(*errors)
                    del wanted[places[place]]
        verdicts |= {at: Verdict("updated" if rows[at][1].name in there else "created") for at in wanted}
        return [verdicts[at] for at in range(len(rows))]

    def _find(self, names: Sequence[str]) -> dict[str, pb.Site]:
        request = pb.BatchGetSitesRequest(names=names, allow_missing=True)
        return {site.name: site for site in self._client.sites.BatchGetSites(request, timeout=CALL_S).sites}

    def _decided(self, row: FileRow, given: pb.Site, there: pb.Site | None) -> Verdict | pb.UpdateSiteRequest:
        if there is None:
            given.etag = _ETAG_OF_NONE
            return pb.UpdateSiteRequest(site=given, allow_missing=True)
        if there.HasField("delete_time"):
            text = "the site is deleted: cityfleet site undelete"
            return _failed(RowError(row.row, row.resource_id, "site_id", "SITE_DELETED", text))
        if not (differing := _differing(given, there, row.fields)):
            return Verdict("unchanged")
        if not self._update_existing:
            text = (
                f"the site exists and differs in {', '.join(differing)}; --update-existing brings it to the row's state"
            )
            return _failed(RowError(row.row, row.resource_id, differing[0], "SITE_EXISTS_DIFFERENT", text))
        given.etag = there.etag
        update = pb.UpdateSiteRequest(site=given)
        update.update_mask.paths.extend(differing)
        return update


def _differing(given: pb.Site, there: pb.Site, fields: tuple[str, ...]) -> list[str]:
    """Those of the fields that the row speaks of and that are not so yet."""
    wanted, present = _plain(given), _plain(there)
    # No ward: the one that has the place, which is so already if it was found.
    for site, plain in ((given, wanted), (there, present)):
        plain["ward_code"] = "" if site.is_ward_derived else site.ward_code
        plain["kind"] = site.kind or "other"
    return [path for path in fields if _at(wanted, path) != _at(present, path)]


def _plain(site: pb.Site) -> dict[str, Any]:
    return {
        "display_name": site.display_name,
        "latitude": site.latitude if site.HasField("latitude") else None,
        "longitude": site.longitude if site.HasField("longitude") else None,
        "labels": dict(site.labels),
    }


def _at(site: dict[str, Any], path: str) -> Any:
    return site["labels"].get(path.removeprefix("labels.")) if path.startswith("labels.") else site[path]


def _failed(*errors: RowError) -> Verdict:
    return Verdict("failed", errors)


def _by_request(exc: grpc.RpcError) -> dict[int, list[tuple[str, str, str]]]:
    """The requests of a batch that are wrong, each with field, reason and description."""
    found: dict[int, list[tuple[str, str, str]]] = {}
    status = rpc_status.from_call(exc)
    for detail in status.details if status is not None else ():
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(bad):
            for each in bad.field_violations:
                if matched := _OF_REQUEST.match(each.field):
                    told = (each.field[matched.end() :], each.reason, each.description)
                    found.setdefault(int(matched[1]), []).append(told)
    return found


def _errors(exc: grpc.RpcError, row: FileRow) -> list[RowError]:
    """What the registry says is wrong with a row."""
    reason, found = exc.code().name, []
    status = rpc_status.from_call(exc)
    for detail in status.details if status is not None else ():
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason = info.reason
        if detail.Unpack(bad):
            found += [
                RowError(row.row, row.resource_id, each.field, each.reason, each.description)
                for each in bad.field_violations
            ]
    return found or [RowError(row.row, row.resource_id, "", reason, exc.details())]
