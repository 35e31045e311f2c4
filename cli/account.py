"""`cityfleet account`: people and programs that use the registry, and what each may do."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from cityfleet.registry.v1 import access_pb2 as pb
from cli import account_token
from cli.completion import account_ids
from cli.confirm import confirm
from cli.connected import connected
from cli.errors import CommandError, ExitCode
from cli.options import DryRunOption, EtagOption, LimitOption, NameOption, YesOption, request_id_of
from cli.output import OutputFormat, OutputOption, show, show_one
from cli.paging import pages
from cli.record import row_of
from cli.registry_client import CALL_S, RegistryClient

app = typer.Typer(
    help="Accounts: people and programs that use the registry, and what each may do.\n\n"
    "Roles, each with what those before it may: viewer reads; operator moves, labels and decommissions devices, "
    "rotates their tokens, edits groups; engineer creates, imports and deletes, edits types and metrics; admin edits "
    "accounts, reads the audit log, loads boundaries, purges.",
    no_args_is_help=True,
)
app.add_typer(account_token.app, name="token")
COLUMNS = ("account_id", "state", "grants", "display_name")
WIDE = ("is_service", "create_time", "update_time", "etag")
ROLES = tuple(name.removeprefix("ROLE_").lower() for name in pb.Role.keys()[1:])

IdArgument = Annotated[
    str, typer.Argument(metavar="ACCOUNT", help="Lowercase letters, digits and `-`.", autocompletion=account_ids)
]
GrantOption = Annotated[
    list[str] | None,
    typer.Option(
        "--grant",
        "-g",
        metavar="ROLE[:BOUND,...]",
        help="viewer, operator, engineer or admin; bounds are ward=CODE and labels.KEY=VALUE. May be repeated.",
    ),
]


@app.command()
@connected
def create(
    client: RegistryClient,
    account_id: IdArgument,
    grants: GrantOption = None,
    name: NameOption = None,
    is_service: Annotated[bool, typer.Option("--service", help="A program, not a person.")] = False,
    dry_run: DryRunOption = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Make an account; it gets in with a token: `cityfleet account token create`.

    A role with bounds is for the devices and sites in one of its wards that have all of its labels; of all else such an
    account reads the catalogue, and nothing else is there for it.

    Examples:
        cityfleet account create nga --name 'Trần Nga' --grant viewer --grant operator:ward=00070,ward=00004
        cityfleet account create importer --service --grant engineer:labels.owner=tnmt
    """
    request = pb.CreateAccountRequest(
        account_id=account_id,
        account=pb.Account(display_name=name or "", is_service=is_service, grants=map(grant_of, grants or ())),
        validate_only=dry_run,
        request_id=request_id_of(""),
    )
    _show_one(client.access.CreateAccount(request, timeout=CALL_S), output)


@app.command("list")
@connected
def list_accounts(client: RegistryClient, limit: LimitOption = 0, output: OutputOption = OutputFormat.TABLE) -> None:
    """Show all accounts.

    Example:
        cityfleet account list -o wide
    """
    found = pages(client.access.ListAccounts, pb.ListAccountsRequest(), "accounts", limit)
    show((_row(account, output) for account in found), COLUMNS, output, name="account_id", wide=WIDE)


@app.command()
@connected
def get(client: RegistryClient, account_id: IdArgument, output: OutputOption = OutputFormat.TABLE) -> None:
    """Show one account.

    Example:
        cityfleet account get nga -o yaml
    """
    request = pb.GetAccountRequest(name=f"accounts/{account_id}")
    _show_one(client.access.GetAccount(request, timeout=CALL_S), output)


@app.command()
@connected
def whoami(client: RegistryClient, output: OutputOption = OutputFormat.TABLE) -> None:
    """Show the account that the commands here act as, its roles, and when its token ends.

    Examples:
        cityfleet account whoami
        cityfleet --context hanoi account whoami
    """
    found = client.access.WhoAmI(pb.WhoAmIRequest(), timeout=CALL_S)
    token = row_of(found.access_token, "token_id")
    row = _row(found.account, output) | {"token_id": token["token_id"], "token_expire_time": token["expire_time"]}
    show_one(row, (*COLUMNS, "token_expire_time"), output, name="account_id", wide=(*WIDE, "token_id"))


