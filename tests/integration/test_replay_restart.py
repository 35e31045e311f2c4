"""Ingest is killed in the middle of a replay: the run waits for it, everything is stored once, nothing stays behind."""

import json
import os
import signal
import subprocess
import sys

from loadtest.platform import running_platform
from tests.support.deadline import until
from tests.support.provision import Provisioner

DEVICE, ROWS = "restart-01", 8_000
# As ingest would have put them there; large, so that one request does not take them all.
INSERT = f"""
INSERT INTO cityfleet.quarantine
(received_at, device_id, topic, transport, encoding, reason, detail, readings, payload)
SELECT now64(3) - number / 1000, '{DEVICE}', 'cf/v1/d/{DEVICE}/telemetry', 'mqtt', 'senml-json', 'unknown_metric', '',
    1, concat(
        '[{{"n":"water_level_m","t":', toString(1767350000 + number), ',"v":', toString(number % 20), '}}]',
        repeat(' ', 4000)
    )
FROM numbers({ROWS})
"""


def test_a_replay_outlives_a_kill_of_ingest(tmp_path):
    with running_platform(tmp_path) as platform, Provisioner(platform.registry_channel(), platform.mqtt_port) as fleet:
        fleet.type("gauge", {"water_level_m": (0, 20)})
        fleet.device(DEVICE, "gauge")
        platform.query(INSERT, "admin")
        replay = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "quarantine", "replay", "--all", "--yes", "-o", "json"],
            env={**platform.environment, "CITYFLEET_CONFIG": str(platform.config)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            taken = 'cityfleet_ingest_replayed_payloads_total{outcome="taken"}'
            until(lambda: platform.metric("ingest", taken) > 0 or replay.poll() is not None)
            os.kill(platform.pid("ingest"), signal.SIGKILL)
            out, said = replay.communicate(timeout=100)
        finally:
            replay.kill()
            replay.wait()
        assert replay.returncode == 0, said
        assert json.loads(out) == {"stored": ROWS, "readings": ROWS, "stay": {}}
        platform.wait_for(
            f"SELECT count(), uniqExact(ts), sum(value) FROM ioc.readings WHERE device_id = '{DEVICE}'",
            [[str(ROWS), str(ROWS), str(sum(number % 20 for number in range(ROWS)))]],
        )
        assert platform.query("SELECT count() FROM cityfleet.quarantine FINAL") == [["0"]]
