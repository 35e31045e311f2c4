"""A city as it stands in the registry: sites, a gateway at each, the devices there, with labels and tokens. A million
devices stand at 12,000 sites; fewer at as many less. The same seed makes the same city, in any part of it."""

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from loadtest.fleet.devices import AIR, GATEWAY, METRICS, RAIN, RIVER, STREET, STREETS, TRAFFIC
from loadtest.fleet.noise import spread, unit
from loadtest.fleet.places import KM_PER_DEGREE_LAT, KM_PER_DEGREE_LON, wards

SITES_OF_A_MILLION = 12_000
TYPES = tuple(METRICS)
# Of a hundred devices that are no gateways.
_SHARES = ((STREET, 40), (TRAFFIC, 25), (AIR, 20), (RAIN, 13), (RIVER, 2))
_SENSORS = tuple(kind for kind, share in _SHARES for _ in range(share))
_PREFIXES = {STREET: "st", TRAFFIC: "tc", AIR: "air", RAIN: "rain", RIVER: "wl"}
_KINDS = ("bts",) * 7 + ("pole",) * 2 + ("bridge",)
OWNERS = ("viettel", "vnpt", "mobifone", "tnmt")
PROJECTS = 40
BATCHES = 500
COLUMNS = (
    "device_id", "device_type", "display_name", "gateway", "site_id", "ward_code", "latitude", "longitude",
    "external_id", "token", "labels.owner", "labels.project", "labels.batch",
)  # fmt: skip


class CitySite(NamedTuple):
    site_id: str
    display_name: str
    kind: str
    ward_code: str
    latitude: float
    longitude: float
    owner: str


class CityRow(NamedTuple):
    """A line of the import, in the order of COLUMNS; empty: nothing."""

    device_id: str
    device_type: str
    display_name: str
    gateway: str
    site_id: str
    ward_code: str
    latitude: float
    longitude: float
    external_id: str
    token: str
    owner: str
    project: str
    batch: str


class RegisteredCity:
    """`devices` of them, gateways included, at `sites` sites."""

    def __init__(self, devices: int, seed: int = 1) -> None:
        """Raises: ValueError for fewer than 100 devices."""
        if devices < 100:
            raise ValueError("a city of the registry needs at least 100 devices")
        self.devices = devices
        self.sites = max(1, round(devices * SITES_OF_A_MILLION / 1_000_000))
        self._seed = seed
        self._wards = wards()

    def site(self, number: int) -> CitySite:
        """Args: number: 0 to `sites` - 1."""
        spot = self._wards[number % len(self._wards)]
        kind = _KINDS[int(unit(self._seed, number, 1) * len(_KINDS))]
        street = STREETS[int(unit(self._seed, number, 2) * len(STREETS))]
        return CitySite(
            f"{kind}-{number:05d}",
            f"{street}, {spot.name}",
            kind,
            spot.ward_code,
            round(spot.lat + spread(self._seed, number, 3, -1.5, 1.5) / KM_PER_DEGREE_LAT, 5),
            round(spot.lon + spread(self._seed, number, 4, -1.5, 1.5) / KM_PER_DEGREE_LON, 5),
            OWNERS[int(unit(self._seed, number, 5) * len(OWNERS))],
        )

    def all_sites(self) -> Iterator[CitySite]:
        return (self.site(number) for number in range(self.sites))

    def rows(self) -> Iterator[CityRow]:
        """Site by site, each site's gateway first."""
        first = 0
        for number in range(self.sites):
            end = (number + 1) * self.devices // self.sites
            yield from self._at(self.site(number), number, first, end)
            first = end

    def device_id(self, number: int) -> str:
        """The id of one device in the order of `rows`. Args: number: 0 to `devices` - 1."""
        site = number * self.sites // self.devices
        while (site + 1) * self.devices // self.sites <= number:
            site += 1
        is_gateway = number == site * self.devices // self.sites
        return f"gw-{site:05d}" if is_gateway else f"{_PREFIXES[self._kind(number)]}-{number:07d}"

    def write_csv(self, path: Path) -> None:
        """The import's file."""
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(self.rows())

    def _kind(self, number: int) -> str:
        # A walk through the shares that is coprime to them: every run of a hundred devices has all kinds.
        return _SENSORS[number * 37 % len(_SENSORS)]

    def _at(self, site: CitySite, number: int, first: int, end: int) -> Iterator[CityRow]:
        gateway = f"gw-{number:05d}"
        project = f"project-{number % PROJECTS:02d}"
        for device in range(first, end):
            is_gateway = device == first
            kind = GATEWAY if is_gateway else self._kind(device)
            device_id = gateway if is_gateway else f"{_PREFIXES[kind]}-{device:07d}"
            # Every tenth is a LoRaWAN device, every other sensor has a connection of its own.
            external_id = f"70b3d57e{device:08x}" if device % 10 == 7 else ""
            behind = gateway if not is_gateway and device % 2 else ""
            batch = f"batch-{device * BATCHES // self.devices:03d}"
            yield CityRow(
                device_id, kind, site.display_name, behind, site.site_id, site.ward_code, site.latitude,
                site.longitude, external_id, token_of(device_id), site.owner, project, batch,
            )  # fmt: skip


def token_of(device_id: str) -> str:
    """The token that a device of the city comes with. Not secret: anybody can make it."""
    return hashlib.sha256(device_id.encode()).hexdigest()[:43]
