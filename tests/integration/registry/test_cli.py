"""The commands metric, type and device against a real registry: answers, output formats, exit codes."""

import csv
import io
import json

import pytest
import yaml

from tests.support.cli import ROOT, cityfleet


@pytest.fixture(scope="module")
def database_kind():
    return "sqlite"


@pytest.fixture(scope="module")
def cf(registry, stubs):
    """Run `cityfleet ...`; gives exit code, standard output, standard error."""

    def run(*arguments, stdin=""):
        done = cityfleet(registry.data_dir, *arguments, stdin=stdin)
        return done.returncode, done.stdout, done.stderr

    return run


def test_the_example_types_apply_and_then_rest(cf):
    code, out, err = cf("type", "apply", "-f", "ops/types", "--dry-run", "-o", "json")
    assert code == 0, err
    assert {row["outcome"] for row in json.loads(out)} == {"created"}
    names = sorted(path.stem for path in (ROOT / "ops" / "types").glob("*.yaml"))
    assert len(names) == 11
    for outcome in ("created", "unchanged"):
        code, out, _ = cf("type", "apply", "-f", "ops/types", "-o", "json")
        assert code == 0
        assert {row["device_type"]: row["outcome"] for row in json.loads(out)} == dict.fromkeys(names, outcome)


def test_a_type_can_be_read_edited_and_applied_again(cf):
    cf(
        "type",
        "apply",
        "-f",
        "-",
        stdin="device_type: round-trip\nmetrics: [rain_mm, {metric: battery_pct, min_value: 0}]",
    )
    _, out, _ = cf("type", "get", "round-trip", "-o", "yaml")
    document = yaml.safe_load(out)
    assert document["metrics"] == [{"metric": "rain_mm"}, {"metric": "battery_pct", "min_value": 0.0}]
    document["expected_interval_s"] = 30
    code, applied, err = cf("type", "apply", "-f", "-", "-o", "json", stdin=json.dumps(document))
    assert code == 0, err
    assert json.loads(applied)[0]["outcome"] == "updated"
    code, _, err = cf("type", "apply", "-f", "-", stdin=json.dumps(document))
    assert code == 1
    assert "ETAG_MISMATCH" in err


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.yaml", "device_type: a\ncolour: red\n", "colour"),
        ("a.yaml", "device_type: a\nmetrics: [{metric: rain_mm, min: 0}]\n", "min"),
        ("a.yaml", "device_type: [", "not valid YAML"),
        ("a.toml", "device_type = ", "not valid TOML"),
        ("a.json", "{", "not valid JSON"),
        ("a.yaml", "display_name: a\n", "device_type"),
        ("a.yaml", "", "no device type"),
        ("a.txt", "device_type: a\n", ".yaml"),
        ("a.yaml", "device_type: a\nmetrics: [depth]\n", "METRIC_UNKNOWN"),
        ("a.yaml", "device_type: a\nexpected_interval_s: -1\n", "expected_interval_s"),
    ],
)
def test_a_wrong_type_file_is_a_usage_error(cf, tmp_path, name, text, says):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    code, _, err = cf("type", "apply", "-f", str(path))
    assert code == 2
    assert says in err


def test_toml_and_several_documents_are_read(cf, tmp_path):
    (tmp_path / "one.toml").write_text('device_type = "from-toml"\nmetrics = ["rain_mm"]\n', encoding="utf-8")
    (tmp_path / "two.yaml").write_text("device_type: from-yaml-1\n---\ndevice_type: from-yaml-2\n", encoding="utf-8")
    code, out, err = cf("type", "apply", "-f", str(tmp_path), "-o", "name")
    assert (code, err) == (0, "")
    assert out.split() == ["from-toml", "from-yaml-1", "from-yaml-2"]


