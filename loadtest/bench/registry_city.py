"""The city put into a registry, as an engineer does it: types, sites by the API, devices by `cityfleet import`."""

import json
import time
from itertools import islice
from pathlib import Path

from cityfleet.registry.v1 import device_type_pb2, device_type_pb2_grpc, site_pb2, site_pb2_grpc
from loadtest.bench.processes import cpu_s, family
from loadtest.bench.registry_stage import RegistryStage
from loadtest.fleet.devices import GATEWAY, METRICS
from loadtest.fleet.registered import CitySite, RegisteredCity

_SITES_A_CALL = 500
# Nothing falls silent, by the clock alone, while it is measured.
_INTERVAL_S = 3600


async def put_types(stage: RegistryStage) -> None:
    async with stage.channel() as channel:
        types = device_type_pb2_grpc.DeviceTypeServiceStub(channel)
        for name, metrics in METRICS.items():
            kind = device_type_pb2.DeviceType(
                name=f"deviceTypes/{name}",
                is_gateway=name == GATEWAY,
                expected_interval_s=_INTERVAL_S,
                metrics=[device_type_pb2.DeviceTypeMetric(metric=metric) for metric in metrics],
            )
            await types.ApplyDeviceType(
                device_type_pb2.ApplyDeviceTypeRequest(device_type=kind), metadata=stage.metadata
            )


async def put_sites(stage: RegistryStage, city: RegisteredCity) -> float:
    """Create all sites, some hundreds by a call; returns sites a second."""
    started = time.monotonic()
    async with stage.channel() as channel:
        sites = site_pb2_grpc.SiteServiceStub(channel)
        left = iter(city.all_sites())
        while batch := list(islice(left, _SITES_A_CALL)):
            requests = [site_pb2.UpdateSiteRequest(site=_message(site), allow_missing=True) for site in batch]
            await sites.BatchUpdateSites(site_pb2.BatchUpdateSitesRequest(requests=requests), metadata=stage.metadata)
    return city.sites / (time.monotonic() - started)


def import_devices(stage: RegistryStage, path: Path, devices: int) -> dict[str, float]:
    """Import the file; devices a second from the command's start to its end, CPU of both sides, sampled at the end."""
    before_s, started = stage.cpu_s(), time.monotonic()
    process = stage.start_cli("import", "devices", str(path), "-o", "json")
    cli_cpu_s = 0.0
    while process.poll() is None:
        cli_cpu_s = max(cli_cpu_s, sum(map(cpu_s, family(process.pid))))
        time.sleep(0.2)
    took_s = time.monotonic() - started
    printed, complaint = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the import failed with {process.returncode}\n{printed}\n{complaint}")
    (summary,) = json.loads(printed)
    if summary["created"] != devices:
        raise RuntimeError(f"{summary['created']} of {devices} devices were created")
    return {
        "per_s": devices / took_s,
        "registry_cpu_us": (stage.cpu_s() - before_s) / devices * 1e6,
        "cli_cpu_us": cli_cpu_s / devices * 1e6,
    }


def _message(site: CitySite) -> site_pb2.Site:
    return site_pb2.Site(
        name=f"sites/{site.site_id}",
        display_name=site.display_name,
        kind=site.kind,
        ward_code=site.ward_code,
        latitude=site.latitude,
        longitude=site.longitude,
        labels={"owner": site.owner},
    )
