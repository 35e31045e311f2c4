"""The import over gRPC and by the command: good rows, every kind of bad row, running it again, gateways late."""

import csv
import hashlib
import io
import json
import stat

import msgspec
import pytest
from grpc import StatusCode

from cityfleet.registry.v1 import device_pb2 as pb
from cityfleet.registry.v1.device_index_pb2 import WatchDeviceIndexRequest
from cli.import_file import FileRows
from cli.import_state import StateFile, new_state
from tests.integration.registry.test_devices import all_pages, get
from tests.support.registry import wait_until
from tests.support.status import fails

Outcome = pb.ImportRowResult
HEAD = "device_id,device_type,display_name,gateway,ward_code,site,latitude,longitude,token,labels.owner\n"

# A row of CSV, the field at fault, the reason. Every good row is `good-N`.
BAD_ROWS = [
    ("Upper,gauge,,,,,,,,", "device_id", "DEVICE_ID_INVALID"),
    (",gauge,,,,,,,,", "device_id", "DEVICE_ID_INVALID"),
    ("under_score,gauge,,,,,,,,", "device_id", "DEVICE_ID_INVALID"),
    (f"{'x' * 64},gauge,,,,,,,,", "device_id", "DEVICE_ID_INVALID"),
    ("bad-type,no-such-type,,,,,,,,", "device_type", "DEVICE_TYPE_UNKNOWN"),
    ("no-type,,,,,,,,,", "device_type", "DEVICE_TYPE_MISSING"),
    ("bad-gateway,gauge,,nobody,,,,,,", "gateway", "GATEWAY_UNKNOWN"),
    ("self-gateway,gauge,,self-gateway,,,,,,", "gateway", "GATEWAY_ITSELF"),
    ("behind-sensor,gauge,,good-1,,,,,,", "gateway", "NOT_A_GATEWAY"),
    ("gw-behind-gw,gateway,,gw-1,,,,,,", "gateway", "GATEWAY_BEHIND_GATEWAY"),
    ("lost-zeros,gauge,,,70,,,,,", "ward_code", "WARD_UNKNOWN"),
    ("bad-ward,gauge,,,99999,,,,,", "ward_code", "WARD_UNKNOWN"),
    ("half-place,gauge,,,,,21.0,,,", "longitude", "PLACE_INCOMPLETE"),
    ("bad-lat,gauge,,,,,91,105,,", "latitude", "LATITUDE_INVALID"),
    ("bad-lon,gauge,,,,,21,181,,", "longitude", "LONGITUDE_INVALID"),
    ("nan-lat,gauge,,,,,nan,105,,", "latitude", "LATITUDE_INVALID"),
    ("text-lat,gauge,,,,,north,105,,", "latitude", "NOT_A_NUMBER"),
    ("comma-lat,gauge,,,,,21,0287,105,8525,,", "", "CELLS_MISCOUNTED"),
    ("short-row,gauge", "", "CELLS_MISCOUNTED"),
    ("short-token,gauge,,,,,,,secret,", "token", "TOKEN_LENGTH"),
    ("odd-token,gauge,,,,,,,sixteen or more characters,", "token", "TOKEN_CHARACTERS"),
    (f"long-name,gauge,{'n' * 256},,,,,,,", "display_name", "TEXT_TOO_LONG"),
    ("control,gauge,,,,a\x07b,,,,", "site", "TEXT_NOT_PRINTABLE"),
    (f"long-label,gauge,,,,,,,,{'v' * 256}", "labels.owner", "TEXT_TOO_LONG"),
    ("good-1,gauge,another name,gw-1,,,,,,", "device_id", "DUPLICATE_ROW"),
]


def rows_of(*devices, token=""):
    return [pb.ImportRow(row=at + 1, device=device, token=token) for at, device in enumerate(devices)]


def index_of(registry, stubs):
    """What an ingest node would know of each device, by id."""
    index = {}
    for response in stubs.index.WatchDeviceIndex(WatchDeviceIndexRequest(), metadata=registry.metadata, timeout=60):
        index |= {device.device_id: device for device in response.devices}
        if response.resume_token:
            break
    return index


