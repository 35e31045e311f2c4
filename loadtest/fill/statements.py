"""The SQL that makes readings and dimensions inside the engine. Every value in it is ours."""

from collections.abc import Sequence

from loadtest.fill.kinds import KINDS, LOAD_METRIC, METRICS
from loadtest.fill.plan import Group, Slice
from loadtest.fleet.places import GAUGES, wards

# One block of the engine holds the readings of so many devices; whole slices become one part for each month.
SETTINGS = {
    "max_threads": 1,
    "max_insert_threads": 1,
    "max_block_size": 16,
    "min_insert_block_size_rows": 8_000_000,
    "min_insert_block_size_bytes": 0,
    "insert_deduplicate": 0,
    "max_partitions_per_insert_block": 0,
    "short_circuit_function_evaluation": "enable",
}
_COLUMNS = "device_num, metric_num, ts, value, quality, quality_reasons, ward_code, received_at"
_LOCAL_S = 7 * 3600


def readings(part: Slice, table: str = "cityfleet.readings") -> str:
    """INSERT of a slice, in the order of the table's key. A device has its own second within the interval."""
    measured = list(zip(part.group.kind.measured, part.group.intervals_s(), strict=True))
    numbers = ", ".join(f"(toUInt16({METRICS[one.metric]}), toUInt32({interval}))" for one, interval in measured)
    cases = [f"metric = {METRICS[one.metric]}, {one.value}" for one, _ in measured[:-1]]
    value = f"multiIf({', '.join([*cases, measured[-1][0].value])})" if cases else measured[-1][0].value
    # One in 5,000 fails its gross range, as ingest would have found.
    return (
        f"INSERT INTO {table} ({_COLUMNS}) SELECT d, metric, at, "  # noqa: S608
        "if(is_wrong, -9999., toFloat64(value)), if(is_wrong, 4, 1), if(is_wrong, 1, 0), ward, "
        "at + toIntervalMillisecond(300 + toUInt32(u * 900)) FROM ("
        "SELECT d, ward, metric, t, u, toDateTime64(t, 3, 'UTC') AS at, u > 0.9998 AS is_wrong, "
        f"{value} AS value FROM ("
        "SELECT d, ward, metric, t, cityHash64(d, metric, t) / 18446744073709551616. AS u, "
        f"((t + {_LOCAL_S}) % 86400) / 3600 AS hour, "
        "exp(-pow((hour - 7.5) / 1.5, 2)) + exp(-pow((hour - 17.5) / 1.5, 2)) AS rush FROM ("
        "SELECT d, ward, metric, arrayJoin(range(toUInt32(first_t), toUInt32("
        f"{part.to_s}), step)) AS t FROM ("
        "SELECT d, ward, m.1 AS metric, m.2 AS step, "
        f"toUInt32({part.from_s}) + (d * 7919 % step + step - {part.from_s} % step) % step AS first_t FROM ("
        f"SELECT toUInt32({part.first} + number) AS d, {_ward_codes()}[d % {len(wards())} + 1] AS ward, "
        f"arrayJoin([{numbers}]) AS m FROM numbers({part.count})"
        ")))))"
    )


def latest(group: Group, until_s: int) -> str:
    """INSERT of what ingest would have kept of these readings as the newest."""
    longest_s = max(group.intervals_s())
    sql = readings(Slice(group, group.first, group.count, until_s - longest_s, until_s), "cityfleet.latest")
    return f"{sql} ORDER BY at DESC LIMIT 1 BY d, metric"


def flags(devices: int) -> str:
    """INSERT of what the store's own tests would have found: a reading in 200 of a device in ten."""
    return (
        "INSERT INTO cityfleet.quality_flags (metric_num, device_num, ts, quality, quality_reasons, ward_code, "  # noqa: S608
        "version, is_deleted) SELECT metric_num, device_num, ts, 3, 32, ward_code, 1, 0 FROM cityfleet.readings "
        f"WHERE device_num IN (SELECT toUInt32(10 * number + 7) FROM numbers({devices // 10})) AND quality = 1 "
        "AND cityHash64(device_num, metric_num, ts) % 200 = 0"
    )


