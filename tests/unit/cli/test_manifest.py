"""Documents for `apply`: what they are about, how they become messages, where two of them differ."""

import pytest

from cityfleet.registry.v1 import access_pb2, device_pb2
from cli.apply_plan import read_items
from cli.errors import CommandError
from cli.manifest import changes
from cli.manifest_kinds import ACCOUNT, DEVICE, SITE, kind_of

# Nine lists of nine of the list before.
BOMB = "device_type: a\nconfig_schema:\n  a0: &a0 [x]\n" + "".join(
    f"  a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 9)}]\n" for number in range(1, 10)
)


@pytest.mark.parametrize(
    ("document", "word", "resource_id"),
    [
        ({"device_id": "a", "site_id": "b", "device_type": "c"}, "device", "a"),
        ({"site_id": "b", "kind": "bts"}, "site", "b"),
        ({"device_type": "c", "metrics": ["rain_mm"]}, "type", "c"),
        ({"metric": "rain_mm", "unit": "mm"}, "metric", "rain_mm"),
        ({"group_id": "g"}, "group", "g"),
        ({"saved_query_id": "q", "filter": "*"}, "saved query", "q"),
        ({"account_id": "ann"}, "account", "ann"),
        ({"operator": "desk", "publish_filters": []}, "operator", "desk"),
    ],
)
def test_an_id_says_what_a_document_is_about(document, word, resource_id):
    kind, found = kind_of(document)
    assert (kind.word, found) == (word, resource_id)


@pytest.mark.parametrize("document", [None, [], "a", {}, {"name": "a"}, {"device_id": 7}, {"site_id": "a/b"}])
def test_a_document_without_an_id_is_refused(document):
    with pytest.raises(ValueError, match="id"):
        kind_of(document)


@pytest.mark.parametrize(
    ("kind", "document", "says"),
    [
        (DEVICE, {"ward": "00070"}, "do you mean `ward_code`"),
        (DEVICE, {"colour": "red"}, "there are display_name"),
        (DEVICE, {"token": "x" * 20}, "token: not in such a file"),
        (DEVICE, {"ward_code": 56}, "in quotes"),
        (DEVICE, {"labels": {"pilot": True}}, "in quotes"),
        (DEVICE, {"latitude": "north"}, "latitude"),
        (SITE, {"labels": []}, "labels"),
        (ACCOUNT, {"grants": [{"role": "king"}]}, "ROLE_KING"),
        (ACCOUNT, {"grants": [{"rank": "viewer"}]}, "rank"),
    ],
)
def test_a_wrong_key_or_value_is_named(kind, document, says):
    with pytest.raises(ValueError, match=says):
        kind.parsed({kind.id_key: "a", **document})


def test_what_the_registry_found_by_the_place_is_not_the_documents_word():
    given = {"device_id": "a", "ward_code": "00070", "is_ward_derived": True, "latitude": 21.0, "longitude": 105.0}
    document = DEVICE.document(DEVICE.parsed(given))
    assert (document["ward_code"], document["latitude"]) == ("", 21.0)


def test_what_is_printed_is_read_back():
    device = device_pb2.Device(
        device_type="gauge", ward_code="00070", labels={"a": "b"}, latitude=21.5, longitude=105.5
    )
    assert DEVICE.parsed({"device_id": "a"} | DEVICE.document(device)) == device
    account = access_pb2.Account(
        is_service=True, grants=[{"role": "ROLE_VIEWER", "ward_codes": ["00070"]}, {"role": "ROLE_ENGINEER"}]
    )
    printed = ACCOUNT.document(account)
    assert printed["grants"][0]["role"] == "viewer"
    assert ACCOUNT.parsed({"account_id": "a"} | printed) == account


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1, "l": {"x": "1"}}, {"a": 2, "l": {"y": "2"}}, [("a", 1, 2), ("l.x", "1", None), ("l.y", None, "2")]),
        (
            {"metrics": [{"metric": "m", "min": 0}, {"metric": "n"}]},
            {"metrics": [{"metric": "n"}, {"metric": "m", "min": 1}]},
            [("metrics[m].min", 0, 1)],
        ),
        ({"metrics": [{"metric": "m"}]}, {"metrics": []}, [("metrics[m]", {"metric": "m"}, None)]),
        ({"l": [1, 2]}, {"l": [2, 1]}, [("l", [1, 2], [2, 1])]),
        ({}, {"l": [{"k": 1}]}, [("l", None, [{"k": 1}])]),
    ],
)
def test_differences_are_told_value_by_value(before, after, found):
    assert list(changes(before, after)) == found


def test_documents_come_in_the_order_in_which_they_can_be_made(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "[{device_id: d, gateway: g}, {device_id: g}, {saved_query_id: q}, {site_id: s}, {device_type: t}, {metric: m}]"
    )
    assert [item.resource_id for item in read_items([str(tmp_path)])] == ["m", "t", "s", "g", "d", "q"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("site_id: a\n---\nsite_id: a\n", "sites/a is in .* and in .*, document 2"),
        ("", "nothing to apply"),
        ("site_id: a\n---\n{nobody: b}\n", "document 2: no id"),
        ("a: [", "not valid YAML"),
        ("[" * 1500, "not valid YAML|too deeply"),
        ("device_id: a\ndisplay_name: 2026-02-30\n", "not valid YAML"),
        (f"device_id: a\ndevice_num: {'9' * 5000}\n", "not valid YAML"),
        (BOMB, "aliases make it many times as large"),
        ("device_type: a\nconfig_schema: &all {properties: *all}\n", "aliases make it many times as large"),
    ],
)
def test_a_file_that_cannot_be_applied_is_a_usage_error(tmp_path, text, says):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(CommandError, match=says):
        read_items([str(path)])
