"""How long readings and rollups are kept: old partitions are dropped as a whole, old parts compressed harder."""

from datetime import UTC, date, datetime, timedelta

import structlog

from store.migrate import Ask
from store.settings import RetentionSettings

log = structlog.get_logger()
DAYS = {
    "readings": "readings_days",
    "readings_text": "readings_text_days",
    "readings_10min": "readings_10min_days",
    "readings_1h": "readings_1h_days",
    "readings_1d": "readings_1d_days",
    # What the store found of readings is of no use without them.
    "quality_flags": "readings_days",
    # As long as the rollups that they come from.
    "rain_10min": "readings_10min_days",
    "alarm_levels_10min": "readings_10min_days",
    "rain_1h": "readings_1h_days",
    "vn_aqi_1h": "readings_1h_days",
    "vn_aqi_1d": "readings_1d_days",
    "availability_1h": "readings_1h_days",
    "tests_1h": "readings_1h_days",
    "gateway_latency_1h": "readings_1h_days",
    "gateway_latency_6h": "readings_1h_days",
    "traffic_10min": "readings_10min_days",
    "traffic_state_10min": "readings_10min_days",
    "street_flood_traffic": "readings_10min_days",
    "traffic_1h": "readings_1h_days",
    "traffic_free_flow": "readings_1h_days",
    "traffic_typical": "readings_1h_days",
}
_RECOMPRESSED = ("readings", "readings_text")
_CODEC = "ZSTD(9)"


def enforce(ask: Ask, settings: RetentionSettings, today: date | None = None) -> list[tuple[str, str]]:
    """Drop what is too old and see to the compression; returns the partitions dropped, (table, partition).

    Raises: what `ask` does.
    """
    today = today or datetime.now(UTC).date()
    dropped = []
    for table, setting in DAYS.items():
        days: int = getattr(settings, setting)
        if not days:
            continue
        answer = ask(
            "SELECT DISTINCT partition, partition_id FROM system.parts WHERE active AND database = 'cityfleet' "
            f"AND table = '{table}' ORDER BY partition_id"
        )
        for partition, partition_id in (line.split("\t") for line in answer.splitlines()):
            if end_of(partition) <= today - timedelta(days=days):
                ask(f"ALTER TABLE cityfleet.{table} DROP PARTITION ID '{partition_id}'")
                log.info("retention_dropped", table=table, partition=partition)
                dropped.append((table, partition))
    for table in _RECOMPRESSED:
        _recompress(ask, table, settings.recompress_days)
    return dropped


def end_of(partition: str) -> date:
    """The day after a partition's last: 202601 is a month, 2026-01-05 a week from that Monday, 2026 a year."""
    if "-" in partition:
        return date.fromisoformat(partition) + timedelta(days=7)
    year = int(partition[:4])
    if len(partition) == 4:
        # Days of +07:00 begin up to seven hours before their date.
        return date(year + 1, 1, 2)
    month = int(partition[4:6])
    return date(year + month // 12, month % 12 + 1, 1)


def _recompress(ask: Ask, table: str, days: int) -> None:
    found = ask(
        f"SELECT extract(engine_full, 'toIntervalDay\\\\((\\\\d+)\\\\) RECOMPRESS') FROM system.tables "
        f"WHERE database = 'cityfleet' AND name = '{table}'"
    )
    if found == (str(days) if days else ""):
        return
    if days:
        # Parts of before are not rewritten for it: they follow when they are merged.
        ask(
            f"ALTER TABLE cityfleet.{table} MODIFY TTL toDateTime(ts) + toIntervalDay({days}) "
            f"RECOMPRESS CODEC({_CODEC}) SETTINGS materialize_ttl_after_modify = 0"
        )
    else:
        ask(f"ALTER TABLE cityfleet.{table} REMOVE TTL")
