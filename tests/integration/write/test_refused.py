"""What the store refuses: only the bad rows go to quarantine, nothing is stored twice, no row pays for the store."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from loadtest.fault.proxy import PASS, Fault, ThreadedProxy
from tests.support.native_blocks import Reading, Refused, Text
from tests.support.segments import Node, until
from tests.support.store import StoreHandle

START_MS = 1_780_000_000_000
INSERTS = b"insert_deduplication_token"


@contextlib.contextmanager
def constraint(store: StoreHandle, table: str, check: str) -> Iterator[None]:
    store.query(f"ALTER TABLE cityfleet.{table} ADD CONSTRAINT refuses CHECK {check}", "admin")
    try:
        yield
    finally:
        store.query(f"ALTER TABLE cityfleet.{table} DROP CONSTRAINT IF EXISTS refuses", "admin")


def stored(store: StoreHandle, device: int, table: str = "readings") -> list[tuple[int, float]]:
    """(device_num, value) without FINAL: copies would show."""
    rows = store.rows(
        f"SELECT device_num, value FROM cityfleet.{table}"
        f" WHERE device_num BETWEEN {device} AND {device + 999} ORDER BY ALL"
    )
    return [(int(number), float(value)) for number, value in rows]


def quarantined(store: StoreHandle, device: int) -> list[dict[str, object]]:
    rows = store.rows(
        "SELECT id, detail, readings, payload FROM cityfleet.quarantine"
        " WHERE reason = 'refused_by_store' AND payload != '' ORDER BY payload FORMAT TSVRaw"
    )
    found = [{"id": row[0], "detail": row[1], "readings": int(row[2]), **json.loads(row[3])} for row in rows]
    return [row for row in found if device <= row["device_num"] < device + 1000]


async def test_only_the_bad_rows_go_to_quarantine(store: StoreHandle, node: Node, device: int) -> None:
    rows = [Reading(device + n, START_MS + n, 9e9 if n in (3, 500, 501) else n) for n in range(700)]
    segment = node.segment(rows)
    with constraint(store, "readings", "value < 1e9"):
        await node.write([segment])
    assert stored(store, device) == [(row.device_num, row.value) for row in rows if row.value < 1e9]
    assert stored(store, device, "latest") == stored(store, device)
    found = quarantined(store, device)
    assert [row["device_num"] for row in found] == [device + 3, device + 500, device + 501]
    assert found[0]["value"] == 9e9
    assert found[0]["ts"] == "2026-05-28T20:26:40.003Z"
    assert "VIOLATED_CONSTRAINT" in str(found[0]["detail"])
    assert node.state.readings == [697, 3, 0]
    assert not segment.path.exists()


async def test_a_crash_in_the_middle_of_the_hunt_leaves_no_copies(
    tmp_path: Path, store: StoreHandle, proxy: ThreadedProxy, device: int
) -> None:
    node = Node(tmp_path, store, proxy.url)
    rows = [Reading(device + n, START_MS, 9e9 if n % 10 == 0 else n) for n in range(60)]
    segment = node.segment(rows)
    with constraint(store, "readings", "value < 1e9"):
        for crash in (3, 7, 15, 30):
            proxy.counts.clear()
            async with node.writing([segment]) as (_, task, _):
                await until(lambda crash=crash: proxy.counts["requests"] >= crash, task)
        await node.write([segment])
    assert stored(store, device) == [(row.device_num, row.value) for row in rows if row.value < 1e9]
    found = quarantined(store, device)
    assert len(found) == 6
    assert len({row["id"] for row in found}) == 6
    assert node.state.readings == [54, 6, 0]


async def test_texts_and_quarantine_rows_are_cut_out_too(store: StoreHandle, node: Node, device: int) -> None:
    node.append(texts=[Text(device + n, START_MS, b"fine") for n in range(5)])
    node.append(
        texts=[Text(device + 5, START_MS, b"bad\xff"), Text(device + 6, START_MS, b"fine")],
        quarantine=[Refused(START_MS + device, b"good"), Refused(START_MS + device, b"bad", readings=4)],
    )
    segment = node.spool.close_segment()
    with (
        constraint(store, "readings_text", "NOT startsWith(value, 'bad')"),
        constraint(store, "quarantine", "payload != 'bad'"),
    ):
        await node.write([segment])
    assert store.rows(
        f"SELECT device_num - {device} FROM cityfleet.readings_text WHERE device_num BETWEEN {device} AND {device + 9}"
        " ORDER BY ALL"
    ) == [["0"], ["1"], ["2"], ["3"], ["4"], ["6"]]
    (bad,) = quarantined_texts(store, device)
    assert json.loads(bad)["value"] == {"base64": "YmFk/w=="}
    kept = store.rows(
        f"SELECT reason, readings, payload FROM cityfleet.quarantine WHERE received_at ="
        f" fromUnixTimestamp64Milli({START_MS + device}) ORDER BY ALL"
    )
    assert kept == [["malformed_payload", "1", "good"], ["refused_by_store", "4", ""]]
    assert node.state.readings == [0, 6, 6]


def quarantined_texts(store: StoreHandle, device: int) -> list[str]:
    return [
        row[0]
        for row in store.rows(
            "SELECT payload FROM cityfleet.quarantine WHERE reason = 'refused_by_store' AND payload LIKE"
            f" '%\"device_num\":{device + 5},%' FORMAT TSVRaw"
        )
    ]


async def test_a_store_that_refuses_every_row_is_waited_for(store: StoreHandle, node: Node, device: int) -> None:
    first = node.segment([Reading(device + n, START_MS, n) for n in range(10)])
    second = node.segment([Reading(device + n, START_MS + 1, n) for n in range(10)])
    third = node.segment([Reading(device + n, START_MS + 2, n) for n in range(10)])
    with constraint(store, "readings", "value < -1"):
        writing = node.writing([first, second, third])
        stage, task, pipe = await writing.__aenter__()
        pipe.close()
        await until(lambda: node.state.retries >= 3, task)
        assert "store_refuses" in stage.problems()
        assert "VIOLATED_CONSTRAINT" in node.state.unavailable
    async with asyncio.timeout(60):
        await task
    await writing.__aexit__(None, None, None)
    assert len(stored(store, device)) == 30
    assert quarantined(store, device) == []
    assert node.state.readings == [30, 0, 0]
    assert stage.problems() == {}


async def test_a_segment_of_bad_rows_alone_waits_until_others_prove_it(
    store: StoreHandle, node: Node, device: int
) -> None:
    bad = node.segment([Reading(device, START_MS, 9e9)])
    with constraint(store, "readings", "value < 1e9"):
        async with node.writing([bad]) as (stage, task, pipe):
            await until(lambda: "store_refuses" in stage.problems(), task)
            assert node.state.readings == [0, 0, 0]
            pipe.put_nowait(node.segment([Reading(device + 1, START_MS, 1)]))
            await until(lambda: sum(node.state.readings) == 2, task)
            assert stage.problems() == {}
    assert stored(store, device) == [(device + 1, 1.0)]
    assert [row["device_num"] for row in quarantined(store, device)] == [device]


async def test_latest_without_a_place_does_not_hold_readings(store: StoreHandle, node: Node, device: int) -> None:
    with constraint(store, "latest", f"device_num != {device + 1}"):
        await node.write([node.segment([Reading(device + n, START_MS, n) for n in range(4)])])
    assert len(stored(store, device)) == 4
    assert [number - device for number, _ in stored(store, device, "latest")] == [0, 2, 3]
    assert node.state.readings == [4, 0, 0]
    assert quarantined(store, device) == []


async def test_an_insert_that_was_committed_but_not_answered_for_is_stored_once(
    tmp_path: Path, store: StoreHandle, proxy: ThreadedProxy, device: int
) -> None:
    node = Node(tmp_path, store, proxy.url)
    segment = node.segment([Reading(device + n, START_MS, n) for n in range(100)])
    for fault in (Fault("answer", times=2, match=INSERTS), Fault("reset", times=3, match=INSERTS)):
        proxy.switch(fault)
        async with node.writing([segment]) as (_, task, pipe):
            if fault.kind == "reset":
                pipe.close()
                await task
            else:
                await until(lambda: proxy.counts["answer"] >= 2, task)
    assert len(stored(store, device)) == 100
    assert node.state.readings == [100, 0, 0]


async def test_while_the_store_is_away_only_probes_are_sent(
    tmp_path: Path, store: StoreHandle, proxy: ThreadedProxy, device: int
) -> None:
    node = Node(tmp_path, store, proxy.url)
    segment = node.segment([Reading(device, START_MS + n, n) for n in range(20_000)])
    proxy.switch(Fault("answer", status=503))
    async with node.writing([segment]) as (stage, task, pipe):
        pipe.close()
        await until(lambda: node.state.retries >= 1, task)
        sent = proxy.counts["up_bytes"]
        asked = proxy.counts["requests"]
        await until(lambda: proxy.counts["requests"] >= asked + 3, task)
        assert "store" in stage.problems()
        assert proxy.counts["up_bytes"] - sent < 10_000
        proxy.switch(PASS)
        async with asyncio.timeout(60):
            await task
    assert len(stored(store, device)) == 20_000
