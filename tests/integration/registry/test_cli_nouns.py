"""Sites, wards, groups, saved queries and the life of devices by the command line, against a real registry."""

import csv
import io
import itertools
import json
import os
import signal
import subprocess
import sys

import pytest

from tests.support.cli import ROOT, cityfleet

SQUARE = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "properties": {"ma_xa": "00070"},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[105.84, 21.02], [105.86, 21.02], [105.86, 21.04], [105.84, 21.04], [105.84, 21.02]]],
            },
        }
    ],
}


@pytest.fixture(scope="module")
def database_kind():
    return "sqlite"


@pytest.fixture(scope="module")
def cf(registry, stubs):
    """Run `cityfleet ...` and give what it printed, read back if it was asked for as json; it must end with `code`."""

    def run(*arguments, code=0, stdin=""):
        done = cityfleet(registry.data_dir, *arguments, stdin=stdin)
        assert done.returncode == code, done.stderr
        if code:
            return done.stderr
        return json.loads(done.stdout) if "json" in arguments else done.stdout

    return run


def gauge(cf, device_id, *options):
    return cf("device", "create", device_id, "-t", "gauge", *options, "-o", "json")


def test_a_site_lives_from_create_to_undelete(cf):
    site = cf(
        *("site", "create", "bts-1", "--kind", "bts", "--lat", "21.5", "--lon", "105.5", "-w", "00070"),
        *("--name", "Cột 1", "-l", "power=grid", "-l", "pilot=yes", "-o", "json"),
    )
    assert (site["ward_code"], site["labels"]) == ("00070", {"pilot": "yes", "power": "grid"})
    changed = cf(
        *("site", "update", "bts-1", "--label", "power=solar", "--remove-label", "pilot", "--etag", site["etag"]),
        *("-o", "json"),
    )
    assert (changed["labels"], changed["display_name"]) == ({"power": "solar"}, "Cột 1")
    assert "ETAG_MISMATCH" in cf("site", "update", "bts-1", "--name", "x", "--etag", site["etag"], code=1)
    assert "bts, pole, bridge" in cf("site", "create", "x", "--kind", "mast", code=2)
    assert cf("site", "get", "bts-1", "-o", "json") == changed

    gauge(cf, "at-site", "--site-id", "bts-1")
    assert "SITE_IN_USE" in cf("site", "delete", "bts-1", code=1)
    cf("device", "delete", "at-site")
    cf("site", "delete", "bts-1", "--dry-run")
    assert cf("site", "get", "bts-1", "-o", "json")["delete_time"] == ""
    cf("site", "delete", "bts-1")
    assert cf("site", "get", "bts-1", "-o", "json")["purge_time"]
    cf("site", "undelete", "bts-1")
    assert cf("site", "get", "bts-1", "-o", "json")["delete_time"] == ""
    assert "NOT_FOUND" in cf("site", "get", "nowhere", code=3)


def test_sites_are_listed_by_filter_and_order(cf):
    for site_id, kind in (("list-a", "pole"), ("list-b", "bridge"), ("list-c", "pole")):
        cf("site", "create", site_id, "--kind", kind, "--ward", "00082")
    text = 'kind = pole AND ward_code = "00082"'
    assert cf("site", "list", "--filter", text, "--order-by", "site_id desc", "-o", "name").split() == [
        "list-c",
        "list-a",
    ]
    assert cf("site", "list", "--filter", text, "--limit", "1", "-o", "name") == "list-a\n"


def test_boundaries_find_the_ward_of_a_place(cf, tmp_path):
    file = tmp_path / "wards.geojson"
    file.write_text(json.dumps(SQUARE))
    assert "outside every boundary" in cf("ward", "locate", "21.03", "105.85", code=3)
    gauge(cf, "in-square", "--lat", "21.03", "--lon", "105.85")
    load = ("ward", "load", str(file), "--code-property", "ma_xa", "--reassign", "-o", "json")
    assert cf(*load, "--dry-run")["devices_moved"] == 1
    loaded = cf(*load)
    assert (loaded["boundaries"], loaded["devices_moved"], len(loaded["missing_ward_codes"])) == (1, 1, 125)
    assert cf("ward", "locate", "21.03", "105.85") == "ward_code\n00070    \n"
    assert cf("device", "get", "in-square", "-o", "json")["ward_code"] == "00070"
    assert cf("ward", "list", "--limit", "1", "-o", "json")[0]["ward_code"] == "00004"
    assert "--yes" in cf("ward", "load", "-", "--reassign", stdin="{}", code=2)
    assert "GEOJSON" in cf("ward", "load", "-", stdin="not json", code=2)
    assert "cannot read" in cf("ward", "load", str(tmp_path / "none"), code=2)


