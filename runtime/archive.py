"""A backup's file: one tar under zstd, written in one go, with a manifest of every file's size and SHA-256 as its end.

The first member is a few bytes that every version can read (which format this is, who wrote it). The manifest is the
last one, because sums are known only when the bytes have gone by. An archive without its manifest is not whole.
"""

import contextlib
import hashlib
import io
import os
import re
import tarfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import IO, BinaryIO

import msgspec
import zstandard

FORMAT = 1
HEAD, MANIFEST = "cityfleet-backup.json", "manifest.json"
_STEP = 1 << 20
_OWNER = 0o700
_HEAD_BYTES_MAX = 1 << 16
_MANIFEST_BYTES_MAX = 1 << 30
# Relative, without `.` and `..`, of what our own files are named with.
_NAME = re.compile(r"(?!\.{1,2}(?:/|$))[^/\0\\]+(?:/(?!\.{1,2}(?:/|$))[^/\0\\]+)*")

OnBytes = Callable[[int], None]


class ArchiveError(Exception):
    """The file is no backup, not whole or not what it was; its text says what was found."""


class Source(msgspec.Struct, frozen=True):
    """A file to be packed, and its name in the archive.

    `may_shrink`: what it has lost while it is read is filled up with zeros. `counts_while_there`: one that is gone when
    it has been read, or is another file, was not needed any more, and what was read of it may be anything.
    """

    name: str
    path: Path
    may_vanish: bool = False
    may_shrink: bool = False
    counts_while_there: bool = False


class Entry(msgspec.Struct, frozen=True):
    """A file in an archive. `mode`: its permission bits."""

    path: str
    size: int
    sha256: str
    mode: int


class Head(msgspec.Struct, frozen=True):
    format: int
    cityfleet: str
    created_at: str


class Manifest(msgspec.Struct, frozen=True):
    """`about`: what the writer says of the contents. `void`: names of files that are there, but do not count."""

    files: list[Entry]
    about: msgspec.Raw
    void: list[str] = []

    @property
    def size_bytes(self) -> int:
        return sum(entry.size for entry in self.files)


