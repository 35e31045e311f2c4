"""`cityfleet import sites`: the sites of a file, each by a call of its own, several calls at a time."""

import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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

CALLS_AT_ONCE = 16
# What concerns one row; with any other status there is no point in trying the next.
_OF_A_ROW = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.PERMISSION_DENIED,
)
# Who may not see a site is not told that there is none.
_NOT_THERE = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED)


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
    waiting: deque[tuple[str, Future[Verdict]]] = deque()
    with ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="import-sites") as pool:
        try:
            for row in rows:
                # Two rows of one site are done one after the other.
                while waiting and (len(waiting) >= 2 * CALLS_AT_ONCE or row.resource_id in dict(waiting)):
                    yield waiting.popleft()[1].result()
                waiting.append((row.resource_id, pool.submit(_put, client, row, update_existing, dry_run)))
            while waiting:
                yield waiting.popleft()[1].result()
        finally:
            for _, future in waiting:
                future.cancel()


def _put(client: RegistryClient, row: FileRow | RowError, update_existing: bool, dry_run: bool) -> Verdict:
    if isinstance(row, RowError):
        return Verdict("failed", (row,))
    try:
        given = pb.Site(**row.resource)
    except (UnicodeEncodeError, ValueError):
        shown = row.resource_id.encode("ascii", "replace").decode()
        return _failed(RowError(row.row, shown, "", "NOT_UTF8", "not UTF-8 text; convert the file to UTF-8"))
    try:
        there = _find(client, given.name)
        if there is None:
            request = pb.CreateSiteRequest(site_id=row.resource_id, site=given, validate_only=dry_run)
            client.sites.CreateSite(request, timeout=CALL_S)
            return Verdict("created")
        if there.HasField("delete_time"):
            text = "the site is deleted: cityfleet site undelete"
            return _failed(RowError(row.row, row.resource_id, "site_id", "SITE_DELETED", text))
        if not (differing := _differing(given, there, row.fields)):
            return Verdict("unchanged")
        if not update_existing:
            text = (
                f"the site exists and differs in {', '.join(differing)}; --update-existing brings it to the row's state"
            )
            return _failed(RowError(row.row, row.resource_id, differing[0], "SITE_EXISTS_DIFFERENT", text))
        given.etag = there.etag
        update = pb.UpdateSiteRequest(site=given, validate_only=dry_run)
        update.update_mask.paths.extend(differing)
        client.sites.UpdateSite(update, timeout=CALL_S)
        return Verdict("updated")
    except grpc.RpcError as exc:
        if exc.code() not in _OF_A_ROW:
            raise
        return _failed(*_errors(exc, row))


def _find(client: RegistryClient, name: str) -> pb.Site | None:
    try:
        site: pb.Site = client.sites.GetSite(pb.GetSiteRequest(name=name), timeout=CALL_S)
    except grpc.RpcError as exc:
        if exc.code() in _NOT_THERE:
            return None
        raise
    return site


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
