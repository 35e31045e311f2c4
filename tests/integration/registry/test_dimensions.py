"""Devices, metrics and wards reach ClickHouse, whatever happens to the store or the registry meanwhile."""

import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from cityfleet.registry.v1 import device_pb2
from cityfleet.registry.v1 import device_state_pb2 as pb
from cityfleet.registry.v1.device_state_pb2_grpc import DeviceStateServiceStub
from loadtest.platform import free_ports
from registry.devices.catalogue import STARTER_METRICS
from tests.support.provision import Provisioner
from tests.support.registry import running_registry, wait_until
from tests.support.store import StoreHandle


class Store(StoreHandle):
    """A store on the data folder of a registry, on a port that is known before it starts."""

    def __init__(self, data_dir: Path) -> None:
        (port,) = free_ports(1)
        super().__init__(data_dir, {"CITYFLEET_STORE__LISTEN__PORT": str(port)})

    def ask(self, sql: str) -> str:
        return self.query(sql, "admin").rstrip("\n")

    def wait_for(self, sql: str, answer: str) -> None:
        for _ in wait_until(f"{sql} gives {answer}", 60):
            if self.ask(sql) == answer:
                return


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    try:
        yield store
        store.stop()
    finally:
        store.kill()


def ready(url: str) -> str:
    with urllib.request.urlopen(f"{url}/readyz", timeout=60) as answer:
        assert answer.status == 200
        return answer.read().decode()


def update(fleet: Provisioner, device_id: str, **fields: object) -> None:
    device = device_pb2.Device(name=f"devices/{device_id}", **fields)
    fleet.devices.UpdateDevice(device_pb2.UpdateDeviceRequest(device=device))


def test_every_column_arrives_and_follows(store, tmp_path):
    store.start()
    with running_registry(tmp_path, store.environ) as registry, Provisioner(registry.channel()) as fleet:
        fleet.type("gauge", {"rain_mm": None})
        fleet.type("gateway", {}, is_gateway=True)
        fleet.device("gw-1", "gateway")
        fleet.device("wl-1", "gauge", gateway="gw-1", ward="00070")
        store.wait_for("SELECT count() FROM cityfleet.devices FINAL", "2")
        assert store.ask("SELECT count(), countIf(length(ward_code) = 5) FROM cityfleet.wards FINAL") == "126\t126"
        assert store.ask("SELECT metric_num, unit FROM cityfleet.metrics FINAL WHERE metric = 'rain_mm'") == "3\tmm"
        columns = "device_num, device_type, ward_code, gateway_id, state, expected_interval_s, latitude"
        row = f"SELECT {columns} FROM cityfleet.devices FINAL WHERE device_id = 'wl-1'"
        assert store.ask(row) == "2\tgauge\t00070\tgw-1\tactive\t60\t\\N"
        update(fleet, "wl-1", latitude=21.0287, longitude=105.8525, labels={"owner": "tnmt"}, site="Cầu Long Biên")
        store.wait_for(
            "SELECT latitude, longitude, labels['owner'], site FROM cityfleet.devices FINAL WHERE device_id = 'wl-1'",
            "21.0287\t105.8525\ttnmt\tCầu Long Biên",
        )
        device = fleet.devices.GetDevice(device_pb2.GetDeviceRequest(name="devices/wl-1"))
        times = "toUnixTimestamp64Milli(create_time), toUnixTimestamp64Milli(update_time)"
        assert store.ask(f"SELECT {times} FROM cityfleet.devices FINAL WHERE device_id = 'wl-1'") == (
            f"{device.create_time.ToMilliseconds()}\t{device.update_time.ToMilliseconds()}"
        )
        document = b'{"firmware_version": "2.1", "config_version": 7, "last_calibration": "2026-03-01"}'
        rows = [pb.DeviceStateReport(device_num=device.device_num, last_seen_ms=1, document=document, document_ms=1)]
        requests = iter([pb.ReportDeviceStatesRequest(node="a", run=1, reports=rows)])
        list(DeviceStateServiceStub(registry.channel()).ReportDeviceStates(requests, metadata=registry.metadata))
        store.wait_for(
            "SELECT device_num, ward_code, firmware_version, config_version, last_calibration "
            "FROM cityfleet.device_reported FINAL",
            "2\t00070\t2.1\t7\t2026-03-01",
        )
        fleet.devices.DecommissionDevice(device_pb2.DecommissionDeviceRequest(name="devices/wl-1"))
        store.wait_for("SELECT state FROM cityfleet.devices FINAL WHERE device_id = 'wl-1'", "decommissioned")


