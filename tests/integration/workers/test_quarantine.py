"""Quarantine with two workers: rows of both have ids of their own, and any worker takes a replay."""

import json

from tests.support import mqtt_packets as mq
from tests.support.provision import Provisioner
from tests.support.workers import client_on, per_worker, until

DEVICE = "wl-7"
T0 = 1_767_350_000


def listed(platform, *arguments):
    done = platform.cli("quarantine", "list", "--device", DEVICE, "-o", "json", *arguments)
    return json.loads(done.stdout)


async def test_rows_of_both_workers_are_replayed_through_either(platform, tokens):
    for number in (0, 1):
        client = await client_on(platform, number, DEVICE, tokens[DEVICE], "same-payload")
        for second in range(3):
            payload = json.dumps([{"n": "rain_mm", "t": T0 + 10 * number + second, "v": 1}]).encode()
            client.send(mq.publish(f"cf/v1/d/{DEVICE}/telemetry".encode(), payload, second + 1))
            assert (await client.reply()).type == mq.PUBACK
        await client.__aexit__(None, None, None)
    await until(lambda: len(listed(platform)) == 6)
    rows = listed(platform)
    assert len({row["id"] for row in rows}) == 6

    with Provisioner(platform.registry_channel()) as fleet:
        fleet.type("gauge", {"water_level_m": (0, 20), "rain_mm": None})
    arguments = ("quarantine", "replay", "--device", DEVICE, "-o", "json")
    # A call each goes over a connection of its own, to either worker: both must know the type as it is now.
    ready = 0
    while ready < 6:
        outcomes = json.loads(platform.cli(*arguments, "--dry-run").stdout)
        ready = ready + 1 if all(row["becomes"] == "stored" for row in outcomes) else 0
    for row in rows:
        done = platform.cli("quarantine", "replay", row["id"], "--yes", "-o", "json")
        assert json.loads(done.stdout) == {"stored": 1, "readings": 1, "stay": {}}
    assert listed(platform) == []
    platform.wait_for(
        f"SELECT count(), uniqExact(ts) FROM ioc.readings WHERE device_id = '{DEVICE}' AND metric = 'rain_mm'",
        [["6", "6"]],
    )
    taken = per_worker(platform, "cityfleet_ingest_replayed_payloads_total", 'outcome="taken"')
    assert sum(taken.values()) == 6
