"""Files of documents that are none: of another encoding, of any size; each has its answer before anything is done."""

import io
import sys

import pytest

from cli import document_file
from cli.document_file import read_documents
from cli.errors import CommandError, ExitCode, exit_code_of


@pytest.fixture
def give(tmp_path, monkeypatch):
    """Makes a file, or standard input, of some bytes; gives its name."""

    def made(source: str, content: bytes) -> str:
        if source == "-":
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))
            return source
        (tmp_path / source).write_bytes(content)
        return str(tmp_path / source)

    return made


@pytest.mark.parametrize("source", ["fleet.yaml", "fleet.json", "-"])
@pytest.mark.parametrize(
    ("content", "byte"), [("name: Cầu".encode("utf-16"), 0), (b"name: C\xe2u", 7), (b"a: b\nc: \xff", 8)]
)
def test_another_encoding_is_named_with_its_place(give, source, content, byte):
    with pytest.raises(CommandError, match=f"is not UTF-8, from byte {byte} on") as refused:
        read_documents([give(source, content)])
    assert refused.value.code is ExitCode.USAGE


@pytest.mark.parametrize("source", ["fleet.yaml", "fleet.json", "-"])
def test_what_is_as_large_as_may_be_is_read_and_one_byte_more_is_not(give, source, monkeypatch):
    content = b'[{"kind": "Site", "name": "sites/s-1"}]'
    monkeypatch.setattr(document_file, "MAX_BYTES", len(content))
    assert [document for _, document in read_documents([give(source, content)])] == [
        {"kind": "Site", "name": "sites/s-1"}
    ]
    with pytest.raises(CommandError, match="is larger than"):
        read_documents([give(source, content + b" ")])


def test_ten_gigabytes_are_refused_unread(tmp_path):
    path = tmp_path / "fleet.yaml"
    with path.open("wb") as file:
        file.truncate(10 << 30)  # takes no room
    with pytest.raises(CommandError, match="larger than 64 MiB") as refused:
        read_documents([str(path)])
    assert "cityfleet import" in refused.value.remedy


def test_an_input_that_no_command_can_read_is_no_traceback(capsys):
    with pytest.raises(UnicodeDecodeError) as met:
        b"\xff".decode()
    assert exit_code_of(met.value) == ExitCode.USAGE
    assert "is not UTF-8" in capsys.readouterr().err
