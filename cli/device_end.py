"""Devices out of service and back: decommission, delete, undelete, purge; one by one or all that match."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from cityfleet.registry.v1 import device_pb2 as pb
from cli.confirm import confirm
from cli.connected import connected
from cli.device_many import IdsArgument, ids_or_filter, run_by_filter, show_done
from cli.device_rows import show_devices
from cli.errors import CommandError, ExitCode
from cli.options import DryRunOption, FilterOption, TimeoutOption, WaitOption, YesOption, request_id_of
from cli.output import OutputFormat, OutputOption
from cli.registry_client import CALL_S, RegistryClient


@connected
def decommission(
    client: RegistryClient,
    device_ids: IdsArgument = None,
    filter_text: FilterOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    wait: WaitOption = True,
    timeout: TimeoutOption = 0,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Take devices out of service: their tokens end for good, their ids stay taken, their readings stay stored.

    Examples:
        cityfleet device decommission wl-long-bien-01 rain-07
        cityfleet device decommission --filter 'site_id = "bts-0042"' --dry-run
    """
    _end(
        client,
        (device_ids, filter_text),
        "Decommission",
        pb.BulkDeleteDevicesRequest.ACTION_DECOMMISSION,
        _one_by_one(client.devices.DecommissionDevice, pb.DecommissionDeviceRequest(validate_only=dry_run)),
        (yes, dry_run, wait, timeout),
        output,
    )


@connected
def delete(
    client: RegistryClient,
    device_ids: IdsArgument = None,
    filter_text: FilterOption = "",
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Named devices that are gone already are no error.")
    ] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    wait: WaitOption = True,
    timeout: TimeoutOption = 0,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Decommission devices and hide them; for 30 days `undelete` brings them back, without their tokens.

    Those that are named go together or not at all, a gateway with the devices behind it.

    Examples:
        cityfleet device delete rain-07
        cityfleet device delete gw-04 rain-07 rain-08 --dry-run
        cityfleet device delete --filter 'labels.pilot = "2024"'
    """

    def together(names: list[str]) -> Sequence[pb.Device]:
        requests = [pb.DeleteDeviceRequest(name=name) for name in names]
        batch = pb.BatchDeleteDevicesRequest(requests=requests, allow_missing=allow_missing, validate_only=dry_run)
        batch.request_id = request_id_of("")
        answer: pb.BatchDeleteDevicesResponse = client.devices.BatchDeleteDevices(batch, timeout=CALL_S)
        return answer.devices

    if allow_missing and not device_ids:
        raise CommandError("--allow-missing goes with named devices", ExitCode.USAGE)
    _end(
        client,
        (device_ids, filter_text),
        "Delete",
        pb.BulkDeleteDevicesRequest.ACTION_DELETE,
        together,
        (yes, dry_run, wait, timeout),
        output,
    )


@connected
def undelete(
    client: RegistryClient,
    device_ids: IdsArgument = None,
    filter_text: FilterOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    wait: WaitOption = True,
    timeout: TimeoutOption = 0,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Bring deleted devices back; each needs a new token then (`device rotate-token`).

    Examples:
        cityfleet device list --state deleted
        cityfleet device undelete rain-07
    """
    _end(
        client,
        (device_ids, _deleted(filter_text)),
        "Undelete",
        pb.BulkDeleteDevicesRequest.ACTION_UNDELETE,
        _one_by_one(client.devices.UndeleteDevice, pb.UndeleteDeviceRequest(validate_only=dry_run)),
        (yes, dry_run, wait, timeout),
        output,
    )


@connected
def purge(
    client: RegistryClient,
    filter_text: FilterOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    wait: WaitOption = True,
    timeout: TimeoutOption = 0,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Take deleted devices away for good, before their 30 days are over. Their ids and numbers stay taken.

    Example:
        cityfleet device purge --filter 'device_id = "test-*"' --dry-run
    """
    _end(
        client,
        (None, _deleted(filter_text)),
        "Purge",
        pb.BulkDeleteDevicesRequest.ACTION_PURGE,
        None,
        (yes, dry_run, wait, timeout),
        output,
    )


def _deleted(filter_text: str) -> str:
    """The filter, of deleted devices alone."""
    if not filter_text.strip():
        return ""
    return "state = deleted" if filter_text.strip() == "*" else f"state = deleted AND ({filter_text})"


def _one_by_one(method: Callable[..., pb.Device], request: Any) -> Callable[[list[str]], Sequence[pb.Device]]:
    """Args: request: without name and id, which each gets of its own."""

    def run(names: list[str]) -> Sequence[pb.Device]:
        done = []
        for name in names:
            request.name, request.request_id = name, request_id_of("")
            done.append(method(request, timeout=CALL_S))
        return done

    return run


def _end(
    client: RegistryClient,
    which: tuple[list[str] | None, str],
    what: str,
    action: "pb.BulkDeleteDevicesRequest.Action.ValueType",
    named: Callable[[list[str]], Sequence[pb.Device]] | None,
    how: tuple[bool, bool, bool, float],
    output: OutputFormat,
) -> None:
    """Decommission, delete and their like: those that are named, or an operation for a filter.

    Args: named: does it to devices by their names; None: it goes by a filter alone.
    """
    (device_ids, filter_text), (yes, dry_run, wait, timeout_s) = which, how
    ids_or_filter(device_ids, filter_text)
    is_final = what in ("Decommission", "Purge")
    if device_ids and named is not None:
        if not dry_run:
            confirm(what, len(device_ids), "device", yes=yes, is_final=is_final)
        show_devices(named([f"devices/{device_id}" for device_id in device_ids]), output)
        return
    request = pb.BulkDeleteDevicesRequest(
        filter=filter_text, action=action, validate_only=dry_run, request_id=request_id_of("")
    )

    def start(expected: int) -> Any:
        request.expected_count = expected
        return client.devices.BulkDeleteDevices(request, timeout=CALL_S)

    done = run_by_filter(
        client,
        start,
        filter_text,
        what,
        yes=yes,
        dry_run=dry_run,
        wait=wait,
        timeout_s=timeout_s,
        is_final=is_final,
    )
    show_done(done, output)
