"""`cityfleet query`: SQL to the store as the reader account, the answer as it comes."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import aiohttp
import msgspec
import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cli.contexts import chosen_context, read_secret
from cli.errors import CommandError, ExitCode
from cli.settings import ConfigOption, DataOption, load_settings
from store.accounts import credentials
from store.client import store_url


class QueryFormat(StrEnum):
    TABLE = "table"
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"
    TSV = "tsv"


# What ClickHouse is asked for; a FORMAT clause in the SQL wins.
_FORMATS = {
    QueryFormat.TABLE: "JSONCompactStringsEachRowWithNames",
    QueryFormat.JSON: "JSON",
    QueryFormat.NDJSON: "JSONEachRow",
    QueryFormat.CSV: "CSVWithNames",
    QueryFormat.TSV: "TabSeparatedWithNames",
}
_TABLE_ROWS = 10_000
# What a ClickHouse server appends to an answer that breaks off.
_MARK = b"\r\n__exception__\r\n"


def query(
    sql: Annotated[str, typer.Argument(help="The statement, or - to read it from standard input.", metavar="SQL")],
    config: ConfigOption = None,
    data: DataOption = None,
    output: Annotated[QueryFormat, typer.Option("--output", "-o", help="How to print the answer.")] = QueryFormat.TABLE,
) -> None:
    """Ask the store a question in SQL, as the reader account.

    The views are ioc.readings, ioc.readings_of(device_id = ...), ioc.readings_text, ioc.latest, ioc.devices, ioc.sites
    and ioc.device_metrics. The store is the context's (`context set NAME --store-url URL`), else the one here.
    A FORMAT clause in the SQL wins over -o.

    Examples:
        cityfleet query "SELECT * FROM ioc.latest LIMIT 10"
        cityfleet query - -o csv < question.sql > answer.csv
    """
    text = sys.stdin.read() if sql == "-" else sql
    if not text.strip():
        raise CommandError("the SQL is empty", ExitCode.USAGE)
    url, login = store_endpoint(config, data, os.environ)
    try:
        asyncio.run(_ask(url, login, text, output))
    except (aiohttp.ClientConnectionError, TimeoutError) as exc:
        raise CommandError(
            f"the store at {url} does not answer: {exc}", remedy="start it with `cityfleet store` or `cityfleet up`"
        ) from exc
    except BrokenPipeError:
        sys.stderr.close()  # `| head` has seen enough


def store_endpoint(config: Path | None, data: Path | None, environ: Mapping[str, str]) -> tuple[str, tuple[str, str]]:
    """URL of the store, and who asks there with which password: the context's, else as the settings say."""
    context = chosen_context(config, data, environ)
    settings = load_settings(config, data)
    if context is None or not context.store_url:
        return store_url(settings.store, settings.data_path), credentials(settings.store, settings.data_path, "reader")
    user = context.store_user or settings.store.reader_user
    if context.store_password_file:
        return context.store_url, (user, read_secret(Path(context.store_password_file).expanduser(), "password"))
    # Never the secret of a data folder: it is of another store than the context's.
    return context.store_url, (user, settings.store.reader_password)


async def _ask(url: str, login: tuple[str, str], sql: str, output: QueryFormat) -> None:
    headers = {"X-ClickHouse-User": login[0], "X-ClickHouse-Key": login[1], "X-ClickHouse-Format": _FORMATS[output]}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(url, data=sql.encode(), headers=headers) as answer,
    ):
        if answer.status != 200:
            code = ExitCode.PERMISSION if answer.status in (401, 403) else ExitCode.ERROR
            raise CommandError((await answer.text(errors="replace")).strip(), code)
        if output is QueryFormat.TABLE and answer.headers.get("X-ClickHouse-Format") == _FORMATS[output]:
            await _print_table(answer)
        else:
            async for part in _parts(answer):
                sys.stdout.buffer.write(part)
            sys.stdout.buffer.flush()


async def _parts(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The answer's bytes. Raises CommandError with ClickHouse's text if the query fails on the way."""
    held = b""
    try:
        async for chunk in answer.content.iter_any():
            held += chunk
            at = held.find(_MARK)
            if at < 0:
                keep = len(_MARK) - 1
                yield held[:-keep]
                held = held[-keep:]
    except aiohttp.ClientPayloadError as exc:
        text, mark, failure = held.partition(_MARK)
        yield text
        reason = failure.decode(errors="replace").split("\r\n", 1)[-1].split("\n")[0] if mark else str(exc)
        raise CommandError(f"the answer broke off: {reason}") from exc
    yield held


async def _print_table(answer: aiohttp.ClientResponse) -> None:
    names: list[str] = []
    rows: list[list[str]] = []
    held = b""
    cut = False
    async for part in _parts(answer):
        *lines, held = (held + part).split(b"\n")
        for line in lines:
            values = msgspec.json.decode(line, type=list[str])
            if not names:
                names = values
            elif len(rows) < _TABLE_ROWS:
                rows.append(values)
            else:
                cut = True
        if cut:
            break
    if names:
        table = Table(*(Column(Text(name)) for name in names), box=None, pad_edge=False, header_style="bold")
        for row in rows:
            table.add_row(*(Text(value) for value in row))
        # As wide as it is: a value that was cut short is no answer, and a terminal wraps long lines by itself.
        Console(width=10_000).print(table)
    if cut:
        print(f"The first {_TABLE_ROWS} rows; -o csv prints all.", file=sys.stderr)