def test_metrics_are_created_and_listed(cf):
    code, out, _ = cf("metric", "create", "tilt_deg", "--unit", "deg", "--description", "Tilt of the pole", "-o", "csv")
    assert code == 0
    assert out.splitlines() == ["metric,unit,description", "tilt_deg,deg,Tilt of the pole"]
    assert "tilt_deg" in cf("metric", "list", "-o", "name")[1].split()
    assert json.loads(cf("metric", "get", "tilt_deg", "-o", "json")[1])["metric_num"] > 20
    code, _, err = cf("metric", "create", "tilt_deg", "--unit", "deg")
    assert code == 1
    assert "ALREADY_EXISTS" in err
    assert cf("metric", "get", "nothing")[0] == 3


def test_a_device_lives_from_create_to_decommission(cf):
    code, out, err = cf(
        *("device", "create", "wl-1", "--type", "gauge", "--ward", "00097", "--site", "Cầu Long Biên"),
        *("--lat", "21.0437", "--lon", "105.85885", "-l", "owner=tnmt", "-l", "pilot=yes", "-o", "json"),
    )
    assert code == 0, err
    created = json.loads(out)
    assert len(created["token"]) == 43
    device = json.loads(cf("device", "get", "wl-1", "-o", "json")[1])
    assert device == {key: value for key, value in created.items() if key != "token"}
    assert device["labels"] == {"owner": "tnmt", "pilot": "yes"}

    code, out, err = cf(
        "device", "update", "wl-1", "--ward", "", "--remove-label", "pilot", "-l", "owner=a b", "-o", "json"
    )
    assert code == 0, err
    updated = json.loads(out)
    assert (updated["ward_code"], updated["labels"], updated["site"]) == ("", {"owner": "a b"}, "Cầu Long Biên")
    assert cf("device", "update", "wl-1", "--site", "x", "--etag", device["etag"])[0] == 1
    assert cf("device", "list", "--label", "owner=a b", "--type", "gauge", "-o", "name")[1] == "wl-1\n"

    (row,) = csv.DictReader(io.StringIO(cf("device", "list", "--filter", 'labels.owner = "a b"', "-o", "csv")[1]))
    assert (row["latitude"], row["longitude"]) == ("21.0437", "105.85885")

    code, out, _ = cf("device", "rotate-token", "wl-1")
    assert code == 0
    assert "token: " in out
    code, _, err = cf("device", "decommission", "wl-1")
    assert code == 2
    assert "--yes" in err
    assert cf("device", "decommission", "wl-1", "--yes")[0] == 0
    assert cf("device", "list", "--state", "decommissioned", "-o", "name")[1] == "wl-1\n"


def test_names_on_standard_output_keep_the_token_apart(cf):
    code, out, err = cf("device", "create", "named", "-t", "gauge", "-o", "name")
    assert (code, out) == (0, "named\n")
    assert err.startswith("token: ")


def test_a_table_shows_everything_when_it_goes_to_a_file(cf):
    site = "a long way down the road " * 8
    cf("device", "create", "far", "-t", "gauge", "--site", site.strip())
    out = cf("device", "get", "far", "-o", "wide")[1]
    assert site.strip() in out


def test_all_wrong_fields_are_shown_at_once(cf):
    code, out, err = cf("device", "create", "Bad", "-t", "none", "-w", "70")
    assert (code, out) == (2, "")
    for part in ("[INVALID_ARGUMENT INVALID_FIELDS]", "DEVICE_ID_INVALID", "DEVICE_TYPE_UNKNOWN", "write 00070"):
        assert part in err


def test_exit_codes_tell_the_kind_of_failure(cf):
    assert cf("device", "get", "nobody")[0] == 3
    assert cf("device", "list", "--filter", "colour = red")[0] == 2
    assert cf("device", "update", "nobody")[0] == 2
    assert cf("device", "create", "x", "-t", "gauge", "-l", "novalue")[0] == 2
    code, _, err = cf("device", "list", "--registry", "127.0.0.1:1")
    assert code == 1
    assert "cityfleet up" in err