def run_import(stubs, *batches, validate_only=False):
    requests = (pb.ImportDevicesRequest(rows=rows, validate_only=validate_only) for rows in batches)
    return [result for response in stubs.devices.ImportDevices(requests) for result in response.results]


def send(stubs, *requests):
    return [result for response in stubs.devices.ImportDevices(iter(requests)) for result in response.results]


def test_each_row_has_its_verdict_in_the_order_sent(stubs):
    good = pb.Device(name="devices/i-1", device_type="gauge", labels={"a": "b"})
    bad = pb.Device(name="devices/i-2", device_type="none", ward_code="1")
    results = run_import(stubs, rows_of(good, bad, good))
    assert [result.outcome for result in results] == [
        Outcome.OUTCOME_CREATED,
        Outcome.OUTCOME_FAILED,
        Outcome.OUTCOME_UNCHANGED,
    ]
    assert [result.row for result in results] == [1, 2, 3]
    assert len(results[0].token) == 43
    assert [(error.field, error.reason) for error in results[1].errors] == [
        ("ward_code", "WARD_UNKNOWN"),
        ("device_type", "DEVICE_TYPE_UNKNOWN"),
    ]
    assert all_pages(stubs, 10, "labels.a = b") == ["i-1"]


def test_the_same_again_is_unchanged_and_another_is_refused(stubs):
    device = pb.Device(name="devices/i-3", device_type="gauge", site="here")
    own = "0123456789abcdef"
    assert run_import(stubs, rows_of(device, token=own))[0].token == ""
    assert run_import(stubs, rows_of(device, token=own))[0].outcome == Outcome.OUTCOME_UNCHANGED
    assert run_import(stubs, rows_of(device))[0].outcome == Outcome.OUTCOME_UNCHANGED
    (other_token,) = run_import(stubs, rows_of(device, token="another-token-of-it"))
    assert [(error.field, error.reason) for error in other_token.errors] == [("token", "DEVICE_EXISTS_DIFFERENT")]
    device.site = "there"
    (other_site,) = run_import(stubs, rows_of(device))
    assert [(error.field, error.reason) for error in other_site.errors] == [("site", "DEVICE_EXISTS_DIFFERENT")]
    assert get(stubs, "i-3").site == "here"
    stubs.devices.DecommissionDevice(pb.DecommissionDeviceRequest(name="devices/i-3"))
    assert run_import(stubs, rows_of(device))[0].errors[0].reason == "DEVICE_DECOMMISSIONED"


def test_a_gateway_may_come_in_the_same_batch(stubs):
    gateway = pb.Device(name="devices/i-gw", device_type="gateway")
    behind = pb.Device(name="devices/i-4", device_type="gauge", gateway="i-gw")
    results = run_import(stubs, rows_of(gateway, behind))
    assert [result.outcome for result in results] == [Outcome.OUTCOME_CREATED] * 2
    assert get(stubs, "i-4").gateway == "i-gw"


def test_a_dry_run_knows_its_earlier_rows_and_creates_nothing(stubs):
    gateway = pb.Device(name="devices/dry-gw", device_type="gateway")
    behind = pb.Device(name="devices/dry-1", device_type="gauge", gateway="dry-gw")
    different = pb.Device(name="devices/dry-1", device_type="gauge")
    results = run_import(stubs, rows_of(gateway), rows_of(behind), rows_of(behind, different), validate_only=True)
    assert [result.outcome for result in results] == [
        Outcome.OUTCOME_CREATED,
        Outcome.OUTCOME_CREATED,
        Outcome.OUTCOME_UNCHANGED,
        Outcome.OUTCOME_FAILED,
    ]
    assert not any(result.token for result in results)
    with fails(StatusCode.NOT_FOUND, "DEVICE_NOT_FOUND"):
        get(stubs, "dry-gw")


def test_too_many_rows_at_once_are_refused(stubs):
    device = pb.Device(name="devices/many", device_type="gauge")
    with fails(StatusCode.INVALID_ARGUMENT, "TOO_MANY_ROWS"):
        run_import(stubs, [pb.ImportRow(row=at, device=device) for at in range(5001)])


