"""Lists and imports of many devices by the command line: as long as they are, they take no more memory."""

import json
import os
import subprocess
import sys
import tempfile

import pytest

from cityfleet.registry.v1 import device_pb2 as pb
from tests.support.registry import ROOT

pytestmark = pytest.mark.usefixtures("executed_processes")
DEVICES = 20_000
# Of a list of all beside a list of one page: a device takes some kB as a message, so all of them would take 40 MB.
MORE_MB = 20


@pytest.fixture(scope="module")
def database_kind():
    return "sqlite"


@pytest.fixture(scope="module")
def many(registry, stubs):
    def requests():
        for start in range(0, DEVICES, 5000):
            labels = {"owner": "tnmt", "batch": str(start)}
            rows = [
                pb.ImportRow(
                    row=row, device=pb.Device(name=f"devices/many-{row:06}", device_type="gauge", labels=labels)
                )
                for row in range(start, start + 5000)
            ]
            yield pb.ImportDevicesRequest(rows=rows)

    created = pb.ImportRowResult.OUTCOME_CREATED
    for answer in stubs.devices.ImportDevices(requests()):
        assert {result.outcome for result in answer.results} == {created}
    return registry


def listed(registry, path, *arguments):
    """Lines that came, and the most memory that the command took, MB."""
    environ = os.environ | {
        "CITYFLEET_DATA_DIR": str(registry.data_dir),
        "PYTHONPATH": f"{ROOT}:{ROOT / 'proto' / 'gen'}",
    }
    with path.open("wb") as out:
        command = [sys.executable, "-m", "cli.main", "device", "list", *arguments]
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=out)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    with path.open("rb") as found:
        return sum(1 for _ in found), used.ru_maxrss / 1024


@pytest.mark.parametrize("output", ["table", "csv"])
def test_a_list_of_all_takes_the_memory_of_one_page(many, tmp_path, output):
    few, least_mb = listed(many, tmp_path / "few", "-o", output, "--limit", "1000")
    every, most_mb = listed(many, tmp_path / "all", "-o", output)
    assert every >= DEVICES > few
    assert most_mb < least_mb + MORE_MB


def dry_run(registry, rows):
    """Rows that a dry run took from a pipe, and the most memory that the command took, MB."""
    environ = os.environ | {
        "CITYFLEET_DATA_DIR": str(registry.data_dir),
        "PYTHONPATH": f"{ROOT}:{ROOT / 'proto' / 'gen'}",
    }
    command = [sys.executable, "-m", "cli.main", "import", "devices", "-", "--dry-run", "-o", "json"]
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stdin=subprocess.PIPE, stdout=out)
        assert process.stdin is not None
        with process.stdin as pipe:
            pipe.write(b"device_id,device_type,display_name\n")
            for row in range(rows):
                pipe.write(b"piped-%06d,gauge,%s\n" % (row, b"x" * 200))
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        out.seek(0)
        (summary,) = json.load(out)
    return summary["created"], used.ru_maxrss / 1024


def test_an_import_of_any_length_takes_the_memory_of_some_requests(many):
    """What goes through grows with the file, what is held does not: each request has a bound, and few are under way."""
    few, least_mb = dry_run(many, 15_000)
    every, most_mb = dry_run(many, 45_000)
    assert (few, every) == (15_000, 45_000)
    assert most_mb < least_mb + 10
