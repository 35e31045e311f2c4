"""Asking before much is touched: with the count, and never where nobody can answer."""

import sys

import typer

from cli.errors import CommandError, ExitCode

# More than so many are not touched without a yes.
UNASKED = 10


def confirm(what: str, count: int, noun: str, *, yes: bool, is_final: bool = False) -> None:
    """Ask, unless `yes` was given or the matter is small.

    Args:
        what: the verb, as in `Delete`.
        noun: of one, as in `device`.
        is_final: cannot be undone; asked for however few they are.
    Raises: CommandError if there is nobody to ask, typer.Abort if the answer is no.
    """
    if yes or not count or (count <= UNASKED and not is_final):
        return
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    things = f"{count:,} {noun if count == 1 else plural}"
    if not sys.stdin.isatty():
        raise CommandError(f"{what} {things}? Nobody to ask here", ExitCode.USAGE, "--yes, if you mean it")
    typer.confirm(f"{what} {things}{' for good' if is_final else ''}?", abort=True, err=True)
