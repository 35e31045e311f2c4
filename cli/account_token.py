"""`cityfleet account token`: what an account shows when it calls."""

import os
import re
import sys
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.duration_pb2 import Duration

from cityfleet.registry.v1 import access_pb2 as pb
from cli.completion import account_ids
from cli.confirm import confirm
from cli.connected import connected
from cli.errors import CommandError, ExitCode
from cli.options import DryRunOption, LimitOption, NameOption, YesOption, request_id_of
from cli.output import OutputFormat, OutputOption, show, show_one
from cli.paging import pages
from cli.record import row_of
from cli.registry_client import CALL_S, RegistryClient, RegistryOption, connect
from cli.settings import ConfigOption, DataOption

app = typer.Typer(help="Tokens of an account: what it shows when it calls. `me` is your own.", no_args_is_help=True)
COLUMNS = ("token_id", "display_name", "expire_time", "last_use_time")
WIDE = ("create_time",)
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TTL = re.compile(r"([0-9]{1,9})([smhd])")

AccountArgument = Annotated[
    str,
    typer.Argument(metavar="ACCOUNT", help="Another's are an administrator's matter.", autocompletion=account_ids),
]


@app.command()
def create(
    account_id: AccountArgument = "me",
    ttl: Annotated[str, typer.Option("--ttl", metavar="TIME", help="As in 12h or 90d, at most 400d.")] = "90d",
    name: NameOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write the token there (mode 0600) instead of printing it."),
    ] = None,
    dry_run: DryRunOption = False,
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Make a token; it is shown this once. With --dry-run there is none, and its id is nobody's.

    Examples:
        cityfleet account token create nga --ttl 30d
        cityfleet account token create importer --name 'nightly import' --out importer.token
        cityfleet account token create --out ~/.config/cityfleet/hanoi.token
    """
    request = pb.CreateAccessTokenRequest(
        parent=f"accounts/{account_id}",
        display_name=name or "",
        ttl=Duration(seconds=seconds_of(ttl)),
        validate_only=dry_run,
        request_id=request_id_of(""),
    )
    # Before the call: a token that cannot be kept is not made.
    draft = _draft(out) if out is not None else None
    try:
        with connect(registry, config, data) as client:
            made = client.access.CreateAccessToken(request, timeout=CALL_S)
        if draft is not None and out is not None and not dry_run:
            draft.write_text(made.token + "\n", encoding="ascii")
            draft.replace(out)
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)
    row = row_of(made.access_token, "token_id")
    is_told = out is None and not dry_run
    show_one(row | {"token": made.token} if is_told else row, COLUMNS, output, name="token_id", wide=WIDE)
    if is_told and output in (OutputFormat.TABLE, OutputFormat.WIDE):
        print(f"\ntoken: {made.token}\nIt is shown this once.")
    elif is_told and output in (OutputFormat.NAME, OutputFormat.CSV):
        print(f"token: {made.token}", file=sys.stderr)


@app.command("list")
@connected
def list_tokens(
    client: RegistryClient,
    account_id: AccountArgument = "me",
    limit: LimitOption = 0,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Show the tokens that were not revoked, also those that expired of late, in the order of their creation.

    Example:
        cityfleet account token list nga
    """
    request = pb.ListAccessTokensRequest(parent=f"accounts/{account_id}")
    found = pages(client.access.ListAccessTokens, request, "access_tokens", limit)
    show((row_of(token, "token_id") for token in found), COLUMNS, output, name="token_id", wide=WIDE)


@app.command()
@connected
def revoke(
    client: RegistryClient,
    account_id: AccountArgument,
    token_ids: Annotated[list[str], typer.Argument(metavar="TOKEN...", help="Their ids, as `list` shows them.")],
    dry_run: DryRunOption = False,
    yes: YesOption = False,
) -> None:
    """Let nobody in by these tokens any more; streams that were begun by them end within seconds.

    Example:
        cityfleet account token revoke nga 8f14e45fceea167a
    """
    if not dry_run:
        confirm("Revoke", len(token_ids), "token", yes=yes, is_final=True)
    for token_id in token_ids:
        name = f"accounts/{account_id}/tokens/{token_id}"
        request = pb.RevokeAccessTokenRequest(name=name, validate_only=dry_run, request_id=request_id_of(""))
        client.access.RevokeAccessToken(request, timeout=CALL_S)


def seconds_of(text: str) -> int:
    """`90d`, `12h`, `30m`, `45s` in seconds. Raises: CommandError."""
    found = _TTL.fullmatch(text)
    if found is None:
        raise CommandError(f"`{text}` is not a time", ExitCode.USAGE, "as in --ttl 90d, 12h, 30m or 45s")
    return int(found[1]) * _UNITS_S[found[2]]


def _draft(out: Path) -> Path:
    """An empty file beside `out` that only we can read. Raises: CommandError."""
    draft = out.with_name(f"{out.name}.draft")
    try:
        draft.unlink(missing_ok=True)
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as exc:
        raise CommandError(f"cannot write {out}: {exc}", ExitCode.USAGE) from exc
    return draft
