"""Options that the nouns share, so that a flag means the same everywhere."""

import uuid
from typing import Annotated

import typer

from cli.errors import CommandError, ExitCode

FilterOption = Annotated[
    str, typer.Option("--filter", metavar="FILTER", help="AIP-160, as in 'ward_code = \"00070\" AND health != good'.")
]
OrderOption = Annotated[
    str, typer.Option("--order-by", metavar="FIELDS", help="As in 'ward_code, update_time desc'. Default: by creation.")
]
LimitOption = Annotated[int, typer.Option("--limit", min=0, help="At most this many; 0: all.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check and say what would happen, but change nothing.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
EtagOption = Annotated[str, typer.Option("--etag", help="Only if it is still this version.")]
DeletedOption = Annotated[bool, typer.Option("--show-deleted", help="Deleted ones too.")]
LabelOption = Annotated[list[str] | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help="May be repeated.")]
RemoveLabelOption = Annotated[
    list[str] | None, typer.Option("--remove-label", metavar="KEY", help="Take a label away; may be repeated.")
]
NameOption = Annotated[str | None, typer.Option("--name", help="Display name.")]
RequestIdOption = Annotated[
    str,
    typer.Option("--request-id", metavar="UUID", help="The same id again gets the same answer. Default: a new one."),
]
WaitOption = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Wait for the operation to end, or only print its name.")
]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait; 0: as long as it takes.")]


def request_id_of(given: str) -> str:
    """The given one, or a new one: gRPC may send a call again after a broken connection."""
    if not given:
        return str(uuid.uuid4())
    try:
        return str(uuid.UUID(given))
    except ValueError as exc:
        raise CommandError(f"`{given}` is not a UUID", ExitCode.USAGE, "leave --request-id out for a new one") from exc


def labels_of(pairs: list[str] | None) -> dict[str, str]:
    """KEY=VALUE pairs. Raises: CommandError."""
    labels = {}
    for pair in pairs or ():
        key, separator, value = pair.partition("=")
        if not key or not separator:
            raise CommandError(f"`{pair}` is not KEY=VALUE", ExitCode.USAGE, "as in --label owner=tnmt")
        labels[key] = value
    return labels


def quoted(value: str) -> str:
    """As a string of a filter."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def joined(filter_text: str, terms: dict[str, str | None]) -> str:
    """The filter AND equality with each value that is not None."""
    equal = [f"{field} = {quoted(value)}" for field, value in terms.items() if value is not None]
    whole = f"({filter_text})" if equal and filter_text.strip() else filter_text
    return " AND ".join([*([whole] if whole.strip() else []), *equal])
