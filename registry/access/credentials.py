"""Tokens of accounts: make, list, revoke. Each function runs in one transaction. (Tokens of devices:
registry.devices.tokens.)"""

import secrets as random

import msgspec
from sqlalchemy import Connection

from registry.access.accounts import check_an_administrator_stays, get_account
from registry.access.model import REVOKED_MS, AccessToken
from registry.audit.record import changed
from registry.db import accounts as db
from registry.db import sequence
from registry.devices.rules import MAX_TEXT, check_text
from registry.devices.tokens import digest, new_token
from registry.errors import InvalidError, NotFoundError, PreconditionError, Violation

DAY_MS = 86_400_000
DEFAULT_TTL_MS = 90 * DAY_MS
MAX_TTL_MS = 400 * DAY_MS
# How long an expired token is still listed, for whoever wonders why his program was refused.
KEPT_MS = 30 * DAY_MS
MAX_TOKENS = 100


class Made(msgspec.Struct, frozen=True):
    """`secret` is the token itself; the registry keeps only its digest."""

    token: AccessToken
    secret: str


def create_token(connection: Connection, account_id: str, display_name: str, ttl_ms: int | None) -> Made:
    """Args: ttl_ms: how long it is valid; None: DEFAULT_TTL_MS.

    Raises: InvalidError, NotFoundError, PreconditionError.
    """
    found = check_text("display_name", display_name, MAX_TEXT)
    if ttl_ms is not None and not 1000 <= ttl_ms <= MAX_TTL_MS:
        found.append(Violation("ttl", "TTL_INVALID", f"1 second to {MAX_TTL_MS // DAY_MS} days"))
    if found:
        raise InvalidError(found)
    account = get_account(connection, account_id)
    now_ms = sequence.now_ms()
    db.forget_tokens(connection, account_id, now_ms - KEPT_MS)
    if account.spec.disabled:
        text = f"{account_id} is disabled; enable it first"
        raise PreconditionError(text, reason="ACCOUNT_DISABLED", metadata={"account": account_id})
    if db.count_tokens(connection, account_id, now_ms) >= MAX_TOKENS:
        text = f"{account_id} has {MAX_TOKENS} valid tokens; revoke one first"
        raise PreconditionError(text, reason="TOO_MANY_TOKENS", metadata={"account": account_id})
    secret = new_token()
    expire_time_ms = now_ms + (DEFAULT_TTL_MS if ttl_ms is None else ttl_ms)
    token = AccessToken(random.token_hex(8), account_id, display_name, now_ms, expire_time_ms, None)
    db.insert_token(connection, token, digest(secret))
    _note(None, token)
    return Made(token, secret)


def list_tokens(connection: Connection, account_id: str, after: tuple[int, str], limit: int) -> list[AccessToken]:
    """In the order of their creation, also those that have expired of late. Raises: NotFoundError."""
    get_account(connection, account_id)
    return db.list_tokens(connection, account_id, after, limit)


def revoke_token(connection: Connection, account_id: str, token_id: str) -> None:
    """Calls by it are refused from now on, streams end within seconds. Doing it again changes nothing.

    Raises: NotFoundError, PreconditionError.
    """
    token = db.find_token_named(connection, account_id, token_id)
    if token is None:
        text = f"{account_id} has no token {token_id}; `cityfleet account token list {account_id}` shows those it has"
        raise NotFoundError(text, reason="TOKEN_NOT_FOUND", metadata={"account": account_id, "token": token_id})
    if token.expire_time_ms == REVOKED_MS:
        return
    db.revoke_token(connection, token_id)
    check_an_administrator_stays(connection)
    _note(token, None)


def _note(before: AccessToken | None, after: AccessToken | None) -> None:
    token = after or before
    assert token is not None
    changed(f"accounts/{token.account_id}/tokens/{token.token_id}", before, after)