class ArchiveWriter:
    """`with ArchiveWriter(file, head) as archive: archive.add(source); archive.finish(about)`."""

    def __init__(self, file: IO[bytes], head: Head, on_bytes: OnBytes = lambda _: None) -> None:
        # The engine's files are compressed already: more than the lowest level costs time and wins nothing.
        self._stream = zstandard.ZstdCompressor(level=1, write_checksum=True).stream_writer(file, closefd=False)
        self._tar = tarfile.open(fileobj=self._stream, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._on_bytes = on_bytes
        self.entries: list[Entry] = []
        self._void: list[str] = []
        self._put(HEAD, io.BytesIO(msgspec.json.encode(head)), len(msgspec.json.encode(head)))

    def __enter__(self) -> "ArchiveWriter":
        return self

    def __exit__(self, *_: object) -> None:
        # After an error the disk may be full: what closing says then is no news.
        with contextlib.suppress(OSError, zstandard.ZstdError, ValueError):
            self._tar.close()
        with contextlib.suppress(OSError, zstandard.ZstdError, ValueError):
            self._stream.close()  # type: ignore[no-untyped-call]

    def add(self, source: Source) -> bool:
        """Pack one file, as long as it is now; False if it is gone and may be. Raises: OSError; ArchiveError."""
        try:
            file = source.path.open("rb")
        except FileNotFoundError:
            if source.may_vanish:
                return False
            raise
        with file:
            status = os.fstat(file.fileno())
            self._put(
                source.name,
                file,
                status.st_size,
                status.st_mode & _OWNER,
                status.st_mtime,
                may_shrink=source.may_shrink,
            )
            if source.counts_while_there and not _is_at(
                status, source.path
            ):  # still open: its number is not used again
                self._void.append(source.name)
        return True

    def finish(self, about: object) -> Manifest:
        """Write the manifest and the end. Raises: OSError."""
        manifest = Manifest(list(self.entries), msgspec.Raw(msgspec.json.encode(about)), list(self._void))
        data = msgspec.json.encode(manifest)
        self._put(MANIFEST, io.BytesIO(data), len(data))
        self._tar.close()
        self._stream.close()  # type: ignore[no-untyped-call]
        return manifest

    def _put(
        self, name: str, file: BinaryIO, size: int, mode: int = 0o600, time_s: float = 0, *, may_shrink: bool = False
    ) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode, member.mtime = size, mode, int(time_s)
        reading = _Measured(file, size, self._on_bytes, may_shrink=may_shrink)
        try:
            self._tar.addfile(member, reading)
        except EOFError as exc:
            raise ArchiveError(f"{name} became shorter while it was read") from exc
        self._tar.members.clear()  # type: ignore[attr-defined]  # it would keep every one
        if name not in (HEAD, MANIFEST):
            self.entries.append(Entry(name, size, reading.sha256.hexdigest(), mode))


def _is_at(status: os.stat_result, path: Path) -> bool:
    try:
        return os.path.samestat(status, path.stat())
    except FileNotFoundError:
        return False


class _Measured:
    """The first `left` bytes of a file, summed up as they go by."""

    def __init__(self, file: IO[bytes], left: int, on_bytes: OnBytes, *, may_shrink: bool = False) -> None:
        self._file = file
        self._left = left
        self._on_bytes = on_bytes
        self._may_shrink = may_shrink
        self.sha256 = hashlib.sha256()

    def read(self, wanted: int = -1) -> bytes:
        wanted = self._left if wanted < 0 else min(wanted, self._left)
        data = self._file.read(wanted)
        if len(data) < wanted:
            if not self._may_shrink:
                raise EOFError
            data += bytes(wanted - len(data))
        self._left -= len(data)
        self.sha256.update(data)
        self._on_bytes(len(data))
        return data


class ArchiveReader:
    """Reads an archive from its start to its end, as often as it is asked to."""

    def __init__(self, path: Path) -> None:
        """Raises: OSError; ArchiveError if the file does not begin like a backup."""
        self._path = path
        with _said_plainly(), contextlib.closing(self._members()) as members:
            found = next(members, None)
            if found is None or found[0] != HEAD or found[1] > _HEAD_BYTES_MAX:
                raise ArchiveError("the file is no backup of cityfleet")
            self.head = msgspec.json.decode(found[3].read(), type=Head)

    def check(self, on_bytes: OnBytes = lambda _: None) -> Manifest:
        """Read everything and compare it with the manifest. Raises: OSError; ArchiveError."""
        with _said_plainly():
            return self._pass(None, on_bytes)

    def extract(self, folder: Path, expected: Manifest, on_bytes: OnBytes = lambda _: None) -> None:
        """Write all files that count below `folder`, which is empty.

        Raises: OSError; ArchiveError if the archive has changed.
        """
        with _said_plainly():
            found = self._pass(folder, on_bytes, frozenset(expected.void))
        if found.files != expected.files:
            raise ArchiveError("the file changed while it was read")

    def _pass(self, folder: Path | None, on_bytes: OnBytes, void: frozenset[str] = frozenset()) -> Manifest:
        found: list[Entry] = []
        names: set[str] = set()
        manifest: Manifest | None = None
        for name, size, mode, file in self._members():
            if name in names:
                raise ArchiveError(f"{name} is there twice")
            names.add(name)
            if manifest is not None:
                raise ArchiveError("there is more after the manifest")
            if name == MANIFEST:
                if size > _MANIFEST_BYTES_MAX:
                    raise ArchiveError("the manifest is too large")
                manifest = msgspec.json.decode(file.read(), type=Manifest)
            elif name != HEAD:
                found.append(_copy(name, size, mode, file, None if name in void else folder, on_bytes))
        if manifest is None:
            raise ArchiveError("the file ends before its manifest: it was cut off")
        if found != manifest.files:
            wrong = next((a.path for a, b in zip(found, manifest.files, strict=False) if a != b), "")
            raise ArchiveError(
                f"{wrong} is not what it was when it was packed" if wrong else "files are missing or extra"
            )
        return manifest

    def _members(self) -> Generator[tuple[str, int, int, IO[bytes]], None, None]:
        """Name, size, mode and bytes of each member, in their order."""
        with self._path.open("rb") as raw:
            stream = zstandard.ZstdDecompressor().stream_reader(raw)
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                for member in tar:
                    file = tar.extractfile(member) if member.isreg() else None
                    if file is None or not _NAME.fullmatch(member.name):
                        raise ArchiveError(f"{member.name!r} does not belong into a backup")
                    yield member.name, member.size, member.mode & _OWNER, file
                    tar.members.clear()  # type: ignore[attr-defined]
            while stream.read(_STEP):  # to the end, where the sum of the whole is compared
                pass


@contextlib.contextmanager
def _said_plainly() -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, zstandard.ZstdError, msgspec.DecodeError, EOFError, UnicodeDecodeError) as exc:
        raise ArchiveError(f"the file is damaged or no backup: {exc}") from exc


def _copy(name: str, size: int, mode: int, file: IO[bytes], folder: Path | None, on_bytes: OnBytes) -> Entry:
    """Read one file, into `folder` if there is one; only its owner may read what is written."""
    reading = _Measured(file, size, on_bytes)
    with contextlib.ExitStack() as held:
        out: IO[bytes] | None = None
        if folder is not None:
            path = folder / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            out = held.enter_context(
                os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb")
            )
        while data := reading.read(_STEP):
            if out is not None:
                out.write(data)
    return Entry(name, size, reading.sha256.hexdigest(), mode)
