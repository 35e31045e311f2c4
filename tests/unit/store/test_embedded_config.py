"""What the embedded engine is told of this store's memory."""

from pathlib import Path

import pytest

from store.embedded import config


@pytest.mark.parametrize(
    ("max_memory_bytes", "blocks_bytes"), [(0, 256 << 20), (1 << 30, 64 << 20), (64 << 30, 256 << 20)]
)
def test_blocks_that_stay_decompressed_are_few_where_memory_is(
    tmp_path: Path, max_memory_bytes: int, blocks_bytes: int
) -> None:
    text = config.write(tmp_path, max_memory_bytes, 0).read_text()
    assert f"<uncompressed_cache_size>{blocks_bytes}</uncompressed_cache_size>" in text
    assert ("max_server_memory_usage" in text) == bool(max_memory_bytes)