def test_limits_are_kept(cf):
    for number in range(3):
        cf("device", "create", f"limit-{number}", "-t", "gauge", "-l", "limit=yes")
    assert cf("device", "list", "-l", "limit=yes", "--limit", "2", "-o", "name")[1].split() == ["limit-0", "limit-1"]


def test_every_command_teaches_by_example(cf):
    for command in (
        *(("metric", verb) for verb in ("create", "get", "list")),
        *(("type", verb) for verb in ("apply", "get", "list")),
        *(("device", verb) for verb in ("create", "get", "list", "update", "decommission", "rotate-token")),
        ("import", "devices"),
        ("registry",),
    ):
        code, out, _ = cf(*command, "--help")
        assert code == 0
        assert f"cityfleet {' '.join(command)}" in " ".join(out.split()), command


def test_the_vectors_of_the_example_types_pass_and_single_payloads_are_shown(cf):
    cf("type", "apply", "-f", "ops/types")
    code, out, err = cf("type", "test", "level-lorawan", "-o", "json")
    assert code == 0, err
    assert {row["outcome"] for row in json.loads(out)} == {"passes"}
    code, out, err = cf("type", "test", "level-lorawan", "--payload", "0bb8ffd864", "--f-port", "2", "-o", "json")
    assert code == 0, err
    level, temperature, battery = json.loads(out)
    shown = {"metric": "water_level_m", "source": "level", "sent": 5000.0, "sent_unit": "mm", "value": 5.0, "unit": "m"}
    assert level == shown | {"quality": "good", "time": "when received"}
    assert (temperature["value"], battery["value"]) == (-4.0, 100.0)
    code, _, err = cf("type", "test", "level-lorawan", "--payload", "0bb8", "--f-port", "2")
    assert code == 1
    assert "malformed_payload: payload shorter than its layout" in err
    code, out, err = cf("type", "test", "air-lorawan-lpp", "--payload", "0167011001ff", "-o", "csv")
    assert code == 5
    assert out.splitlines()[1].startswith("temperature_cel,27.2,Cel,good,temperature_1")
    assert "LPP: type not known" in err
    code, out, err = cf("type", "test", "-f", "ops/types/station-json.yaml", "--json", '{"device": {"battery": 120}}')
    assert code == 0, err
    assert "fail" in out
    assert cf("type", "test", "level-lorawan", "--payload", "zz")[0] == 2
    assert cf("type", "test", "gauge-river")[0] == 1


def test_a_type_whose_vectors_fail_is_refused(cf):
    text = (ROOT / "ops" / "types" / "level-lorawan.yaml").read_text().replace("battery: 100}", "battery: 99}")
    code, _, err = cf("type", "apply", "-f", "-", stdin=text)
    assert code == 2
    assert "vectors[0]: `a measurement`: battery: expected 99, got 100 [INVALID_ARGUMENT VECTOR_FAILED]" in err


def test_a_type_with_a_decoder_can_be_read_and_applied_again(cf):
    cf("type", "apply", "-f", "ops/types")
    _, out, _ = cf("type", "list", "-o", "yaml")
    code, applied, err = cf("type", "apply", "-f", "-", "-o", "json", stdin=out)
    assert code == 0, err
    assert {row["outcome"] for row in json.loads(applied)} == {"unchanged"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("decoder: {layouts: [{fields: [{nam: x, type: u8}]}]}", "$.decoder.layouts[0].fields[0]"),
        ("vectors: [{payload: 0102, expect: {x: 1}}]", "vectors[0].payload: write the hex digits in quotes"),
        ("vectors: [{payload: 'zz', expect: {x: 1}}]", "vectors[0].payload: `zz` is not hexadecimal"),
        ("vectors: [{payload_base64: '=', expect: {x: 1}}]", "vectors[0].payload_base64"),
    ],
)
def test_a_wrong_decoder_is_named_by_its_field(cf, text, says):
    code, _, err = cf("type", "apply", "-f", "-", stdin=f"device_type: a\n{text}\n")
    assert code == 2
    assert says in err
