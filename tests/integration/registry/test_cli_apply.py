"""`cityfleet apply` and `diff` against a real registry: everything of a fleet from files, and back to them."""

import csv
import json
import urllib.request
from collections import Counter

import pytest
import yaml

from tests.support.cli import cityfleet

FLEET = """
metric: tilt_deg
unit: deg
---
device_type: mast
metrics: [tilt_deg, {metric: battery_pct, min_value: 0, max_value: 100}]
---
site_id: bts-77
kind: bts
latitude: 21.0287
longitude: 105.8525
ward_code: "00070"
labels: {managed-by: git}
---
device_id: mast-77
device_type: mast
gateway: gw-77
site_id: bts-77
labels: {managed-by: git, pilot: "yes"}
---
device_id: gw-77
device_type: gateway
site_id: bts-77
labels: {managed-by: git}
---
group_id: masts
description: All masts
devices: [mast-77]
---
operator: desk
subscribe_filters: [cf/v1/d/+/state]
---
saved_query_id: masts-bad
filter: in_group("masts") AND health = bad
---
account_id: importer
is_service: true
grants: [{role: viewer}, {role: engineer, ward_codes: ["00070"], labels: {managed-by: git}}]
"""
NAMES = {
    "metrics/tilt_deg",
    "deviceTypes/mast",
    "sites/bts-77",
    "devices/gw-77",
    "devices/mast-77",
    "groups/masts",
    "operators/desk",
    "savedQueries/masts-bad",
    "accounts/importer",
}


@pytest.fixture(scope="module")
def database_kind():
    return "sqlite"


@pytest.fixture(scope="module")
def cf(registry, stubs):
    """Run `cityfleet ...`; it must end with `code`. Gives standard output, read back if json, or standard error."""

    def run(*arguments, code=0, stdin=""):
        done = cityfleet(registry.data_dir, *arguments, stdin=stdin)
        assert done.returncode == code, done.stderr + done.stdout
        if code and "json" not in arguments:
            return done.stderr
        return json.loads(done.stdout) if "json" in arguments else done.stdout

    return run


@pytest.fixture
def fleet(cf, tmp_path):
    """The fleet as its files say; gives the file and a function that runs `apply -f` of documents."""
    file = tmp_path / "fleet.yaml"
    file.write_text(FLEET)
    cf("apply", "-f", str(file))
    return file


def outcomes(rows):
    return {row["resource"]: row["outcome"] for row in rows}


def test_a_fleet_comes_from_files_once(cf, tmp_path):
    file, tokens = tmp_path / "fleet.yaml", tmp_path / "tokens.csv"
    file.write_text(FLEET)
    assert {row["resource"] for row in cf("diff", "-f", str(file), "-o", "json")} == NAMES
    assert outcomes(cf("apply", "-f", str(file), "--dry-run", "-o", "json")) == dict.fromkeys(NAMES, "created")
    cf("site", "get", "bts-77", code=3)
    made = cf("apply", "-f", str(file), "--tokens-out", str(tokens), "-o", "json")
    assert outcomes(made) == dict.fromkeys(NAMES, "created")
    assert tokens.stat().st_mode & 0o777 == 0o600
    assert {row["device_id"] for row in csv.DictReader(tokens.open())} == {"gw-77", "mast-77", "operator:desk"}
    assert cf("device", "list", "--filter", 'in_group("masts")', "-o", "name").split() == ["mast-77"]
    assert outcomes(cf("apply", "-f", str(file), "-o", "json")) == dict.fromkeys(NAMES, "unchanged")
    assert cf("diff", "-f", str(file), "--exit-code").startswith("0 to create, 0 to change, 0 to delete, 9")
    device = cf("device", "get", "mast-77", "-o", "json")
    assert (device["gateway"], device["ward_code"], device["is_ward_derived"]) == ("gw-77", "00070", True)


def test_only_what_differs_is_changed_and_only_what_is_said(cf, fleet):
    cf("device", "update", "mast-77", "--name", "Mine", "-l", "pilot=no", "-l", "more=1")
    told = cf("diff", "-f", str(fleet))
    assert told.splitlines()[:3] == [
        "~ devices/mast-77",
        '    labels.more: "1" -> nothing',
        '    labels.pilot: "no" -> "yes"',
    ]
    cf("diff", "-f", str(fleet), "--exit-code", code=1)
    changed = cf("apply", "-f", str(fleet), "-o", "json")
    assert {row["resource"]: row["changed"] for row in changed if row["outcome"] == "changed"} == {
        "devices/mast-77": ["labels.more", "labels.pilot"]
    }
    device = cf("device", "get", "mast-77", "-o", "json")
    assert (device["labels"], device["display_name"]) == ({"managed-by": "git", "pilot": "yes"}, "Mine")