def test_a_types_interval_reaches_its_devices(store, tmp_path):
    store.start()
    with running_registry(tmp_path, store.environ) as registry, Provisioner(registry.channel()) as fleet:
        registry.run_cli("type", "apply", "-f", "-", stdin="{device_type: gauge, expected_interval_s: 60}")
        fleet.device("wl-1", "gauge")
        store.wait_for("SELECT expected_interval_s FROM cityfleet.devices FINAL", "60")
        registry.run_cli("type", "apply", "-f", "-", stdin="{device_type: gauge, expected_interval_s: 7}")
        store.wait_for("SELECT expected_interval_s FROM cityfleet.devices FINAL", "7")


def test_what_a_device_measures_and_how_often_reaches_the_store(store, tmp_path):
    text = """
device_type: gauge
expected_interval_s: 60
hardware_revisions: [B2]
metrics:
  - {metric: water_level_m, min_value: -5, resolution: 0.001}
  - {metric: battery_pct, max_value: 100, expected_interval_s: 3600}
"""
    columns = "metric, unit, expected_interval_s, min_value, max_value, resolution"
    asked = f"SELECT {columns} FROM ioc.device_metrics WHERE device_id = 'wl-1' ORDER BY metric"
    store.start()
    with running_registry(tmp_path, store.environ) as registry, Provisioner(registry.channel()) as fleet:
        assert registry.run_cli("type", "apply", "-f", "-", stdin=text).returncode == 0
        fleet.device("wl-1", "gauge")
        store.wait_for(asked, "battery_pct\t%\t3600\t\\N\t100\t0\nwater_level_m\tm\t60\t-5\t\\N\t0.001")
        registry.run_cli("type", "apply", "-f", "-", stdin="{device_type: gauge, metrics: [rain_mm]}")
        store.wait_for(asked, "rain_mm\tmm\t0\t\\N\t\\N\t0")


def test_tables_that_an_upgrade_made_are_filled(store, tmp_path):
    """As after an upgrade, whose tables begin empty while the registry thinks that all was written."""
    store.start()
    with running_registry(tmp_path, store.environ) as registry, Provisioner(registry.channel()) as fleet:
        fleet.type("gauge", {"rain_mm": None})
        fleet.device("wl-1", "gauge")
        store.wait_for("SELECT count() FROM ioc.device_metrics", "1")
        registry.stop()
        store.query("TRUNCATE TABLE cityfleet.device_types", "admin")
        registry.start()
        store.wait_for("SELECT count() FROM ioc.device_metrics", "1")


def test_the_registry_goes_on_without_a_store_and_catches_up(store, tmp_path):
    with running_registry(tmp_path, store.environ) as registry, Provisioner(registry.channel()) as fleet:
        fleet.type("gauge", {"rain_mm": None})
        fleet.device("wl-1", "gauge")
        for _ in wait_until("the registry says that the store is away"):
            if ready(registry.http).startswith("ok\ndegraded: dimensions in the store: "):
                break
        store.start()
        store.wait_for("SELECT device_id FROM cityfleet.devices FINAL", "wl-1")
        for _ in wait_until("the registry says that all is well"):
            if ready(registry.http) == "ok\n":
                break
        store.stop()
        fleet.device("wl-2", "gauge")
        registry.kill()
        registry.start()
        store.start()
        store.wait_for("SELECT count() FROM cityfleet.devices FINAL", "2")


def test_a_store_that_lost_everything_is_filled_again(store, tmp_path):
    store.start()
    with running_registry(tmp_path, store.environ) as registry, Provisioner(registry.channel()) as fleet:
        fleet.type("gauge", {"rain_mm": None})
        for number in range(3):
            fleet.device(f"wl-{number}", "gauge")
        store.wait_for("SELECT count() FROM cityfleet.devices FINAL", "3")
        store.stop()
        shutil.rmtree(tmp_path / "store")
        store.start()
        fleet.device("wl-3", "gauge")
        store.wait_for("SELECT count() FROM cityfleet.devices FINAL", "4")
        store.wait_for("SELECT count() FROM cityfleet.wards FINAL", "126")
        store.wait_for("SELECT count() FROM cityfleet.metrics FINAL", str(len(STARTER_METRICS)))