def dimensions(made: Sequence[Group], version: int) -> list[str]:
    """INSERTs of wards, metrics, types and devices, as the registry would write them."""
    spots = wards()
    ward_rows = ", ".join(
        f"({_text(spot.ward_code)}, {_text(spot.name)}, '{'ward' if spot.is_urban else 'commune'}', '01', {version})"
        for spot in spots
    )
    units = {LOAD_METRIC: "dB"} | {one.metric: one.unit for kind in KINDS for one in kind.measured}
    metric_rows = ", ".join(
        f"({number}, {_text(metric)}, {_text(units[metric])}, '', {version})" for metric, number in METRICS.items()
    )
    type_rows = ", ".join(_type_row(number, group, version) for number, group in enumerate(made, 1))
    return [
        f"INSERT INTO cityfleet.wards (ward_code, name, kind, province_code, version) VALUES {ward_rows}",  # noqa: S608
        f"INSERT INTO cityfleet.metrics (metric_num, metric, unit, description, version) VALUES {metric_rows}",  # noqa: S608
        "INSERT INTO cityfleet.device_types (type_num, device_type, display_name, is_gateway, expected_interval_s, "  # noqa: S608
        "metric_nums, metric_intervals_s, metric_min_values, metric_max_values, metric_resolutions, metric_tests, "
        f"version) VALUES {type_rows}",
        *(_devices(group, made[0], version) for group in made),
    ]


def _type_row(number: int, group: Group, version: int) -> str:
    measured = group.kind.measured
    return (
        f"({number}, '{group.kind.device_type}', '{group.kind.device_type}', "
        f"{'true' if group.kind.device_type == 'gateway-bts' else 'false'}, {group.interval_s}, "
        f"{[METRICS[one.metric] for one in measured]}, {group.intervals_s()}, {[one.low for one in measured]}, "
        f"{[one.high for one in measured]}, {[0] * len(measured)}, "
        f"{[''] * len(measured)}, {version})"
    )


def _devices(group: Group, gateways: Group, version: int) -> str:
    spots = wards()
    kind = group.kind
    labels = "map('vendor', concat('vendor-', toString(d % 7)))"
    if kind.device_type == "gauge-river":
        slugs = [gauge.slug for gauge in GAUGES]
        labels = f"if(number < {len(slugs)}, map('station', {slugs}[number + 1]), {labels})"
    # Gateways speak for devices of their own ward: where there is one in each ward, numbers lie as many wards apart.
    each = gateways.count // len(spots)
    beside = (
        f"(d - {gateways.first}) % {len(spots)} + {len(spots)} * (intDiv(d, {len(spots)}) % {each})"
        if each
        else f"d % {gateways.count}"
    )
    gateway = f"concat('gw-', toString({gateways.first} + {beside}))" if kind.prefix != "gw" else "''"
    return (
        "INSERT INTO cityfleet.devices (device_num, device_id, device_type, display_name, ward_code, site, site_id, "  # noqa: S608
        "gateway_id, latitude, longitude, labels, hardware_revision, state, expected_interval_s, create_time, "
        "update_time, version) SELECT "
        f"toUInt32({group.first} + number) AS d, concat('{kind.prefix}-', toString(d)), '{kind.device_type}', "
        f"concat('{kind.device_type} ', toString(d)), {_ward_codes()}[d % {len(spots)} + 1], '', "
        f"concat('bts-', toString(d % {gateways.count})), {gateway}, "
        f"{[spot.lat for spot in spots]}[d % {len(spots)} + 1] + (cityHash64(d, 'lat') % 1000 - 500) / 80000, "
        f"{[spot.lon for spot in spots]}[d % {len(spots)} + 1] + (cityHash64(d, 'lon') % 1000 - 500) / 80000, "
        f"{labels}, '', 'active', {group.interval_s}, now64(3, 'UTC') - INTERVAL 90 DAY, now64(3, 'UTC'), {version} "
        f"FROM numbers({group.count})"
    )


def _ward_codes() -> str:
    return str([spot.ward_code for spot in wards()])


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