@pytest.mark.parametrize(
    ("noun", "resource_id", "key", "value"),
    [
        ("metric", "tilt_deg", "description", "Tilt of the pole"),
        ("type", "mast", "expected_interval_s", 60),
        ("site", "bts-77", "display_name", "Cột 77"),
        ("device", "gw-77", "site", "On the roof"),
        ("group", "masts", "description", "Every mast"),
        ("savedquery", "masts-bad", "filter", "health = bad"),
        ("account", "importer", "disabled", True),
        ("operator", "desk", "publish_filters", ["cf/v1/d/+/commands"]),
    ],
)
def test_what_is_printed_can_be_edited_and_applied_until_somebody_else_changes_it(
    cf, fleet, noun, resource_id, key, value
):
    document = yaml.safe_load(cf(noun, "get", resource_id, "-o", "yaml"))
    again = json.dumps(document)
    assert [row["outcome"] for row in cf("apply", "-f", "-", "-o", "json", stdin=again)] == ["unchanged"]
    edited = json.dumps(document | {key: value})
    (row,) = cf("apply", "-f", "-", "-o", "json", stdin=edited)
    assert (row["outcome"], row["changed"]) == ("changed", [key])
    assert yaml.safe_load(cf(noun, "get", resource_id, "-o", "yaml"))[key] == value
    assert "ETAG_MISMATCH" in cf("apply", "-f", "-", code=5, stdin=again)
    cf("apply", "-f", "-", stdin=json.dumps({name: entry for name, entry in document.items() if name != "etag"}))


def test_what_is_wrong_is_told_and_the_rest_is_done(cf, fleet):
    documents = "[{device_id: fine, device_type: gauge}, {device_id: odd, device_type: none}, {site_id: s, kind: mast}]"
    told = cf("apply", "-f", "-", code=5, stdin=documents)
    assert "devices/odd: " in told
    assert "KIND_UNKNOWN" in told
    assert "2 of 3 failed" in told
    assert "devices have no token" in told
    assert cf("device", "get", "fine", "-o", "json")["state"] == "active"
    cf("device", "get", "odd", code=3)
    tried = cf("apply", "-f", "-", "--dry-run", "-o", "json", code=5, stdin=documents)
    assert outcomes(tried) == {"devices/fine": "unchanged", "devices/odd": "failed", "sites/s": "failed"}


def test_a_group_has_the_devices_that_its_document_names(cf, fleet):
    cf("device", "create", "in-1", "-t", "gauge")
    cf("device", "create", "in-2", "-t", "gauge")
    cf("apply", "-f", "-", stdin="{group_id: told, devices: [in-1]}")
    wanted = "{group_id: told, description: Two, devices: [in-2, mast-77]}"
    told = cf("diff", "-f", "-", stdin=wanted).splitlines()
    assert told == [
        "~ groups/told",
        '    description: "" -> "Two"',
        "    devices[in-2]: nothing -> true",
        "    devices[mast-77]: nothing -> true",
        "    devices[in-1]: true -> nothing",
        "0 to create, 1 to change, 0 to delete, 0 as they shall be",
    ]
    cf("apply", "-f", "-", "--dry-run", stdin=wanted)
    assert cf("device", "list", "--filter", 'in_group("told")', "-o", "name").split() == ["in-1"]
    cf("apply", "-f", "-", stdin=wanted)
    assert set(cf("device", "list", "--filter", 'in_group("told")', "-o", "name").split()) == {"in-2", "mast-77"}
    assert outcomes(cf("apply", "-f", "-", "-o", "json", stdin=wanted)) == {"groups/told": "unchanged"}
    # Who says nothing of its devices leaves them as they are.
    assert outcomes(cf("apply", "-f", "-", "-o", "json", stdin="group_id: told")) == {"groups/told": "unchanged"}
    before = yaml.safe_load(cf("group", "get", "told", "-o", "yaml"))
    cf("group", "remove", "told", "in-2")
    stale = json.dumps({"group_id": "told", "etag": before["etag"], "devices": []})
    assert "ETAG_MISMATCH" in cf("apply", "-f", "-", code=5, stdin=stale)
    assert "NOT_FOUND" in cf("apply", "-f", "-", code=5, stdin="{group_id: told, devices: [nobody]}")
    assert "list of ids" in cf("apply", "-f", "-", code=2, stdin="{group_id: told, devices: mast-77}")
    cf("apply", "-f", "-", stdin="{group_id: told, devices: []}")
    assert cf("group", "get", "told", "-o", "json")["member_count"] == 0
    cf("group", "delete", "told", "--yes")