def test_update_existing_changes_what_the_row_speaks_of(stubs):
    first = pb.Device(name="devices/u-1", device_type="gauge", site="here", labels={"owner": "a", "kept": "k"})
    run_import(stubs, rows_of(first, token="0123456789abcdef"))
    row = pb.ImportRow(row=1, device={"name": "devices/u-1", "device_type": "gauge", "labels": {"owner": "b"}})
    row.field_mask = 1
    request = pb.ImportDevicesRequest(rows=[row], field_masks=[{"paths": ["device_type", "labels.owner"]}])
    (refused,) = send(stubs, request)
    assert [(error.field, error.reason) for error in refused.errors] == [("labels.owner", "DEVICE_EXISTS_DIFFERENT")]
    request.update_existing = True
    request.validate_only = True
    assert send(stubs, request)[0].outcome == Outcome.OUTCOME_UPDATED
    assert get(stubs, "u-1").labels["owner"] == "a"
    request.validate_only = False
    assert send(stubs, request)[0].outcome == Outcome.OUTCOME_UPDATED
    assert send(stubs, request)[0].outcome == Outcome.OUTCOME_UNCHANGED
    device = get(stubs, "u-1")
    assert (device.site, dict(device.labels)) == ("here", {"owner": "b", "kept": "k"})
    row.device.device_type, row.field_mask = "no-such-type", 0
    (refused,) = send(stubs, pb.ImportDevicesRequest(rows=[row], update_existing=True))
    assert [error.reason for error in refused.errors] == ["DEVICE_TYPE_UNKNOWN"]


def test_a_token_for_new_devices_leaves_the_others_alone(stubs):
    row = pb.ImportRow(row=1, device={"name": "devices/t-1", "device_type": "gauge"}, token="first-token-0123456")
    row.is_token_for_new = True
    assert send(stubs, pb.ImportDevicesRequest(rows=[row]))[0].token == row.token
    (again,) = send(stubs, pb.ImportDevicesRequest(rows=[row]))
    assert (again.outcome, again.token) == (Outcome.OUTCOME_UNCHANGED, row.token)
    row.token = "second-token-0123456"
    (other,) = send(stubs, pb.ImportDevicesRequest(rows=[row], update_existing=True))
    assert (other.outcome, other.token) == (Outcome.OUTCOME_UNCHANGED, "")


def test_rows_of_one_batch_are_as_if_done_one_after_the_other(stubs):
    """What a row changes, the rows behind it find so."""
    run_import(
        stubs,
        [
            pb.ImportRow(device={"name": "devices/seq-gw", "device_type": "gateway"}, token="0" * 16),
            pb.ImportRow(
                device={"name": "devices/seq-1", "device_type": "gauge", "external_id": "seq x"}, token="1" * 16
            ),
            pb.ImportRow(device={"name": "devices/seq-2", "device_type": "gauge"}, token="2" * 16),
        ],
    )
    gauge = {"device_type": "gauge"}
    rows = [
        # The external id goes from one to the next, and on to a new one.
        pb.ImportRow(device={"name": "devices/seq-1", "external_id": "seq y", **gauge}),
        pb.ImportRow(device={"name": "devices/seq-2", "external_id": "seq x", **gauge}, token="another-token-of-it"),
        pb.ImportRow(device={"name": "devices/seq-2", "external_id": "seq z", **gauge}),
        pb.ImportRow(device={"name": "devices/seq-3", "external_id": "seq x", **gauge}),
        pb.ImportRow(device={"name": "devices/seq-4", "external_id": "seq y", **gauge}),
        # An old device goes behind a new gateway; the old gateway may not stop being one for a new device.
        pb.ImportRow(device={"name": "devices/seq-new-gw", "device_type": "gateway"}),
        pb.ImportRow(device={"name": "devices/seq-1", "external_id": "seq y", "gateway": "seq-new-gw", **gauge}),
        pb.ImportRow(device={"name": "devices/seq-5", "gateway": "seq-gw", **gauge}),
        pb.ImportRow(device={"name": "devices/seq-gw", **gauge}),
    ]
    for row in rows:
        row.is_token_for_new = not row.token
    results = send(stubs, pb.ImportDevicesRequest(rows=rows, update_existing=True))
    assert [[error.reason for error in result.errors] for result in results] == [
        [], [], [], [], ["EXTERNAL_ID_TAKEN"], [], [], [], ["GATEWAY_IN_USE"],
    ]  # fmt: skip
    assert [Outcome.Outcome.Name(result.outcome).rpartition("_")[2] for result in results] == [
        "UPDATED", "UPDATED", "UPDATED", "CREATED", "FAILED", "CREATED", "UPDATED", "CREATED", "FAILED",
    ]  # fmt: skip
    found = [get(stubs, f"seq-{at}") for at in (1, 2, 3, 5)]
    assert [device.external_id for device in found] == ["seq y", "seq z", "seq x", ""]
    assert [device.gateway for device in found] == ["seq-new-gw", "", "", "seq-gw"]


