"""Ids for the shell's completion: what the registry has that begins so; nothing if it does not answer at once.

A shell that waits, or that prints an error between the keys, is worse than one that does not complete.
"""

import os
import re
from collections.abc import Callable
from typing import Any

import typer

from cityfleet.registry.v1 import (
    access_pb2,
    device_pb2,
    device_type_pb2,
    group_pb2,
    metric_pb2,
    operator_pb2,
    site_pb2,
)
from cli.options import quoted
from cli.registry_client import RegistryClient, connect

DEADLINE_S = 0.5
SHOWN = 100
_PLAIN = re.compile(r"[a-z0-9_-]*", re.ASCII)

Completer = Callable[[typer.Context, str], list[str]]


def _completer(found: Callable[[RegistryClient, str], Any]) -> Completer:
    """Args: found: resources, of which those that begin with the text are offered."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        if not _PLAIN.fullmatch(incomplete):
            return []
        root = ctx.find_root().params
        if root.get("context_name"):
            os.environ["CITYFLEET_CONTEXT"] = root["context_name"]
        given = ctx.params
        try:
            with connect(given.get("registry") or "", given.get("config"), given.get("data")) as client:
                ids = [resource.name.rpartition("/")[2] for resource in found(client, incomplete)]
        except Exception:  # whatever it is: no ids
            return []
        return [each for each in ids if each.startswith(incomplete)][:SHOWN]

    return complete


def _devices(client: RegistryClient, beginning: str) -> Any:
    request = device_pb2.ListDevicesRequest(filter=f"device_id = {quoted(beginning + '*')}", page_size=SHOWN)
    request.read_mask.paths.append("name")
    return client.devices.ListDevices(request, timeout=DEADLINE_S).devices


def _sites(client: RegistryClient, beginning: str) -> Any:
    request = site_pb2.ListSitesRequest(filter=f"site_id = {quoted(beginning + '*')}", page_size=SHOWN)
    return client.sites.ListSites(request, timeout=DEADLINE_S).sites


device_ids = _completer(_devices)
site_ids = _completer(_sites)
ward_codes = _completer(
    lambda client, _: client.wards.ListWards(site_pb2.ListWardsRequest(page_size=1000), timeout=DEADLINE_S).wards
)
type_ids = _completer(
    lambda client, _: (
        client.types.ListDeviceTypes(
            device_type_pb2.ListDeviceTypesRequest(page_size=1000), timeout=DEADLINE_S
        ).device_types
    )
)
metric_ids = _completer(
    lambda client, _: (
        client.metrics.ListMetrics(metric_pb2.ListMetricsRequest(page_size=1000), timeout=DEADLINE_S).metrics
    )
)
group_ids = _completer(
    lambda client, _: client.groups.ListGroups(group_pb2.ListGroupsRequest(page_size=1000), timeout=DEADLINE_S).groups
)
query_ids = _completer(
    lambda client, _: (
        client.groups.ListSavedQueries(
            group_pb2.ListSavedQueriesRequest(page_size=1000), timeout=DEADLINE_S
        ).saved_queries
    )
)
operator_ids = _completer(
    lambda client, _: (
        client.operators.ListOperators(operator_pb2.ListOperatorsRequest(page_size=1000), timeout=DEADLINE_S).operators
    )
)
account_ids = _completer(
    lambda client, _: (
        client.access.ListAccounts(access_pb2.ListAccountsRequest(page_size=1000), timeout=DEADLINE_S).accounts
    )
)