def test_many_devices_go_in_few_calls_and_one_that_is_wrong_holds_up_no_other(cf, registry, tmp_path):
    def calls(*methods):
        lines = urllib.request.urlopen(f"{registry.http}/metrics", timeout=60).read().decode().splitlines()
        named = [f'method="{method}"' for method in methods]
        counts = [line for line in lines if line.startswith("cityfleet_registry_api_requests_total")]
        return sum(float(line.split()[-1]) for line in counts if any(name in line for name in named))

    documents = [{"device_id": f"lot-{number}", "device_type": "gauge"} for number in range(300)]
    file = tmp_path / "lot.json"
    file.write_text(json.dumps(documents))
    before = calls("CreateDevice", "GetDevice", "UpdateDevice")
    batches = calls("BatchCreateDevices", "BatchGetDevices", "BatchUpdateDevices")
    tokens = tmp_path / "tokens.csv"
    made = outcomes(cf("apply", "-f", str(file), "--yes", "--tokens-out", str(tokens), "-o", "json"))
    assert set(made.values()) == {"created"}
    rows = list(csv.DictReader(tokens.open()))
    assert len({row["token"] for row in rows}) == len({row["device_id"] for row in rows}) == 300
    file.write_text(json.dumps([each | {"site": "Roof"} for each in documents]))
    assert set(outcomes(cf("apply", "-f", str(file), "--yes", "-o", "json")).values()) == {"changed"}
    assert calls("CreateDevice", "GetDevice", "UpdateDevice") == before
    assert calls("BatchCreateDevices", "BatchGetDevices", "BatchUpdateDevices") - batches == 6
    wrong = [each | {"site": "Cellar"} for each in documents]
    wrong[7] |= {"latitude": 91, "longitude": 0}
    file.write_text(json.dumps(wrong))
    done = outcomes(cf("apply", "-f", str(file), "--yes", "-o", "json", code=5))
    assert [name for name, outcome in done.items() if outcome == "failed"] == ["devices/lot-7"]
    assert cf("device", "list", "--filter", "site = Cellar", "--limit", "1000", "-o", "name").count("lot-") == 299
    kept = [each | {"labels": {"lot": "a"}} for each in documents]
    file.write_text(json.dumps(kept))
    cf("apply", "-f", str(file), "--yes")
    file.write_text(json.dumps(kept[:1]))
    before = calls("BatchDeleteDevices", "DeleteDevice")
    pruned = outcomes(cf("apply", "-f", str(file), "--prune", "--label", "lot=a", "--yes", "-o", "json"))
    assert Counter(pruned.values()) == {"deleted": 299, "unchanged": 1}
    assert calls("BatchDeleteDevices", "DeleteDevice") - before == 2
    spots = [{"site_id": f"spot-{number}", "labels": {"lot": "b"}} for number in range(300)]
    file.write_text(json.dumps(spots))
    cf("apply", "-f", str(file), "--yes")
    cf("device", "create", "at-spot-7", "-t", "gauge", "--site-id", "spot-7")
    file.write_text(json.dumps(spots[:1]))
    pruned = outcomes(cf("apply", "-f", str(file), "--prune", "--label", "lot=b", "--yes", "-o", "json", code=5))
    assert Counter(pruned.values()) == {"deleted": 298, "failed": 1, "unchanged": 1}
    assert pruned["sites/spot-7"] == "failed"


def test_what_was_deleted_by_hand_is_not_brought_back_unseen(cf, fleet):
    cf("device", "create", "gone", "-t", "gauge")
    cf("device", "delete", "gone")
    assert "`cityfleet device undelete gone`" in cf("apply", "-f", "-", code=5, stdin="device_id: gone\nsite: x")


def test_pruning_deletes_what_has_the_label_and_no_document(cf, tmp_path):
    for number in (1, 2):
        site = {"site_id": f"cut-{number}"}
        gateway = {"device_id": f"cut-gw-{number}", "device_type": "gateway", "site_id": f"cut-{number}"}
        device = {"device_id": f"cut-d-{number}", "device_type": "gauge", "gateway": f"cut-gw-{number}"}
        text = json.dumps([each | {"labels": {"cut": "yes-please"}} for each in (site, gateway, device)])
        (tmp_path / f"{number}.json").write_text(text)
    cf("apply", "-f", str(tmp_path))
    cf("device", "create", "cut-by-hand", "-t", "gauge")
    one = ("-f", str(tmp_path / "1.json"), "--prune", "--label", "cut=yes-please")
    told = cf("diff", *one).splitlines()
    assert told == [
        "- devices/cut-d-2",
        "- devices/cut-gw-2",
        "- sites/cut-2",
        "0 to create, 0 to change, 3 to delete, 3 as they shall be",
    ]
    cf("apply", *one, "--dry-run")
    assert cf("device", "get", "cut-d-2", "-o", "json")["state"] == "active"
    rows = outcomes(cf("apply", *one, "-o", "json"))
    assert [name for name, outcome in rows.items() if outcome == "deleted"] == [line[2:] for line in told[:3]]
    assert cf("device", "list", "--filter", "cut", "-o", "name").split() == ["cut-gw-1", "cut-d-1", "cut-by-hand"]
    assert "--label" in cf("apply", "-f", str(tmp_path), "--prune", code=2)
    assert "--prune" in cf("apply", "-f", str(tmp_path), "--label", "a=b", code=2)
    assert "has not the label" in cf("apply", "-f", "-", "--prune", "-l", "cut=x", code=2, stdin="device_id: other")


def test_many_changes_are_asked_about(cf):
    documents = json.dumps([{"site_id": f"many-{number}"} for number in range(11)])
    assert "Create or change 11 things? Nobody to ask here" in cf("apply", "-f", "-", code=2, stdin=documents)
    cf("site", "get", "many-0", code=3)
    assert len(cf("apply", "-f", "-", "--yes", "-o", "json", stdin=documents)) == 11
