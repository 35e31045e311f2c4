"""Many devices from the command line: changes by filter, the operations that they are, exports that can be imported."""

import contextlib
import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from cityfleet.registry.v1 import device_pb2 as pb
from cityfleet.registry.v1 import site_pb2
from cityfleet.registry.v1.site_pb2_grpc import SiteServiceStub
from cli.export import responses
from cli.export_file import ExportFile, Request
from cli.export_rows import csv_format
from cli.operation_wait import metadata_of, wait_for
from cli.registry_client import RegistryClient
from tests.support.registry import running_registry


@pytest.fixture(scope="module")
def database_kind():
    return "sqlite"


@pytest.fixture(scope="module")
def cf(registry, stubs):
    """Run `cityfleet ...`; gives exit code, standard output, standard error."""

    def run(*arguments, stdin=""):
        done = registry.run_cli(*arguments, stdin=stdin)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr

    return run


def fill(devices, prefix, count, **fields):
    batch = pb.BatchCreateDevicesRequest()
    for at in range(count):
        labels = {"set": prefix, "at": str(at)}
        batch.requests.add(
            device_id=f"{prefix}-{at:05}", device=pb.Device(device_type="gauge", labels=labels, **fields)
        )
    devices.BatchCreateDevices(batch)


def matching(stubs, text):
    return stubs.devices.AggregateDevices(pb.AggregateDevicesRequest(filter=text)).total_devices


def test_a_change_by_filter_says_what_it_did(cf, stubs):
    fill(stubs.devices, "change", 30)
    given = ("device", "update", "--filter", "labels.set = change", "--ward", "00070", "-l", "season=wet")
    code, _, err = cf(*given)
    assert code == 2
    assert "Change 30 devices?" in err
    code, out, err = cf(*given, "--dry-run", "-o", "json")
    assert code == 0, err
    dry = json.loads(out)
    assert (dry["total"], dry["succeeded"], dry["dry_run"], dry["status"]) == (30, 30, True, "done")
    assert matching(stubs, 'ward_code = "00070"') == 0
    code, out, err = cf(*given, "--yes", "-o", "json")
    assert code == 0, err
    assert json.loads(out)["succeeded"] == 30
    assert matching(stubs, 'ward_code = "00070"') == 30
    code, out, err = cf(*given, "--yes", "-o", "csv")
    assert next(csv.DictReader(io.StringIO(out)))["unchanged"] == "30"
    code, out, err = cf("device", "update", "--filter", "labels.set = none", "--ward", "00070", "--yes")
    assert code == 0
    assert "no device matches" in err
    code, _, err = cf("device", "update", "--filter", "colour = red", "--ward", "00070", "--yes")
    assert code == 2
    assert "FILTER_FIELD_UNKNOWN" in err


def test_what_cannot_be_changed_is_named_and_the_code_is_5(cf, stubs):
    fill(stubs.devices, "stuck", 3)
    stubs.devices.DecommissionDevice(pb.DecommissionDeviceRequest(name="devices/stuck-00001"))
    code, out, err = cf("device", "update", "--filter", "labels.set = stuck", "--site", "x", "-o", "json")
    done = json.loads(out)
    assert (code, done["succeeded"], done["failed"]) == (5, 2, 1)
    assert "devices/stuck-00001: stuck-00001 is decommissioned" in err
    code, out, err = cf("operation", "get", done["operation"], "-o", "json")
    assert code == 0
    assert json.loads(out)["failures"][0]["name"] == "devices/stuck-00001"
    code, out, err = cf("operation", "wait", done["operation"])
    assert code == 5
    assert "1 of 3 failed" in err


def test_devices_go_and_come_back_by_filter(cf, stubs):
    fill(stubs.devices, "gone", 12)
    which = ("--filter", "labels.set = gone")
    for verb, left in (("delete", 0), ("undelete", 12), ("decommission", 12), ("delete", 0)):
        code, out, err = cf("device", verb, *which, "--yes", "-o", "json")
        assert (code, json.loads(out)["succeeded"]) == (0, 12), err
        assert matching(stubs, which[1]) == left
    code, _, err = cf("device", "purge", *which)
    assert code == 2
    assert "Purge 12 devices?" in err
    code, out, _ = cf("device", "purge", *which, "--yes", "-o", "json")
    assert (code, json.loads(out)["succeeded"]) == (0, 12)
    assert matching(stubs, f"{which[1]} AND state = deleted") == 0


def test_operations_are_listed_waited_for_and_forgotten(cf, stubs):
    fill(stubs.devices, "later", 1500)
    which = ("--filter", "labels.set = later")
    code, out, err = cf("device", "update", *which, "--site", "later", "--yes", "--no-wait", "-o", "name")
    assert code == 0, err
    name = out.strip()
    assert cf("operation", "cancel", name)[0] == 0
    code, out, _ = cf("operation", "wait", name, "-o", "json")
    status = json.loads(out)["status"]
    assert (code, status) in ((1, "cancelled"), (0, "done"))
    assert name in cf("operation", "list", "--status", "done", "-o", "name")[1].split()
    assert name not in cf("operation", "list", "--status", "running", "-o", "wide")[1]
    assert cf("operation", "delete", name)[0] == 0
    code, _, err = cf("operation", "get", name)
    assert code == 3
    assert "OPERATION_NOT_FOUND" in err