def test_what_a_row_does_not_speak_of_may_be_anything(stubs):
    """Its gateway, its site and its type are not in the request at all."""
    gateway = pb.Device(name="devices/mute-gw", device_type="gateway")
    behind = pb.Device(name="devices/mute-1", device_type="gauge", gateway="mute-gw", ward_code="00070")
    run_import(stubs, rows_of(gateway, behind, token="0123456789abcdef"))
    row = pb.ImportRow(row=1, device={"name": "devices/mute-1", "site": "roof"}, field_mask=1)
    request = pb.ImportDevicesRequest(rows=[row], field_masks=[{"paths": ["site"]}], update_existing=True)
    assert send(stubs, request)[0].outcome == Outcome.OUTCOME_UPDATED
    device = get(stubs, "mute-1")
    assert (device.site, device.gateway, device.ward_code) == ("roof", "mute-gw", "00070")


@pytest.mark.parametrize("field", ["name", "device_type", "gateway", "site_id", "hardware_revision", "external_id"])
def test_a_name_with_nul_costs_one_row(stubs, field):
    """No database has such a text; PostgreSQL does not even take the question."""
    good = pb.Device(name=f"devices/nul-{field.replace('_', '-')}", device_type="gauge")
    bad = pb.Device(name="devices/nul", device_type="gauge")
    setattr(bad, field, getattr(bad, field) + "\0")
    results = run_import(stubs, rows_of(bad, good))
    assert [result.outcome for result in results] == [Outcome.OUTCOME_FAILED, Outcome.OUTCOME_CREATED]


def test_a_hardware_revision_that_the_type_does_not_have_is_refused(stubs):
    stubs.apply_type("gauge-b", hardware_revisions=["B2"])
    right = pb.Device(name="devices/hw-1", device_type="gauge-b", hardware_revision="B2")
    wrong = pb.Device(name="devices/hw-2", device_type="gauge-b", hardware_revision="B3", site_id="nowhere")
    results = run_import(stubs, rows_of(right, wrong))
    assert [[error.reason for error in result.errors] for result in results] == [
        [],
        ["HARDWARE_REVISION_UNKNOWN", "SITE_UNKNOWN"],
    ]


def test_a_field_mask_that_is_none_is_refused(stubs):
    row = pb.ImportRow(row=1, device={"name": "devices/m-1", "device_type": "gauge"}, field_mask=1)
    with fails(StatusCode.INVALID_ARGUMENT, "FIELD_MASK_UNKNOWN"):
        send(stubs, pb.ImportDevicesRequest(rows=[row]))
    with fails(StatusCode.INVALID_ARGUMENT, "FIELD_NOT_UPDATABLE"):
        send(stubs, pb.ImportDevicesRequest(rows=[row], field_masks=[{"paths": ["colour"]}]))


