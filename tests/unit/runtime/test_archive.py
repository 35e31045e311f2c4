"""The backup's file: what goes in comes out, and nothing out of a file that was cut, altered or made by others."""

import hashlib
import io
import random
import tarfile
from pathlib import Path

import msgspec
import pytest
import zstandard

from runtime.archive import FORMAT, HEAD, MANIFEST, ArchiveError, ArchiveReader, ArchiveWriter, Head, Source

HEADED = Head(FORMAT, "0.1.0", "2026-01-01T00:00:00+00:00")


@pytest.fixture
def data(tmp_path) -> dict[str, bytes]:
    random.seed(1)
    files = {
        "store/a": random.randbytes(3_000_000),
        "store/empty": b"",
        "secrets/x": b"secret",
        "ingest/ä b": bytes(70_000),
    }
    for name, content in files.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return files


@pytest.fixture
def archive(tmp_path, data) -> Path:
    path = tmp_path / "archive"
    with path.open("wb") as file, ArchiveWriter(file, HEADED) as writer:
        for name in data:
            writer.add(Source(name, tmp_path / "data" / name))
        writer.finish({"what": "test"})
    return path


def packed(path: Path, members: list[tuple[str, bytes]], *, manifest: bytes | None = None) -> Path:
    """An archive of these members, as somebody else could have made it."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        entries = []
        for name, content in [(HEAD, msgspec.json.encode(HEADED)), *members]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
            if name != HEAD:
                entries.append(
                    {"path": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "mode": 0o600}
                )
        said = manifest if manifest is not None else msgspec.json.encode({"files": entries, "about": {}})
        info = tarfile.TarInfo(MANIFEST)
        info.size = len(said)
        tar.addfile(info, io.BytesIO(said))
    path.write_bytes(zstandard.ZstdCompressor().compress(raw.getvalue()))
    return path


def test_what_goes_in_comes_out(tmp_path, data, archive):
    reader = ArchiveReader(archive)
    manifest = reader.check()
    (tmp_path / "out").mkdir()
    reader.extract(tmp_path / "out", manifest)
    assert reader.head == HEADED
    assert manifest.size_bytes == sum(map(len, data.values()))
    assert msgspec.json.decode(manifest.about) == {"what": "test"}
    for name, content in data.items():
        path = tmp_path / "out" / name
        assert path.read_bytes() == content
        assert path.stat().st_mode & 0o777 == 0o600


def test_progress_counts_every_byte(tmp_path, data, archive):
    seen: list[int] = []
    ArchiveReader(archive).check(seen.append)
    assert sum(seen) == sum(map(len, data.values()))


@pytest.mark.parametrize("kept", [0, 1, 3, 100, 0.1, 0.5, 0.9, 0.9999])
def test_a_file_that_was_cut_off_is_refused(archive, kept):
    whole = archive.read_bytes()
    archive.write_bytes(whole[: kept if isinstance(kept, int) else int(len(whole) * kept)])
    with pytest.raises(ArchiveError):
        ArchiveReader(archive).check()


def test_a_flipped_bit_anywhere_is_found(archive):
    whole = archive.read_bytes()
    expected = ArchiveReader(archive).check()
    chance = random.Random(2)
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        archive.write_bytes(damaged)
        try:
            found = ArchiveReader(archive).check()
        except ArchiveError:
            continue
        assert found == expected  # in what nothing is read from


@pytest.mark.parametrize("content", [b"", b"hello", b"\x28\xb5\x2f\xfd", bytes(5000), b"PK\x03\x04" + bytes(500)])
def test_a_file_that_is_no_backup_is_refused(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ArchiveError):
        ArchiveReader(path)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../escape", "store/../../escape", "store/./a", "..", "store//a", "store/a\\..\\b"]
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    path = packed(tmp_path / "archive", [(name, b"x")])
    with pytest.raises(ArchiveError, match="does not belong"):
        ArchiveReader(path).check()


def test_links_and_devices_are_refused(tmp_path):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        info = tarfile.TarInfo("store/link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    path = tmp_path / "archive"
    path.write_bytes(zstandard.ZstdCompressor().compress(raw.getvalue()))
    with pytest.raises(ArchiveError):
        ArchiveReader(path)


def test_a_file_twice_is_refused(tmp_path):
    path = packed(tmp_path / "archive", [("store/a", b"x"), ("store/a", b"x")])
    with pytest.raises(ArchiveError, match="twice"):
        ArchiveReader(path).check()


@pytest.mark.parametrize("manifest", [b"", b"{}", b'{"files": [], "about": {}}', b"\xff", b"[" * 5000])
def test_a_manifest_that_says_something_else_is_refused(tmp_path, manifest):
    path = packed(tmp_path / "archive", [("store/a", b"x")], manifest=manifest)
    with pytest.raises(ArchiveError):
        ArchiveReader(path).check()


def test_a_spool_file_that_shrinks_is_filled_up_and_another_is_an_error(tmp_path):
    path = tmp_path / "file"
    for may_shrink in (True, False):
        with (tmp_path / "archive").open("wb") as file, ArchiveWriter(file, HEADED) as writer:

            def shrink(_: int) -> None:
                path.write_bytes(b"")

            path.write_bytes(b"x" * 3_000_000)
            writer._on_bytes = shrink
            if may_shrink:
                writer.add(Source("a", path, may_shrink=True))
                writer.finish({})
            else:
                with pytest.raises(ArchiveError, match="shorter"):
                    writer.add(Source("a", path))
                continue
        assert ArchiveReader(tmp_path / "archive").check().files[0].size == 3_000_000


@pytest.mark.parametrize("fate", ["removed", "another file"])
def test_a_segment_that_was_written_meanwhile_does_not_come_back(tmp_path, fate):
    path = tmp_path / "segment"
    path.write_bytes(b"x" * 3_000_000)
    other = tmp_path / "other"
    other.write_bytes(b"z")

    def change(count: int) -> None:
        if count < 10_000:  # the head, or the other file
            return
        path.unlink(missing_ok=True)
        if fate == "another file":
            path.write_bytes(b"y")

    archive = tmp_path / "archive"
    with archive.open("wb") as file, ArchiveWriter(file, HEADED, change) as writer:
        writer.add(Source("spool/gone", path, counts_while_there=True))
        writer.add(Source("spool/there", other, counts_while_there=True))
        writer.finish({})
    reader = ArchiveReader(archive)
    manifest = reader.check()
    assert manifest.void == ["spool/gone"]
    (tmp_path / "out").mkdir()
    reader.extract(tmp_path / "out", manifest)
    assert [path.name for path in (tmp_path / "out/spool").iterdir()] == ["there"]
