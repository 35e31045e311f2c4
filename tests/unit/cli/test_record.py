"""Resources as rows, filters put together from options, and when it is asked before much is touched."""

import pytest
import typer
from google.protobuf.timestamp_pb2 import Timestamp

from cityfleet.registry.v1 import device_pb2, group_pb2, site_pb2
from cli.confirm import confirm
from cli.errors import CommandError, ExitCode
from cli.options import joined, labels_of, request_id_of
from cli.record import row_of


def test_a_row_says_words_times_and_nothing_for_what_is_not_set() -> None:
    device = device_pb2.Device(
        name="devices/wl-1",
        state=device_pb2.Device.STATE_ACTIVE,
        connectivity=device_pb2.CONNECTIVITY_NEVER_SEEN,
        latitude=0.0,
        labels={"z": "1", "a": "2"},
        create_time=Timestamp(seconds=1),
        health_reasons=["LATE"],
    )
    row = row_of(device, "device_id")
    assert (row["device_id"], row["state"], row["connectivity"], row["health"]) == ("wl-1", "active", "never_seen", "")
    assert (row["latitude"], row["longitude"]) == (0.0, None)
    assert list(row["labels"]) == ["a", "z"]
    assert (row["create_time"], row["update_time"]) == ("1970-01-01T00:00:01Z", "")
    assert row["health_reasons"] == ["LATE"]
    assert row["reported"] is None
    assert "name" not in row


def test_inner_messages_are_rows_too() -> None:
    device = device_pb2.Device(reported=device_pb2.ReportedState(firmware_version="1.2"))
    assert row_of(device, "device_id")["reported"]["firmware_version"] == "1.2"


def test_a_state_of_a_newer_registry_is_shown_as_its_number() -> None:
    device = device_pb2.Device()
    device.MergeFromString(b"\x58\x63")  # field 11 = 99
    assert row_of(device, "device_id")["state"] == "99"


@pytest.mark.parametrize("message", [site_pb2.Site(), group_pb2.Group(), group_pb2.SavedQuery(), device_pb2.Device()])
def test_every_resource_makes_a_row(message: object) -> None:
    assert row_of(message, "id")["id"] == ""  # type: ignore[arg-type]


def test_options_narrow_a_filter_and_do_not_change_it() -> None:
    assert joined("a = 1 OR b = 2", {"ward_code": "00070"}) == '(a = 1 OR b = 2) AND ward_code = "00070"'
    assert joined("", {"x": 'q"\\', "y": None}) == r'x = "q\"\\"'
    assert joined("a = 1", {}) == "a = 1"
    assert joined(" ", {}) == ""


def test_labels_are_pairs() -> None:
    assert labels_of(["a=1=2", "b="]) == {"a": "1=2", "b": ""}
    with pytest.raises(CommandError, match="KEY=VALUE"):
        labels_of(["a"])


def test_a_request_id_is_a_uuid_and_new_if_not_given() -> None:
    assert request_id_of("") != request_id_of("")
    with pytest.raises(CommandError, match="UUID"):
        request_id_of("again")


class Terminal:
    def __init__(self, answer: str) -> None:
        self._answer = answer

    def isatty(self) -> bool:
        return True

    def readline(self, *_: object) -> str:
        return self._answer + "\n"


@pytest.mark.parametrize(("count", "is_final"), [(0, True), (10, False)])
def test_little_is_not_asked_about(count: int, is_final: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    confirm("Change", count, "device", yes=False, is_final=is_final)


@pytest.mark.parametrize(("count", "is_final"), [(1, True), (11, False)])
def test_much_is_not_touched_where_nobody_answers(count: int, is_final: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    confirm("Change", count, "device", yes=True, is_final=is_final)
    with pytest.raises(CommandError) as caught:
        confirm("Change", count, "device", yes=False, is_final=is_final)
    assert caught.value.code is ExitCode.USAGE
    assert str(count) in str(caught.value)


def test_a_no_ends_it_and_the_question_has_the_count(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def answer(text: str, **options: object) -> None:
        asked.append(text)
        raise typer.Abort

    monkeypatch.setattr("cli.confirm.sys.stdin", Terminal("n"))
    monkeypatch.setattr("cli.confirm.typer.confirm", answer)
    with pytest.raises(typer.Abort):
        confirm("Purge", 12_000, "saved query", yes=False, is_final=True)
    assert asked == ["Purge 12,000 saved queries for good?"]
