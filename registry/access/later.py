"""What is done after the call that asked for it, chunk by chunk: with the rights that its account has by then."""

from google.protobuf.message import Message
from sqlalchemy import Connection

from registry.access.caller import INTERNAL, Caller, Scope
from registry.access.rules import admitted, rule_of
from registry.db import accounts as db
from registry.errors import PermissionDeniedError


def scope_now(connection: Connection, actor: str, method: str, request: Message) -> Scope:
    """What the account may touch by this request now; work `acting_within` it.

    Args: actor, method: as of the call.
    Raises: PermissionDeniedError if that is nothing any more.
    """
    caller = INTERNAL if actor == INTERNAL.actor else _caller(connection, actor)
    rule = rule_of(method)
    return admitted(caller, method, rule, rule.role_for(request))


def _caller(connection: Connection, actor: str) -> Caller:
    account = db.find_account(connection, actor.removeprefix("accounts/"))
    if account is None or account.spec.disabled:
        text = f"{actor} began this and is gone or disabled"
        raise PermissionDeniedError(text, reason="ACCOUNT_GONE", metadata={"account": actor})
    return Caller(actor, account.spec.grants)
