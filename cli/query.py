"""`cityfleet query`: a question by name, or SQL, to the store as the reader account; the answer as it comes."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO

import aiohttp
import msgspec
import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cli import query_age, query_named
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
    PARQUET = "parquet"
    ARROW = "arrow"


# What ClickHouse is asked for; a FORMAT clause in the SQL wins.
_FORMATS = {
    QueryFormat.TABLE: "JSONCompactStringsEachRowWithNames",
    QueryFormat.JSON: "JSON",
    QueryFormat.NDJSON: "JSONEachRow",
    QueryFormat.CSV: "CSVWithNames",
    QueryFormat.TSV: "TabSeparatedWithNames",
    QueryFormat.PARQUET: "Parquet",
    QueryFormat.ARROW: "Arrow",
}
_BINARY = (QueryFormat.PARQUET, QueryFormat.ARROW)
_TABLE_ROWS = 10_000
# What a ClickHouse server appends to an answer that breaks off.
_MARK = b"\r\n__exception__\r\n"


def query(
    question: Annotated[
        str,
        typer.Argument(
            help="A name of --list; or a statement, or - to read one.",
            metavar="NAME|SQL",
            autocompletion=query_named.names,
        ),
    ] = "",
    config: ConfigOption = None,
    data: DataOption = None,
    output: Annotated[QueryFormat, typer.Option("--output", "-o", help="How to print the answer.")] = QueryFormat.TABLE,
    ward: Annotated[
        list[str] | None, typer.Option("--ward", metavar="CODE", help="Of this ward only; may be repeated.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="2026-10-01T00:00+07:00 (no zone: UTC), or 7d ago.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Not included. Default: now.")] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", metavar="NAME=VALUE", help="Any other parameter.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", metavar="ROWS", help="At most so many.", min=1)] = None,
    max_age: Annotated[
        str | None, typer.Option("--max-age", metavar="SPAN", help="An error if its newest reading is older: 10m, 2h.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="FILE", help="Write the answer here; whole, or not at all.")
    ] = None,
    show_list: Annotated[bool, typer.Option("--list", help="What can be asked by name.")] = False,
    describe: Annotated[bool, typer.Option("--describe", help="Columns, comment and example of NAME.")] = False,
) -> None:
    """Ask the store a question by its name, or in SQL, as the reader account.

    The names are the views of ioc: `--list` tells them, `NAME --describe` what one answers; docs/ioc.md has them all.
    The store is the context's (`context set NAME --store-url URL`), else the one here. A FORMAT clause in SQL wins over
    -o.

    Examples:
        cityfleet query river_levels_now --max-age 10m
        cityfleet query ward_vn_aqi_daily --ward 00025 --from 2026-10-01T00:00+07:00 --to 2026-11-01T00:00+07:00
        cityfleet query street_flood_events --from 30d -o parquet --file floods.parquet
        cityfleet query readings_of -p device_id=wl-long-bien-01 -o csv
        cityfleet query "SELECT * FROM ioc.latest LIMIT 10"
        cityfleet query - -o csv < question.sql > answer.csv
    """
    if show_list:
        query_named.show_list(output in (QueryFormat.JSON, QueryFormat.NDJSON))
        return
    if not question:
        raise CommandError("nothing is asked", ExitCode.USAGE, "a name of `cityfleet query --list`, or SQL")
    named = question != "-" and query_named.is_name(question)
    if describe:
        if not named:
            raise CommandError("--describe takes a name", ExitCode.USAGE, "`cityfleet query --list`")
        query_named.describe(query_named.find(question), output is QueryFormat.JSON)
        return
    if named:
        text = query_named.statement(query_named.find(question), ward or [], since, until, param or [], limit)
    elif ward or since or until or param or limit or max_age:
        told = "--ward, --from, --to, --param, --limit and --max-age go with a name, not with SQL"
        raise CommandError(told, ExitCode.USAGE)
    else:
        text = sys.stdin.read() if question == "-" else question
    if not text.strip():
        raise CommandError("the SQL is empty", ExitCode.USAGE)
    if output in _BINARY and file is None and sys.stdout.isatty():
        raise CommandError(f"{output} is nothing for a terminal", ExitCode.USAGE, f"--file answer.{output}")
    url, login = store_endpoint(config, data, os.environ)
    try:
        if max_age:
            query_age.hold(url, login, query_named.find(question), text, max_age)
        _answer(url, login, text, output, file)
    except (aiohttp.ClientConnectionError, TimeoutError) as exc:
        raise CommandError(
            f"the store at {url} does not answer: {exc}", remedy="start it with `cityfleet store` or `cityfleet up`"
        ) from exc
    except BrokenPipeError:
        sys.stderr.close()  # `| head` has seen enough


def _answer(url: str, login: tuple[str, str], sql: str, output: QueryFormat, file: Path | None) -> None:
    if file is None:
        asyncio.run(_ask(url, login, sql, output, None))
        return
    # A table is for a person's eye; a file that is to be read gets its columns apart.
    kind = QueryFormat.CSV if output is QueryFormat.TABLE else output
    draft = file.with_name(f"{file.name}.part")
    try:
        with draft.open("wb") as sink:
            asyncio.run(_ask(url, login, sql, kind, sink))
        draft.replace(file)
    except OSError as exc:
        if isinstance(exc, aiohttp.ClientError | TimeoutError):
            raise
        raise CommandError(f"cannot write {file}: {exc.strerror or exc}") from exc
    finally:
        draft.unlink(missing_ok=True)


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


async def _ask(url: str, login: tuple[str, str], sql: str, output: QueryFormat, sink: BinaryIO | None) -> None:
    """Print the answer, or write it to `sink`."""
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
            out = sink or sys.stdout.buffer
            async for part in _parts(answer):
                out.write(part)
            out.flush()


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
