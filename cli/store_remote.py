"""How `cityfleet store ...` reaches the store: as admin over HTTP, one statement after the other."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import typer
from clickhouse_connect.driver.exceptions import ClickHouseError

from cli.errors import CommandError
from cli.settings import Settings, load_settings
from store.client import open_client, store_url


class RemoteStore:
    """The store over HTTP, as admin, for statements one after the other."""

    def __init__(self, settings: Settings) -> None:
        self.url = store_url(settings.store, settings.data_path)
        self._runner = asyncio.Runner()
        try:
            self._client = self._runner.run(open_client(settings.store, settings.data_path, "admin"))
        except (ClickHouseError, OSError) as exc:
            self._runner.close()
            raise self._away(exc) from exc

    def ask(self, sql: str, params: Mapping[str, str] | None = None) -> str:
        # After the comment of some views the parser takes no FORMAT.
        output_format = None if sql.lstrip().upper().startswith("CREATE") else "TabSeparated"
        try:
            answer = self._runner.run(self._client.raw_query(sql, dict(params or {}), fmt=output_format))
        except ClickHouseError as exc:
            raise CommandError(str(exc).strip()) from exc
        except OSError as exc:
            raise self._away(exc) from exc
        assert isinstance(answer, bytes)
        return answer.decode().rstrip("\n")

    def close(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()

    def _away(self, exc: Exception) -> CommandError:
        reason = (str(exc).strip() or type(exc).__name__).splitlines()[0]
        return CommandError(
            f"the store at {self.url} does not answer: {reason}",
            remedy="start it with `cityfleet store` or `cityfleet up`",
        )


def settings_of(context: typer.Context, config: Path | None, data: Path | None) -> Settings:
    """Options may stand before or after the subcommand."""
    before_config, before_data = context.obj or (None, None)
    return load_settings(config or before_config, data or before_data)
