"""A payload as a person reads it: where the fault is, what to do, and nothing that a terminal obeys."""

import pytest

from cli.quarantine_show import ADVICE, advice, document, fault_at, hex_lines, printable, write_document
from ext.telemetry.frames import REASON_NAMES

ROW = {
    "id": "019e43b2-8e07-7c55-a3d2-1f0000000004",
    "device_id": "wl-1",
    "reason": "malformed_payload",
    "detail": "bad number, byte 3",
    "readings": 2,
    "size_bytes": 5,
}


def test_every_reason_of_ingest_has_advice():
    assert set(REASON_NAMES) - {""} <= set(ADVICE)
    assert "wl-7" in advice("malformed_payload", "wl-7")
    assert "the device" in advice("malformed_payload", "")
    assert advice("a reason of tomorrow", "wl-7") == ""


@pytest.mark.parametrize(("detail", "byte"), [("bad number, byte 17", 17), ("metric x, reading 3", None), ("", None)])
def test_the_byte_of_the_fault_is_in_the_detail(detail, byte):
    assert fault_at(detail) == byte


def test_the_arrow_is_below_the_byte():
    lines = list(hex_lines(bytes(range(40)), 18))
    at = lines.index(next(line for line in lines if "^^" in line))
    assert lines[at - 1][lines[at].index("^^") :][:2] == "12"
    assert lines[at].endswith("byte 18")


def test_a_fault_at_the_end_is_said_so():
    assert list(hex_lines(b"abc", 3))[-1].endswith("byte 3: the end")
    assert list(hex_lines(b"x" * 16, 16))[-1].endswith("byte 16: the end")


@pytest.mark.parametrize("fault", [None, 0, 100, 300, 50_000, 99_999, 100_000, 10**15])
def test_of_a_large_payload_the_beginning_and_the_place_are_shown(fault):
    payload = bytes(range(250)) * 400
    lines = list(hex_lines(payload, fault))
    assert len(lines) < 60
    assert lines[0].startswith("00000000  00 01 02")
    shown = sum(len(line[10:58].split()) for line in lines if line[:8].strip() and line[8:10] == "  ")
    skipped = sum(int(line.split()[1].replace(",", "")) for line in lines if " bytes ..." in line)
    assert shown + skipped == len(payload)
    if fault is not None:
        assert any(f"^^ byte {fault}" in line for line in lines)
    assert len(list(hex_lines(payload, None, whole=True))) == len(payload) // 16


def test_a_terminal_gets_nothing_that_it_obeys(capsys):
    assert printable("a\x1b[31m\u202e\tü") == "a\\x1b[31m\\u202e\\tü"
    payload = b"\x1b]0;title\x07\xc2\x9b31m\xff\x00\r\n"
    for bytes_sent in (payload, payload.replace(b"\xff", b"")):
        write_document(ROW, bytes_sent, whole=False)
        out = capsys.readouterr().out
        assert all(one.isprintable() or one == "\n" for one in out)
        assert "stands for 2 readings" in out


def test_text_is_shown_as_text_and_bytes_are_not(capsys):
    write_document(ROW, '[{"n":"é"}]\n'.encode(), whole=False)
    assert '\n[{"n":"é"}]\n' in capsys.readouterr().out
    assert document(ROW, "é".encode())["text"] == "é"
    assert document(ROW, b"\xff") | {"text": None} == document(ROW, b"\xff")
    assert document(ROW, b"\xff")["base64"] == "/w=="
    assert document(ROW, b"\xff")["fault_at_byte"] == 3