@app.command()
@connected
def update(
    client: RegistryClient,
    account_id: IdArgument,
    grants: GrantOption = None,
    no_grants: Annotated[bool, typer.Option("--no-grants", help="Take all roles away.")] = False,
    name: NameOption = None,
    is_service: Annotated[bool | None, typer.Option("--service/--person", help="What it is for.")] = None,
    disabled: Annotated[bool | None, typer.Option("--disable/--enable", help="Whether it is let in.")] = None,
    etag: EtagOption = "",
    dry_run: DryRunOption = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Change what is named and nothing else; roles are replaced as a whole.

    It holds from the next call on; streams that are running end within seconds.

    Examples:
        cityfleet account update nga --grant viewer --grant engineer:ward=00070
        cityfleet account update importer --disable
    """
    if grants and no_grants:
        raise CommandError("--grant and --no-grants at once", ExitCode.USAGE, "one of them")
    given = {
        "grants": [] if no_grants else grants,
        "display_name": name,
        "is_service": is_service,
        "disabled": disabled,
    }
    paths = [field for field, value in given.items() if value is not None]
    if not paths:
        raise CommandError("nothing to change", ExitCode.USAGE, "name something, as in --grant viewer")
    account = pb.Account(
        name=f"accounts/{account_id}",
        display_name=name or "",
        is_service=bool(is_service),
        grants=map(grant_of, grants or ()),
        disabled=bool(disabled),
        etag=etag,
    )
    request = pb.UpdateAccountRequest(account=account, validate_only=dry_run, request_id=request_id_of(""))
    request.update_mask.paths.extend(paths)
    _show_one(client.access.UpdateAccount(request, timeout=CALL_S), output)


@app.command()
@connected
def delete(
    client: RegistryClient,
    accounts: Annotated[
        list[str], typer.Argument(metavar="ACCOUNT...", help="The accounts.", autocompletion=account_ids)
    ],
    etag: EtagOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
) -> None:
    """Take accounts away, with their tokens. What they did stays in the audit log.

    Example:
        cityfleet account delete nga
    """
    if etag and len(accounts) > 1:
        raise CommandError("one etag for several accounts", ExitCode.USAGE, "delete them one by one")
    if not dry_run:
        confirm("Delete", len(accounts), "account", yes=yes, is_final=True)
    for account_id in accounts:
        request = pb.DeleteAccountRequest(
            name=f"accounts/{account_id}", etag=etag, validate_only=dry_run, request_id=request_id_of("")
        )
        client.access.DeleteAccount(request, timeout=CALL_S)


def grant_of(text: str) -> pb.Grant:
    """`operator:ward=00070,labels.owner=tnmt`. Raises: CommandError."""
    role, separator, bounds = text.partition(":")
    if role not in ROLES:
        raise CommandError(f"`{role}` is not a role", ExitCode.USAGE, f"one of {', '.join(ROLES)}")
    grant = pb.Grant(role=pb.Role.Value(f"ROLE_{role.upper()}"))
    for bound in bounds.split(",") if separator else ():
        key, equals, value = bound.strip().partition("=")
        if key == "ward" and value:
            grant.ward_codes.append(value)
        elif key.startswith("labels.") and key != "labels." and equals:
            grant.labels[key.removeprefix("labels.")] = value
        else:  # a bound that was left out would be a role for more
            remedy = "as in operator:ward=00070,ward=00004 or engineer:labels.owner=tnmt"
            raise CommandError(f"`{bound}` is not a bound of a role", ExitCode.USAGE, remedy)
    return grant


def _grant_text(grant: pb.Grant) -> str:
    role = pb.Role.Name(grant.role).removeprefix("ROLE_").lower()
    bounds = [f"ward={code}" for code in grant.ward_codes]
    bounds += [f"labels.{key}={value}" for key, value in sorted(grant.labels.items())]
    return f"{role}:{','.join(bounds)}" if bounds else role


def _row(account: pb.Account, output: OutputFormat) -> dict[str, Any]:
    row = row_of(account, "account_id")
    row["state"] = "disabled" if account.disabled else "active"
    if output not in (OutputFormat.JSON, OutputFormat.NDJSON, OutputFormat.YAML):
        row["grants"] = _grants_text(account.grants)
    return row


def _grants_text(grants: Sequence[pb.Grant]) -> str:
    return " ".join(map(_grant_text, grants))


def _show_one(account: pb.Account, output: OutputFormat) -> None:
    show_one(_row(account, output), COLUMNS, output, name="account_id", wide=WIDE)