def test_a_group_gathers_devices_by_name_by_filter_and_from_standard_input(cf):
    for number in range(12):
        gauge(cf, f"in-group-{number}")
    assert "validate" not in cf("group", "create", "trial", "--dry-run")
    group = cf("group", "create", "trial", "--description", "New ones", "-o", "json")
    assert group["member_count"] == 0
    assert cf("group", "add", "trial", "in-group-0", "in-group-1", "-o", "json")["member_count"] == 2
    assert cf("group", "add", "trial", "-", "-o", "json", stdin="in-group-1\nin-group-2\n")["member_count"] == 3
    every = ("group", "add", "trial", "--filter", 'device_id = "in-group-*"')
    assert "Add 12 devices? Nobody to ask here" in cf(*every, code=2)
    assert cf(*every, "--yes", "-o", "json")["member_count"] == 12
    assert "DEVICE_NOT_FOUND" in cf("group", "add", "trial", "nobody", code=3)
    out_of_it = ("group", "remove", "trial", "--filter", 'device_id = "in-group-1*"')
    assert cf(*out_of_it, "-o", "json")["member_count"] == 9
    listed = cf("device", "list", "--filter", 'in_group("trial") AND device_id < "in-group-3"', "-o", "name")
    assert listed.split() == ["in-group-0", "in-group-2"]
    assert cf("group", "update", "trial", "--name", "Trial", "-o", "json")["description"] == "New ones"
    assert "trial" in cf("group", "list", "-o", "name")
    cf("group", "delete", "trial", "--yes")
    cf("group", "get", "trial", code=3)


def test_a_saved_query_is_a_filter_with_a_name(cf):
    gauge(cf, "asked-1", "-l", "asked=yes")
    assert "FILTER_FIELD_UNKNOWN" in cf("savedquery", "create", "asked", "--filter", "colour = red", code=2)
    cf("savedquery", "create", "asked", "--filter", "labels.asked = yes", "--name", "Asked")
    assert cf("device", "list", "--filter", 'in_query("asked")', "-o", "name") == "asked-1\n"
    query = cf("savedquery", "update", "asked", "--filter", "labels.asked = no", "-o", "json")
    assert (query["display_name"], query["filter"]) == ("Asked", "labels.asked = no")
    assert "ETAG_MISMATCH" in cf("savedquery", "update", "asked", "--name", "x", "--etag", '"1"', code=1)
    assert "asked,Asked,labels.asked = no" in cf("savedquery", "list", "-o", "csv")
    assert "--yes" in cf("savedquery", "delete", "asked", code=2)
    cf("savedquery", "delete", "asked", "--yes")
    assert "there is no saved query" in cf("device", "list", "--filter", 'in_query("asked")', code=2)


def test_devices_go_and_come_back(cf):
    gauge(cf, "comes-back", "--external-id", "0004a30b001c0530")
    cf("device", "delete", "comes-back", "--dry-run")
    assert cf("device", "get", "comes-back", "-o", "json")["state"] == "active"
    cf("device", "delete", "comes-back")
    assert "comes-back" not in cf("device", "list", "-o", "name").split()
    assert "comes-back" in cf("device", "list", "--show-deleted", "-o", "name").split()
    assert cf("device", "list", "--state", "deleted", "--filter", "comes-back", "-o", "name") == "comes-back\n"
    cf("device", "undelete", "comes-back")
    back = cf("device", "get", "comes-back", "-o", "json")
    assert (back["state"], back["delete_time"], back["external_id"]) == ("active", "", "")
    assert "Decommission 1 device? Nobody to ask here" in cf("device", "decommission", "comes-back", code=2)
    assert "which devices?" in cf("device", "delete", code=2)
    assert "goes with named devices" in cf("device", "delete", "--filter", "x", "--allow-missing", code=2)
    cf("device", "create", "goes-too", "-t", "gateway")
    gauge(cf, "goes-behind", "--gateway", "goes-too")
    both = ("device", "delete", "goes-too", "goes-behind")
    assert "nobody" in cf(*both, "nobody", code=3)
    assert cf("device", "get", "goes-too", "-o", "json")["state"] == "active"
    assert cf(*both, "nobody", "--allow-missing", "-o", "name").split() == ["goes-too", "goes-behind"]
    assert "not both" in cf("device", "delete", "a", "--filter", "*", code=2)


def test_several_devices_change_together_or_not_at_all(cf):
    for number in (1, 2):
        gauge(cf, f"both-{number}", "-l", "pilot=yes")
    both = ("device", "update", "both-1", "both-2")
    changed = cf(*both, "--ward", "00091", "--remove-label", "pilot", "-l", "owner=cepa", "-o", "json")
    assert [(device["ward_code"], device["labels"]) for device in changed] == [("00091", {"owner": "cepa"})] * 2
    assert "nobody" in cf("device", "update", "both-1", "nobody", "--ward", "00082", code=3)
    assert cf("device", "get", "both-1", "-o", "json")["ward_code"] == "00091"
    cf(*both, "--ward", "00082", "--dry-run")
    assert cf("device", "get", "both-2", "-o", "json")["ward_code"] == "00091"
    assert "an etag is of one device" in cf(*both, "--ward", "00082", "--etag", "x", code=2)
    assert "nothing to change" in cf("device", "update", "both-1", code=2)


