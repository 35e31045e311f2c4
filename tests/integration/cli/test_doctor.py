"""`cityfleet doctor` on real deployments: a well one, one that never ran, one that was killed, and damaged ones."""

import json
import os
import signal
import time
from base64 import b64encode
from urllib.request import Request, urlopen

import msgspec
import pytest

from cli.doctor import examine
from cli.doctor_checks import store
from cli.doctor_checks.check import Status
from cli.doctor_checks.deployment import ROLES, Deployment
from cli.settings import Settings, load_settings
from loadtest.platform import Platform, free_ports, running_platform
from runtime import runfile
from tests.support.kill import kill
from tests.support.registry import wait_until


def findings(platform: Platform, status: int) -> dict[str, dict[str, str]]:
    done = platform.cli("doctor", "-o", "json", check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return {one["name"]: one for one in json.loads(done.stdout)}


def test_a_platform_that_runs_has_nothing_to_mend(platform, fleet):
    fleet.device("wl-doctor-1", "gauge")
    found = findings(platform, 0)
    assert {one["status"] for one in found.values()} <= {"ok", "warn", "skip"}
    for name in (
        "role.store", "role.registry", "role.ingest", "ledger", "ledger.run", "spool.set_aside",
        "ingest.durability", "ingest.memory", "store.answers", "store.schema", "store.deduplication", "store.parts",
        "store.clock", "host.secrets",
    ):  # fmt: skip
        assert found[name]["status"] == "ok", found[name]
    for stage in ("transport", "decode", "resolve", "batch", "spool", "write"):
        assert found[f"ledger.{stage}"]["status"] == "ok"
    table = platform.cli("doctor").stdout
    assert "0 to mend" in table
    assert "store.deduplication" in table


def test_a_table_that_would_store_a_retry_twice_is_named(platform):
    alter = "ALTER TABLE cityfleet.latest MODIFY SETTING non_replicated_deduplication_window = "
    platform.query(f"{alter} 0", "admin")
    try:
        found = findings(platform, 1)
    finally:
        platform.query(f"{alter} 10000", "admin")
    assert found["store.deduplication"]["status"] == "fail"
    assert found["store.deduplication"]["what"].endswith("stored twice in cityfleet.latest")


def test_answers_of_now_that_are_not_made_are_told(platform, fleet, monkeypatch):
    fleet.device("wl-doctor-2", "gauge")
    for _ in wait_until("the store knows a device"):
        if platform.query("SELECT device_num FROM cityfleet.devices LIMIT 1", "admin"):
            break
    monkeypatch.setattr(store, "_ANSWERS_OLD_S", -1.0)
    settings = load_settings(platform.config, platform.data_dir)
    rollup = msgspec.structs.replace(settings.store.rollup, enabled=True)
    settings = msgspec.structs.replace(settings, store=msgspec.structs.replace(settings.store, rollup=rollup))
    (found,) = store.rollups(Deployment(settings))
    assert found.status is Status.WARN
    assert "were not made for" in found.what
    assert "rollup status" in found.remedy


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A platform with open formats that ran, and was stopped in order. The last test breaks it."""
    share = "share.enabled = true\nshare.listen.port = 0\nshare.http.port = 0\n"
    with running_platform(tmp_path_factory.mktemp("stopped"), share) as platform:
        for _ in wait_until("open formats are served"):
            if found := runfile.read(platform.data_dir, "share"):
                break
        request = Request(f"{found.addresses['http']}/ngsi-ld/v1/types")
        request.add_header("Authorization", f"Basic {b64encode(f'reader:{reader(platform)}'.encode()).decode()}")
        with urlopen(request, timeout=60) as answer:
            assert json.loads(answer.read())["typeList"] == []
        assert findings(platform, 0)["role.share"]["status"] == "ok"
        assert platform.stop() == 0
        yield platform


def reader(platform: Platform) -> str:
    return (platform.data_dir / "secrets" / "store-reader").read_text().strip()


def test_a_deployment_that_was_stopped_is_told_by_its_files(stopped):
    found = findings(stopped, 0)
    for role in ("store", "registry", "ingest", "share"):
        assert (found[f"role.{role}"]["status"], found[f"role.{role}"]["what"]) == ("warn", "not running")
    assert found["ledger.run"]["what"].startswith("stopped at ")
    assert found["store.schema"]["status"] == "skip"
    assert found["spool.fsync"]["status"] in ("ok", "warn")


def test_each_thing_that_is_wrong_is_found_by_its_own_check(stopped):
    ingest = stopped.data_dir / "ingest"
    ledger = json.loads((ingest / "ledger.json").read_bytes())
    ledger["run"]["entries"]["received"] += 5
    ledger["run"]["breaks"] = [{"stage": "batch", "missing": 5, "unit": "readings", "text": "resolve gave 5 readings"}]
    (ingest / "ledger.json").write_text(json.dumps(ledger))
    (ingest / "spool" / "abc-7.poison").write_bytes(b"x" * 1000)
    for name in ("abc-6.damaged", "other.aside"):
        (ingest / "spool" / name).write_bytes(b"x")
    old = ingest / "spool" / "abc-8.seg"
    old.write_bytes(b"x" * 1000)
    os.utime(old, (time.time() - 10_900, time.time() - 10_900))
    (stopped.data_dir / "secrets" / "internal").chmod(0o644)
    certificate = stopped.data_dir / "server.pem"
    certificate.write_text("no certificate")
    with stopped.config.open("a") as settings:
        settings.write(f'ingest.mqtt.tls.enabled = true\ningest.mqtt.tls.cert_file = "{certificate}"\n')
        settings.write('ingest.spool.durability = "memory"\n')
        settings.write('ingest.broker.host = "127.0.0.1"\ningest.broker.qos = 0\n')
    found = findings(stopped, 1)
    for name, status, words in (
        ("ledger", "fail", "received 5 + recovered 0 ≠ nothing: +5"),
        ("ledger.batch", "fail", "resolve gave 5 readings: +5 missing"),
        (
            "spool.poison",
            "fail",
            "1 segments that the store does not take, or that changed once closed: abc-7.poison",
        ),
        ("spool.damaged", "warn", "abc-6.damaged"),
        ("spool.aside", "warn", "other.aside"),
        ("ingest.durability", "warn", "lost with the process"),
        ("spool.backlog", "warn", "the oldest 3 h old"),
        ("host.secrets", "fail", "others on this machine can read internal"),
        ("host.certificates.ingest.mqtt.tls.cert_file", "fail", "cannot be read"),
        ("ingest.broker", "warn", "qos = 0"),
    ):
        assert found[name]["status"] == status, found[name]
        assert words in found[name]["what"]
        assert found[name]["remedy"]
    assert found["ledger.decode"]["status"] == "ok"
    (ingest / "ledger.json").write_text("{")
    assert findings(stopped, 1)["ledger"]["status"] == "warn"


def test_a_killed_ingest_and_a_store_that_is_away_are_told(tmp_path):
    with running_platform(tmp_path) as platform:
        supervisor = platform.process.pid
        os.kill(supervisor, signal.SIGSTOP)  # it would start them again
        kill(platform.pid("ingest"), platform.pid("store"))
        found = findings(platform, 1)
        assert found["role.registry"]["status"] == "ok"
        os.kill(supervisor, signal.SIGCONT)
    assert found["role.ingest"]["status"] == "fail"
    assert found["store.answers"]["status"] == "fail"
    assert found["store.parts"]["status"] == "skip"


def test_a_folder_that_nothing_ran_on(tmp_path):
    ports = dict(zip(ROLES, free_ports(len(ROLES)), strict=True))
    roles = {role: {"http": {"port": port}} for role, port in ports.items()}
    settings = msgspec.convert({"data_dir": str(tmp_path / "nothing"), **roles}, Settings)
    found = list(examine(Deployment(settings)))
    assert not [one for one in found if one.status is Status.FAIL]
    assert not (tmp_path / "nothing").exists()
