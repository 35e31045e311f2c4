"""Logging: a log that cannot be written stops nobody."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import structlog
from runtime.logging import LogSettings, configure
configure(LogSettings(format="json"), "ingest")
for number in range(1000):
    structlog.get_logger().warning("disk_full", number=number)
print("alive")
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_the_log_stops_nobody():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=full, timeout=60, check=False
        )
    assert done.stdout == b"alive\n"
