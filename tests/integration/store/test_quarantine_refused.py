"""Rows that the store refused once go to their tables again; what it refuses still stays, with what it says now."""

import json
import time
from pathlib import Path
from uuid import UUID, uuid4

from store.client import open_client
from store.quarantine import Filter, Quarantine
from store.settings import StoreSettings
from tests.support.store import StoreHandle, running_store

TS = "2026-05-28T20:26:40.003Z"


def reading(device_num: int, value: float) -> bytes:
    row = {"device_num": device_num, "metric_num": 1, "ts": TS, "value": value, "quality": 1, "quality_reasons": 0}
    return json.dumps(row | {"ward_code": "00070", "received_at": TS}).encode()


def settings_of(store: StoreHandle) -> StoreSettings:
    return StoreSettings(url=store.url, admin_password=store.password("admin"))


async def test_only_what_the_store_takes_now_is_taken(tmp_path: Path) -> None:
    with running_store(tmp_path) as store:
        store.query("ALTER TABLE cityfleet.readings ADD CONSTRAINT small CHECK value < 1000", "admin")
        text = {"device_num": 3, "metric_num": 1, "ts": TS, "kind": "string", "value": "mưa\t\\", "quality": 2}
        rows: dict[UUID, tuple[str, bytes]] = {
            uuid4(): ("cityfleet.readings: VIOLATED_CONSTRAINT", reading(1, 10)),
            uuid4(): ("cityfleet.readings: VIOLATED_CONSTRAINT", reading(2, 2000)),
            uuid4(): ("cityfleet.readings_text: x", json.dumps(text | {"ward_code": "", "received_at": TS}).encode()),
            uuid4(): ("cityfleet.readings_text: x", b'{"value": {"base64": "/w=="}}'),
            uuid4(): ("cityfleet.migrations: x", b"{}"),
            uuid4(): ("cityfleet.readings: x", b"not JSON"),
            uuid4(): ("cityfleet.quarantine: x", b""),
        }
        ids = list(rows)
        client = await open_client(settings_of(store), tmp_path / "other", "admin")
        try:
            for _ in range(2):
                refused = await Quarantine(client).insert_refused(rows)
                assert set(refused) == {ids[1], *ids[3:]}
                assert "VIOLATED_CONSTRAINT" in refused[ids[1]]
                assert refused[ids[4]] == "cityfleet.migrations: x"
        finally:
            await client.close()
        wanted = "1\t2026-05-28 20:26:40.003\t10\n"
        for table in ("readings", "latest"):
            assert store.query(f"SELECT device_num, ts, value FROM cityfleet.{table} FINAL") == wanted
        assert store.query("SELECT value FROM cityfleet.readings_text FINAL FORMAT RawBLOB") == "mưa\t\\"


async def test_rows_are_found_shown_and_taken_out_in_order(tmp_path: Path) -> None:
    with running_store(tmp_path) as store:
        now_ms = time.time_ns() // 1_000_000
        for _ in range(2):  # many of one moment, so that a page ends between them
            store.query(
                "INSERT INTO cityfleet.quarantine (received_at, device_id, reason, readings, payload) SELECT "
                f"fromUnixTimestamp64Milli({now_ms} + intDiv(number, 50), 'UTC'), toString(number % 3), 'r', 2, "
                "repeat('\\xff', number) FROM numbers(500)",
                "admin",
            )
        client = await open_client(settings_of(store), tmp_path / "other", "admin")
        quarantine = Quarantine(client)
        try:
            for newest_first in (False, True):
                wanted = Filter(devices=("1", "2"), since_ms=now_ms + 1)
                pages = [page async for page in quarantine.pages(wanted, newest_first=newest_first, page_rows=37)]
                rows = [row for page in pages for row in page]
                assert len(rows) == len({row.id for row in rows}) == (await quarantine.totals(wanted)).payloads
                assert [row.received_ms for row in rows] == sorted(
                    (row.received_ms for row in rows), reverse=newest_first
                )
            rows.reverse()
            for at in range(0, len(rows), 41):
                part = rows[at : at + 41]
                payloads = await quarantine.payloads(part, wanted)
                assert {row.id: row.size_bytes for row in part} == {one: len(text) for one, text in payloads.items()}
                assert set(b"".join(payloads.values())) <= {0xFF}
            left = (await quarantine.totals(Filter())).payloads
            await quarantine.remove(rows[:100])
            await quarantine.remove(rows[50:100])
            assert (await quarantine.totals(Filter())).payloads == left - 100
            assert not {row.id for row in rows[:100]} & set(await quarantine.payloads(rows, wanted))
            await quarantine.free_removed()
            await quarantine.purge(Filter(devices=("1",)))
            assert (await quarantine.totals(Filter(devices=("1",)))).payloads == 0
        finally:
            await client.close()