def test_waiting_lasts_over_a_restart_of_the_registry(tmp_path, stubs):
    with running_registry(tmp_path) as registry, registry.channel() as channel, ThreadPoolExecutor(1) as threads:
        made = type(stubs)(channel)
        made.apply_type("gauge")
        fill(made.devices, "set", 1500)
        request = pb.BulkUpdateDevicesRequest(filter="*", device={"site": "after"}, update_mask={"paths": ["site"]})
        begun = made.devices.BulkUpdateDevices(request)
        registry.kill()
        waited = threads.submit(wait_for, RegistryClient(channel), begun, 60)
        registry.start()
        assert metadata_of(waited.result(60)).succeeded == 1500


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_what_was_exported_can_be_imported(cf, stubs, tmp_path, kind):
    fill(stubs.devices, f"full-{kind}", 20)
    odd = 'Cầu "Long Biên", north\nside, =1+1'
    device = {"device_type": "gauge", "site": odd, "labels": {"set": f"full-{kind}", "a": 'x,"y'}}
    device |= {"latitude": 21.0437, "longitude": 105.85885, "external_id": f"a/{kind}", "ward_code": "00097"}
    stubs.devices.CreateDevice(pb.CreateDeviceRequest(device_id=f"odd-{kind}", device=device))
    site = {"latitude": 21.0, "longitude": 105.8, "ward_code": "00004"}
    SiteServiceStub(stubs.channel).CreateSite(site_pb2.CreateSiteRequest(site_id=f"site-{kind}", site=site))
    device = {"device_type": "gauge", "site_id": f"site-{kind}", "labels": {"set": f"full-{kind}"}}
    stubs.devices.CreateDevice(pb.CreateDeviceRequest(device_id=f"at-site-{kind}", device=device))
    path = tmp_path / f"fleet.{kind}"
    which = ("--filter", f"labels.set = full-{kind}")
    code, out, err = cf("export", "devices", str(path), *which)
    assert (code, out) == (0, ""), err
    assert "22 devices" in err
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    code, piped, _ = cf("export", "devices", *which, "--format", kind)
    assert piped == path.read_text(encoding="utf-8")
    rows = (
        [json.loads(line) for line in piped.splitlines()]
        if kind == "ndjson"
        else list(csv.DictReader(piped.splitlines(True)))
    )
    assert [row["device_id"] for row in rows] == sorted(row["device_id"] for row in rows)
    assert rows[-1]["site"] == odd
    assert (rows[0]["ward_code"], rows[0]["is_place_derived"]) == ("00004", "true" if kind == "csv" else True)
    code, out, err = cf("import", "devices", str(path), "--update-existing", "-o", "json")
    assert code == 0, err
    assert json.loads(out)[0]["unchanged"] == 22


def test_an_interrupted_export_goes_on_where_it_stopped(cf, registry, stubs, tmp_path):
    fill(stubs.devices, "part", 30)
    code, _, err = cf("export", "devices", str(tmp_path / "fleet.txt"))
    assert code == 2
    assert "--format" in err
    path, part, state = (tmp_path / f"all.csv{suffix}" for suffix in ("", ".export-part", ".export-state"))
    which = ("--filter", "labels.set = part")
    assert cf("export", "devices", str(path), *which)[0] == 0
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    request = {"registry": "", "kind": "csv", "filter_text": which[1], "with_documents": False, "show_deleted": False}
    kept = b"".join(lines[:11])
    begun = {"request": request, "offset": len(kept), "after": "part-00009", "devices": 10}
    part.write_bytes(kept + b"part-00010,half of a li")
    state.write_text(json.dumps(begun))
    code, _, err = cf("export", "devices", str(path), *which)
    assert code == 2
    assert "--restart" in err
    begun["request"]["registry"] = registry.address
    state.write_text(json.dumps(begun))
    path.unlink()
    code, _, err = cf("export", "devices", str(path), *which)
    assert code == 0
    assert "going on behind part-00009" in err
    assert "30 devices" in err
    assert path.read_bytes() == whole
    assert not part.exists()
    assert not state.exists()


def test_an_export_lasts_over_a_restart_of_the_registry(tmp_path, stubs):
    with running_registry(tmp_path) as registry, registry.channel() as channel:
        made = type(stubs)(channel)
        made.apply_type("gauge")
        for at in range(3):
            fill(made.devices, f"set-{at}", 2000)
        path = tmp_path / "all.csv"
        request = Request(registry.address, "csv", "", False, False)
        head, encode = csv_format()
        with contextlib.closing(ExportFile(path, request, head, restart=False)) as target:
            is_killed = False
            for response in responses(RegistryClient(channel), pb.ExportDevicesRequest(), target):
                if response.devices:
                    after = response.devices[-1].name.removeprefix("devices/")
                    target.write(encode(response.devices), after, len(response.devices))
                if response.devices and not is_killed:
                    registry.kill()
                    registry.start()
                    is_killed = True
            target.finish()
        rows = list(csv.DictReader(path.open(encoding="utf-8")))
        assert [row["device_id"] for row in rows] == [f"set-{part}-{at:05}" for part in range(3) for at in range(2000)]