@pytest.fixture(scope="module")
def mixed_csv(tmp_path_factory):
    """Good and bad rows by turns; the gateway comes last."""
    path = tmp_path_factory.mktemp("csv") / "fleet.csv"
    lines = []
    for number, (bad, _, _) in enumerate(BAD_ROWS):
        lines.append(f'good-{number},gauge,"Trạm, số {number}",gw-1,00070,"Site {number}",21.02,105.85,,tnmt')
        lines.append(bad)
    path.write_text(HEAD + "\n".join([*lines, "gw-1,gateway,,,,,,,,"]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("mode", ["dry", "real", "again"])
def test_good_rows_pass_and_each_bad_row_is_reported(registry, stubs, mixed_csv, tmp_path, mode):
    errors, tokens = tmp_path / "errors.csv", mixed_csv.with_name("tokens.csv")
    options = ["--dry-run"] if mode == "dry" else ["--tokens-out", str(tokens)]
    done = registry.run_cli("import", "devices", str(mixed_csv), *options, "--errors-out", str(errors), "-o", "json")
    assert done.returncode == 5, done.stderr
    (summary,) = json.loads(done.stdout)
    good = len(BAD_ROWS) + 1
    assert (summary["created"], summary["unchanged"]) == ((0, good) if mode == "again" else (good, 0))
    assert summary["failed"] == len(BAD_ROWS)
    with errors.open(encoding="utf-8", newline="") as file:
        found = {int(row["row"]): (row["field"], row["reason"]) for row in csv.DictReader(file)}
    expected = {2 * at + 2: (field, reason) for at, (_, field, reason) in enumerate(BAD_ROWS)}
    if mode == "again":  # by then good-1 is there, so the row is told how it differs from it
        expected[2 * len(BAD_ROWS)] = ("display_name", "DEVICE_EXISTS_DIFFERENT")
    assert found == expected
    if mode == "dry":
        assert all_pages(stubs, 100, "labels.owner = tnmt") == []
        return
    assert len(all_pages(stubs, 7, "labels.owner = tnmt AND gateway = gw-1")) == good - 1
    assert get(stubs, "good-3").display_name == "Trạm, số 3"
    assert stat.S_IMODE(tokens.stat().st_mode) == 0o600
    with tokens.open(encoding="utf-8", newline="") as file:
        written = {row["device_id"]: row["token"] for row in csv.DictReader(file)}
    assert len(written) == good  # once, although the command ran twice


def test_tokens_of_the_file_are_the_ones_that_count(registry, stubs, tmp_path):
    path = tmp_path / "own.ndjson"
    lines = [{"device_id": f"own-{n}", "device_type": "gauge", "token": f"known-token-{n:08d}"} for n in range(3)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert registry.run_cli("import", "devices", str(path)).returncode == 0
    index = index_of(registry, stubs)
    for line in lines:
        assert list(index[line["device_id"]].token_sha256) == [hashlib.sha256(line["token"].encode()).digest()]


def test_a_token_is_never_made_where_it_would_be_lost(registry, stubs, tmp_path):
    path = tmp_path / "no-tokens.csv"
    path.write_text("device_id,device_type\nlost-1,gauge\n", encoding="utf-8")
    done = registry.run_cli("import", "devices", str(path))
    assert done.returncode == 5
    assert "TOKEN_WOULD_BE_LOST" in done.stderr
    assert "--tokens-out" in done.stderr
    with fails(StatusCode.NOT_FOUND, "DEVICE_NOT_FOUND"):
        get(stubs, "lost-1")


def test_rows_come_from_standard_input(registry, stubs):
    line = json.dumps({"device_id": "piped", "device_type": "gauge", "token": "0123456789abcdef"})
    done = registry.run_cli("import", "devices", "-", stdin=f"{line}\n")
    assert done.returncode == 0, done.stderr
    assert get(stubs, "piped").state == pb.Device.STATE_ACTIVE


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("empty.csv", "", "empty"),
        ("head.csv", "device_id,colour\n", "unknown column `colour`"),
        ("no-type.csv", "device_id\na\n", "`device_type` is missing"),
        ("fleet.xlsx", "x", "neither .csv nor .ndjson"),
        ("nothing.csv", None, "cannot read"),
    ],
)
def test_a_file_that_cannot_be_understood_ends_the_command(registry, tmp_path, name, text, says):
    path = tmp_path / name
    if text is not None:
        path.write_text(text, encoding="utf-8")
    done = registry.run_cli("import", "devices", str(path), "--tokens-out", str(tmp_path / "tokens.csv"))
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_columns_that_are_not_there_are_not_compared(registry, stubs, tmp_path):
    run_import(stubs, rows_of(pb.Device(name="devices/col-1", device_type="gauge", site="here"), token="0" * 16))
    path = tmp_path / "fleet.csv"
    path.write_text("device_id,device_type\ncol-1,gauge\n", encoding="utf-8")
    assert registry.run_cli("import", "devices", str(path)).returncode == 0
    path.write_text("device_id,device_type,labels.owner\ncol-1,gauge,tnmt\n", encoding="utf-8")
    assert registry.run_cli("import", "devices", str(path)).returncode == 5
    done = registry.run_cli("import", "devices", str(path), "--update-existing", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["updated"] == 1
    assert (get(stubs, "col-1").site, get(stubs, "col-1").labels["owner"]) == ("here", "tnmt")
    assert list(tmp_path.iterdir()) == [path]


def test_an_import_that_was_killed_goes_on_where_it_stopped(registry, stubs, tmp_path):
    path, tokens, errors = tmp_path / "kill.csv", tmp_path / "tokens.csv", tmp_path / "errors.csv"
    lines = [f"kill-{at:05d},{'gauge' if at % 1000 else 'nothing'},kill-gw" for at in range(20_000)]
    text = "device_id,device_type,gateway\n" + "\n".join([*lines, "kill-gw,gateway,"]) + "\n"
    path.write_text(text, encoding="utf-8")
    command = ("import", "devices", str(path), "--tokens-out", str(tokens), "--errors-out", str(errors), "-o", "json")
    state = tmp_path / "kill.csv.import-state"
    process = registry.start_cli(*command)
    try:
        for _ in wait_until("a checkpoint is past some rows"):
            if state.exists() and json.loads(state.read_bytes())["position"]["row"]:
                break
    finally:
        process.kill()
        process.wait()
    done = registry.run_cli(*command)
    assert done.returncode == 5, done.stderr
    assert "goes on after row" in done.stderr
    (summary,) = json.loads(done.stdout)
    assert (summary["rows"], summary["failed"]) == (20_001, 20)
    assert summary["created"] + summary["unchanged"] == 19_981
    with errors.open(encoding="utf-8", newline="") as file:
        assert sorted(int(row["row"]) for row in csv.DictReader(file)) == list(range(1, 20_001, 1000))
    with tokens.open(encoding="utf-8", newline="") as file:
        written = [(row["device_id"], row["token"]) for row in csv.DictReader(file)]
    assert len(written) == len(dict(written)) == 19_981
    known = index_of(registry, stubs)
    assert all(list(known[key].token_sha256) == [hashlib.sha256(token.encode()).digest()] for key, token in written)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["errors.csv", "kill.csv", "tokens.csv"]


def test_a_file_that_changed_does_not_go_on(registry, tmp_path):
    path = tmp_path / "changed.csv"
    path.write_text("device_id,device_type,token\nchg-1,gauge,0123456789abcdef\n", encoding="utf-8")
    state = new_state(registry.address)
    rows = FileRows(io.BytesIO(path.read_bytes().replace(b"chg", b"was")), "csv")
    assert len(list(rows)) == 1
    StateFile(tmp_path / "changed.csv.import-state").save(msgspec.structs.replace(state, position=rows.position()))
    refused = registry.run_cli("import", "devices", str(path))
    assert refused.returncode == 2
    assert "has changed since" in refused.stderr
    assert registry.run_cli("import", "devices", str(path), "--restart").returncode == 0


def test_thousands_of_devices_a_second(registry, stubs, tmp_path):
    path = tmp_path / "large.csv"
    path.write_text(
        "device_id,device_type,ward_code,token\n"
        + "".join(f"large-{n:05d},gauge,00070,known-token-{n:08d}\n" for n in range(10_000)),
        encoding="utf-8",
    )
    done = registry.run_cli("import", "devices", str(path), "-o", "json")
    (summary,) = json.loads(done.stdout)
    assert summary["created"] == 10_000
    # Far below what a quiet machine does, so that a busy one passes, too.
    assert summary["rows_per_s"] > 1000
