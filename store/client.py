"""How every role reaches the store: one client, the same for the embedded engine and for a ClickHouse server."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.client import Client

from runtime import runfile
from runtime.settings import SettingsError
from store.accounts import AccountName, credentials
from store.settings import StoreSettings

# One insert body, however many Native blocks it concatenates, becomes one block: one part per partition and one unit of
# deduplication, also in what materialized views fill. Pinned because defaults differ between versions.
INSERT_SETTINGS: dict[str, str | int] = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "max_insert_block_size": 100_000_000,
    "min_insert_block_size_rows": 100_000_000,
    "min_insert_block_size_bytes": 4 << 30,
    "input_format_parallel_parsing": 0,
    # Built at the insert, the ward index costs as much as all else (the engine unfolds the whole column for each
    # granule), the search for copies a third more. Merges do both; FINAL finds the copies that they have not met.
    "materialize_skip_indexes_on_insert": 0,
    "optimize_on_insert": 0,
    # Replayed data spans years, and one wrong clock must not make a whole segment unwritable.
    "max_partitions_per_insert_block": 0,
    "throw_on_max_partitions_per_insert_block": 0,
}


def store_url(settings: StoreSettings, data_dir: Path) -> str:
    """The store's HTTP address; a port that the embedded store chose itself is in its run file."""
    if settings.url:
        return settings.url
    if settings.listen.port == 0:
        running = runfile.read(data_dir, "store")
        if running is not None and "http" in running.addresses:
            return running.addresses["http"]
    host = settings.listen.host if settings.listen.host not in ("0.0.0.0", "::") else "127.0.0.1"  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.listen.port}"


def open_blocking_client(settings: StoreSettings, data_dir: Path, account: AccountName) -> Client:
    """The same for a thread of its own; raises the same."""
    return clickhouse_connect.get_client(**_options(settings, data_dir, account))


async def open_client(settings: StoreSettings, data_dir: Path, account: AccountName) -> AsyncClient:
    """A client of this account; the caller closes it.

    Raises: clickhouse_connect's ClickHouseError or OSError while the store is away; SettingsError for a bad URL.
    """
    return await clickhouse_connect.get_async_client(**_options(settings, data_dir, account))


def _options(settings: StoreSettings, data_dir: Path, account: AccountName) -> dict[str, Any]:
    url = store_url(settings, data_dir)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"store.url must be an http or https address, not {url!r}")
    user, password = credentials(settings, data_dir, account)
    return {
        "host": parts.hostname,
        "port": parts.port or (8443 if parts.scheme == "https" else 8123),
        "interface": parts.scheme,
        "username": user,
        "password": password,
        "autogenerate_session_id": False,
    }