def test_where_a_device_was_is_told_newest_first(cf):
    cf("device", "create", "moves-gw", "-t", "gateway")
    gauge(cf, "moves", "--ward", "00070")
    cf("device", "update", "moves", "--gateway", "moves-gw")
    cf("device", "update", "moves", "--ward", "00082")
    found = cf("device", "history", "moves", "-o", "json")
    assert [(was["gateway"], was["ward_code"]) for was in found] == [
        ("moves-gw", "00082"),
        ("moves-gw", "00070"),
        ("", "00070"),
    ]
    assert found[0]["end_time"] == ""
    assert [was["start_time"] for was in found[:2]] == [was["end_time"] for was in found[1:]]


def test_devices_are_counted_by_what_they_have_in_common(cf):
    for number, ward in enumerate(("00070", "00070", "00082")):
        gauge(cf, f"counted-{number}", "--ward", ward)
    mine = ("device", "count", "--filter", "counted")
    assert cf(*mine, "-o", "json") == {"devices": 3}
    rows = list(csv.reader(io.StringIO(cf(*mine, "--by", "ward_code", "--by", "health", "-o", "csv"))))
    assert rows == [["ward_code", "health", "devices"], ["00070", "unknown", "2"], ["00082", "unknown", "1"]]
    assert cf(*mine, "--by", "ward_code", "--limit", "1", "-o", "name") == "00070\n"
    assert "GROUP_BY_INVALID" in cf("device", "count", "--by", "colour", code=2)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("device", "list", "--filter", "colour = red"), 2, "ward_code"),
        (("device", "list", "--filter", "a AND"), 2, "FILTER_SYNTAX"),
        (("device", "list", "--filter", "a" * 100_000), 2, "FILTER_TOO_LONG"),
        (("device", "list", "--order-by", "colour"), 2, "ORDER_FIELD_UNKNOWN"),
        (("device", "list", "--watch", "--limit", "1"), 2, "no order and no end"),
        (("device", "list", "--watch", "-o", "json"), 2, "-o ndjson"),
        (("device", "create", "Bad_Id", "-t", "gauge"), 2, "DEVICE_ID_INVALID"),
        (("device", "create", "bad", "-t", "none"), 2, "DEVICE_TYPE_UNKNOWN"),
        (("device", "create", "bad", "-t", "gauge", "--ward", "70"), 2, "WARD_UNKNOWN"),
        (("device", "create", "bad", "-t", "gauge", "--lat", "95", "--lon", "0"), 2, "latitude"),
        (("device", "create", "bad", "-t", "gauge", "--site-id", "none"), 2, "SITE"),
        (("device", "create", "bad", "-t", "gauge", "-l", "owner"), 2, "is not KEY=VALUE"),
        (("device", "create", "bad", "-t", "gauge", "--request-id", "7"), 2, "is not a UUID"),
        (("device", "create", "bad", "-t", "gauge", "--site", "C\udce1u"), 2, "not UTF-8"),
        (("device", "purge"), 2, "which devices?"),
        (("site", "update", "x"), 2, "nothing to change"),
        (("group", "add", "x"), 2, "standard input"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(cf, arguments, code, says):
    assert says in cf(*arguments, code=code)


def test_a_watch_shows_what_matches_and_then_each_change(cf, registry):
    for device_id in ("seen-1", "seen-2", "unseen"):
        gauge(cf, device_id)
    text = 'device_id = "seen-*" AND NOT labels.hidden = yes'
    # Where the tests run in the background of a script, SIGINT is ignored, and a child inherits that.
    heeds = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from cli.main import main; main()"
    watch = subprocess.Popen(
        [sys.executable, "-c", heeds, "device", "list", "--watch", "--filter", text, "-o", "ndjson"],
        cwd=ROOT,
        env=os.environ
        | {"CITYFLEET_DATA_DIR": str(registry.data_dir), "PYTHONPATH": f"{ROOT}:{ROOT / 'proto' / 'gen'}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        rows = (json.loads(line) for line in watch.stdout)
        snapshot = {row["device_id"]: row["change"] for row in itertools.islice(rows, 2)}
        assert snapshot == dict.fromkeys(("seen-1", "seen-2"), "snapshot")
        cf("device", "update", "unseen", "--ward", "00070")
        cf("device", "update", "seen-1", "--ward", "00070")
        row = next(rows)
        assert (row["change"], row["device_id"], row["ward_code"]) == ("changed", "seen-1", "00070")
        cf("device", "update", "seen-2", "--label", "hidden=yes")
        row = next(rows)
        assert (row["change"], row["device_id"]) == ("removed", "seen-2")
        gauge(cf, "seen-3")
        assert next(rows)["device_id"] == "seen-3"
        watch.send_signal(signal.SIGINT)
        assert watch.wait(20) == 0
    finally:
        watch.kill()
        watch.wait()
        watch.stdout.close()
