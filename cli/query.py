"""`cityfleet query`: SQL on the store, as the reader."""

import sys
from typing import Annotated

import aiohttp
import typer
import uvloop
from clickhouse_connect.driver.exceptions import ClickHouseError

from cli.errors import CommandError, ExitCode
from cli.output import OutputFormat, OutputOption
from cli.settings import ConfigOption, DataOption, Settings, load_settings
from store.client import open_client, store_url

_FORMATS = {
    OutputFormat.TABLE: "PrettyCompactMonoBlock",
    OutputFormat.JSON: "JSONEachRow",
    OutputFormat.CSV: "CSVWithNames",
    OutputFormat.NAME: "TabSeparatedRaw",
}


def query(
    sql: Annotated[str, typer.Argument(help="A SELECT; `-` reads it from standard input.")],
    output: OutputOption = OutputFormat.TABLE,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Ask the store in SQL, as the account that can only read.

    The answer streams: `-o json` (an object per line), `-o csv`, `-o name` (bare, tab-separated) may be of any length.

    Examples:
        cityfleet query "SELECT device_id, metric, value, age_s FROM ioc.latest ORDER BY age_s DESC LIMIT 10"
        cityfleet query "SELECT * FROM ioc.readings WHERE metric = 'water_level_m'" -o csv > levels.csv
        cityfleet query - -o json < question.sql
    """
    if output not in _FORMATS:
        raise CommandError(f"-o {output} is not for queries", ExitCode.USAGE, remedy="table, json, csv or name")
    settings = load_settings(config, data)
    text = sys.stdin.read() if sql == "-" else sql
    uvloop.run(_stream(settings, text, _FORMATS[output]))


async def _stream(settings: Settings, sql: str, output_format: str) -> None:
    url = store_url(settings.store, settings.data_path)
    try:
        client = await open_client(settings.store, settings.data_path, "reader")
        try:
            answer = await client.raw_stream(sql, fmt=output_format)
            async with answer:
                async for part in answer:
                    sys.stdout.buffer.write(part)
            sys.stdout.buffer.flush()
        finally:
            await client.close()
    except ClickHouseError as exc:
        raise CommandError(str(exc).strip()) from exc
    except (aiohttp.ClientError, OSError) as exc:
        if isinstance(exc, BrokenPipeError):
            raise
        raise CommandError(
            f"the store at {url} does not answer: {exc}", remedy="start it with `cityfleet up` or `cityfleet store`"
        ) from exc
