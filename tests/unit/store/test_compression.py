"""Bodies are decoded whatever the cut of their pieces; a cut-off or broken one is refused."""

import gzip
import zlib

import lz4.frame
import pytest
import zstandard

from store.embedded import compression
from store.embedded.errors import StoreError

DATA = bytes(range(256)) * 5000
PACK = {"gzip": gzip.compress, "deflate": zlib.compress, "lz4": lz4.frame.compress, "zstd": zstandard.compress}


@pytest.mark.parametrize("name", sorted(PACK))
@pytest.mark.parametrize("size", [1, 7, 1000, 10**9])
def test_any_cut_of_the_stream_gives_the_same_bytes(name: str, size: int) -> None:
    packed = PACK[name](DATA[:20_000])
    decoder = compression.decoder(name)
    found = b"".join(decoder.decode(packed[at : at + size]) for at in range(0, len(packed), size))
    decoder.finish()
    assert found == DATA[:20_000]


@pytest.mark.parametrize("name", ["gzip", "lz4", "zstd"])
def test_several_members_are_one_body(name: str) -> None:
    decoder = compression.decoder(name)
    assert decoder.decode(PACK[name](b"one") + PACK[name](b"two")) == b"onetwo"
    decoder.finish()


@pytest.mark.parametrize("name", sorted(PACK))
def test_a_cut_off_body_is_refused(name: str) -> None:
    decoder = compression.decoder(name)
    decoder.decode(PACK[name](DATA)[:-5])
    with pytest.raises(StoreError, match="ends too early"):
        decoder.finish()


@pytest.mark.parametrize("name", sorted(PACK))
def test_a_broken_body_is_refused(name: str) -> None:
    with pytest.raises(StoreError, match="not valid"):
        compression.decoder(name).decode(b"this is not compressed at all")


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(StoreError, match="Unknown Content-Encoding"):
        compression.decoder("br")


@pytest.mark.parametrize("name", sorted(PACK))
def test_what_is_encoded_can_be_decoded(name: str) -> None:
    encoder, decoder = compression.encoder(name, 3), compression.decoder(name)
    packed = encoder.encode(DATA) + encoder.encode(b"") + encoder.encode(DATA) + encoder.finish()
    assert decoder.decode(packed) == DATA * 2
    decoder.finish()


@pytest.mark.parametrize(
    ("accepted", "name"),
    [("gzip, zstd", "zstd"), ("gzip;q=0.5", "gzip"), ("zstd;q=0, gzip", "gzip"), ("br", ""), ("", ""), ("LZ4", "lz4")],
)
def test_the_best_offered_encoding_is_chosen(accepted: str, name: str) -> None:
    assert compression.choose(accepted) == name
