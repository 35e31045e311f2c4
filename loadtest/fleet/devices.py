"""The fleet of the simulated city: which devices stand where, behind which gateway, and what each is like."""

from dataclasses import dataclass

from loadtest.fleet.noise import key_of, spread, unit
from loadtest.fleet.places import (
    CANALS,
    CENTRE_LAT,
    CENTRE_LON,
    GAUGES,
    KM_PER_DEGREE_LAT,
    KM_PER_DEGREE_LON,
    Gauge,
    Spot,
    nearest_ward,
    wards,
)

GATEWAY = "gateway-bts"
RIVER = "gauge-river"
STREET = "gauge-street"
RAIN = "gauge-rain"
AIR = "air-monitor"
TRAFFIC = "traffic-counter"

METRICS = {
    GATEWAY: ("battery_pct", "rssi_dbm", "temperature_cel"),
    RIVER: ("water_level_m",),
    STREET: ("street_flood_depth_mm",),
    RAIN: ("rain_mm",),
    AIR: ("pm2_5_ug_m3", "pm10_ug_m3", "temperature_cel", "humidity_pct"),
    TRAFFIC: ("vehicle_count", "speed_km_h", "occupancy_pct"),
}

STREETS = (
    "Nguyễn Trãi", "Phạm Hùng", "Giải Phóng", "Láng", "Thái Hà", "Trường Chinh", "Phan Bội Châu", "Minh Khai",
    "Nguyễn Xiển", "Tố Hữu", "Võ Chí Công", "Hoàng Quốc Việt", "Xuân Thủy", "Tây Sơn", "Đại Cồ Việt", "Trần Duy Hưng",
    "Ngọc Hồi", "Phùng Hưng", "Cao Bá Quát", "Thụy Khuê", "Lê Văn Lương", "Quốc lộ 1", "Quốc lộ 6", "Quốc lộ 32",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CityDevice:
    """A device as it is registered. `gateway` empty: it has a connection of its own."""

    device_id: str
    device_type: str
    display_name: str
    spot: Spot
    lat: float
    lon: float
    gateway: str = ""
    gauge: Gauge | None = None

    @property
    def key(self) -> int:
        return key_of(self.device_id)

    @property
    def x_km(self) -> float:
        return (self.lon - CENTRE_LON) * KM_PER_DEGREE_LON

    @property
    def y_km(self) -> float:
        return (self.lat - CENTRE_LAT) * KM_PER_DEGREE_LAT


def fleet(seed: int, count: int) -> list[CityDevice]:
    """`count` devices, gateways first, spread over all wards as far as `count` allows (from 300 on: every ward).

    Raises: ValueError for fewer than 20 devices.
    """
    if count < 20:
        raise ValueError("a city needs at least 20 devices")
    spots = wards()
    rivers = GAUGES + CANALS
    gateway_count = min(len(spots), max(2, count // 7))
    river_count = min(len(rivers), max(2, count // 20))
    rain_count = min(len(spots), count // 7)
    air_count = count * 15 // 100
    street_count = count * 17 // 100
    traffic_count = count - gateway_count - river_count - rain_count - air_count - street_count

    devices = [
        _at(seed, f"gw-{spot.ward_code}", GATEWAY, f"BTS {spot.name}", spot) for spot in _evenly(spots, gateway_count)
    ]
    gateway_of = {device.spot.ward_code: device.device_id for device in devices}
    for gauge in rivers[:river_count]:
        spot = nearest_ward(gauge.lat, gauge.lon)
        name = f"{gauge.river}, {gauge.station}"
        devices.append(CityDevice(f"wl-{gauge.slug}", RIVER, name, spot, gauge.lat, gauge.lon, gauge=gauge))
    for spot in _evenly(spots, rain_count):
        name = f"Rain {spot.name}"
        devices.append(_at(seed, f"rain-{spot.ward_code}", RAIN, name, spot, gateway_of.get(spot.ward_code, "")))
    for number, spot in enumerate(_evenly(spots, air_count)):
        # Every other air monitor is a small one that talks to its ward's gateway.
        gateway = gateway_of.get(spot.ward_code, "") if number % 2 else ""
        devices.append(_at(seed, f"air-{spot.ward_code}-{number:03d}", AIR, f"Air {spot.name}", spot, gateway))
    urban_first = sorted(spots, key=lambda spot: not spot.is_urban)
    for kind, prefix, amount in ((STREET, "st", street_count), (TRAFFIC, "tc", traffic_count)):
        for number in range(amount):
            # Two of three in the urban wards.
            pool = spots if number % 3 == 2 else urban_first[:51]
            spot = pool[number % len(pool)]
            street = STREETS[int(unit(seed, key_of(f"{prefix}{number}"), 0) * len(STREETS))]
            device_id = f"{prefix}-{spot.ward_code}-{number:03d}"
            devices.append(_at(seed, device_id, kind, f"{street}, {spot.name}", spot))
    return devices


def _evenly(spots: tuple[Spot, ...], count: int) -> list[Spot]:
    if count <= len(spots):
        return [spots[number * len(spots) // count] for number in range(count)]
    return [spots[number % len(spots)] for number in range(count)]


def _at(seed: int, device_id: str, kind: str, name: str, spot: Spot, gateway: str = "") -> CityDevice:
    """Somewhere within about 700 m of the ward's point."""
    key = key_of(device_id)
    lat = round(spot.lat + spread(seed, key, 101, -0.7, 0.7) / KM_PER_DEGREE_LAT, 5)
    lon = round(spot.lon + spread(seed, key, 102, -0.7, 0.7) / KM_PER_DEGREE_LON, 5)
    return CityDevice(device_id, kind, name, spot, lat, lon, gateway)
