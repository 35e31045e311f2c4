"""Content encodings of HTTP bodies, as streams."""

import zlib
from typing import Any, Protocol

import lz4.frame
import zstandard

from store.embedded import errors


class Decoder(Protocol):
    def decode(self, data: bytes) -> bytes: ...
    def finish(self) -> None:
        """Raises StoreError if the stream is cut short."""


class Encoder(Protocol):
    def encode(self, data: bytes) -> bytes: ...
    def finish(self) -> bytes: ...


class Plain:
    def decode(self, data: bytes) -> bytes:
        return data

    def finish(self) -> None:
        return None


class _Stream:
    """Wraps a decompressor that knows its own end (`eof`, `unused_data`); several members in a row are one body."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._codec = self._new()
        self._begun = False

    def _new(self) -> Any:
        if self._name == "gzip":
            return zlib.decompressobj(16 + zlib.MAX_WBITS)
        if self._name == "deflate":
            return zlib.decompressobj()
        if self._name == "lz4":
            return lz4.frame.LZ4FrameDecompressor()
        return zstandard.ZstdDecompressor().decompressobj()

    def decode(self, data: bytes) -> bytes:
        parts = []
        try:
            while data:
                if self._codec.eof:
                    self._codec = self._new()
                self._begun = True
                parts.append(self._codec.decompress(data))
                data = (self._codec.unused_data or b"") if self._codec.eof else b""
        except (zlib.error, RuntimeError, zstandard.ZstdError) as exc:
            raise errors.refused(354, f"The body is not valid {self._name}: {exc}", "CANNOT_DECOMPRESS") from exc
        return b"".join(parts)

    def finish(self) -> None:
        if self._begun and not self._codec.eof:
            raise errors.refused(354, f"The {self._name} body ends too early", "CANNOT_DECOMPRESS")


def decoder(encoding: str) -> Decoder:
    """Raises StoreError for an encoding nobody speaks."""
    name = {"x-gzip": "gzip"}.get(encoding.lower(), encoding.lower())
    if name in ("", "identity"):
        return Plain()
    if name in ("gzip", "deflate", "lz4", "zstd"):
        return _Stream(name)
    raise errors.refused(48, f"Unknown Content-Encoding {encoding}", "NOT_IMPLEMENTED")


class _Zlib:
    def __init__(self, wbits: int, level: int) -> None:
        self._codec = zlib.compressobj(level, zlib.DEFLATED, wbits)

    def encode(self, data: bytes) -> bytes:
        return self._codec.compress(data)

    def finish(self) -> bytes:
        return self._codec.flush()


class _Lz4:
    def __init__(self) -> None:
        self._codec = lz4.frame.LZ4FrameCompressor()
        self._head: bytes = self._codec.begin()

    def encode(self, data: bytes) -> bytes:
        head, self._head = self._head, b""
        packed: bytes = self._codec.compress(data)
        return head + packed

    def finish(self) -> bytes:
        end: bytes = self._codec.flush()
        return self._head + end


class _Zstd:
    def __init__(self, level: int) -> None:
        self._codec = zstandard.ZstdCompressor(level=level).compressobj()

    def encode(self, data: bytes) -> bytes:
        return self._codec.compress(data)

    def finish(self) -> bytes:
        return self._codec.flush()


def choose(accepted: str) -> str:
    """The first encoding we speak of an Accept-Encoding header, or ""."""
    offered = []
    for part in accepted.lower().split(","):
        name, _, weight = part.partition(";")
        if weight.replace(" ", "") not in ("q=0", "q=0.0"):
            offered.append(name.strip())
    return next((name for name in ("zstd", "lz4", "gzip", "deflate") if name in offered), "")


def encoder(name: str, level: int) -> Encoder:
    """`name` is one that `choose` gave."""
    if name == "gzip":
        return _Zlib(16 + zlib.MAX_WBITS, level)
    if name == "deflate":
        return _Zlib(zlib.MAX_WBITS, level)
    if name == "lz4":
        return _Lz4()
    return _Zstd(min(level, 3))
