"""Accounts and their tokens in SQL."""

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, insert, select, update

from registry.access.model import REVOKED_MS, AccessToken, Account, AccountSpec, StoredGrant
from registry.db import sequence
from registry.db.schema import access_tokens, accounts

_grants_decoder = msgspec.json.Decoder(tuple[StoredGrant, ...])


def insert_account(connection: Connection, spec: AccountSpec, now_ms: int) -> None:
    revision = sequence.take(connection, revisions=1).revision
    values = {**_columns(spec), "revision": revision, "create_time_ms": now_ms, "update_time_ms": now_ms}
    connection.execute(insert(accounts).values(account_id=spec.account_id, **values))


def find_account(connection: Connection, account_id: str) -> Account | None:
    row = connection.execute(select(accounts).where(accounts.c.account_id == account_id)).one_or_none()
    return _account(row) if row else None


def has_accounts(connection: Connection) -> bool:
    return connection.execute(select(accounts.c.account_id).limit(1)).first() is not None


def insert_token(connection: Connection, token: AccessToken, token_sha256: bytes) -> None:
    connection.execute(
        insert(access_tokens).values(
            token_id=token.token_id,
            account_id=token.account_id,
            token_sha256=token_sha256,
            display_name=token.display_name,
            create_time_ms=token.create_time_ms,
            expire_time_ms=token.expire_time_ms,
            last_use_time_ms=token.last_use_time_ms,
        )
    )


def find_token(connection: Connection, token_sha256: bytes) -> AccessToken | None:
    """Also one that was revoked or has expired."""
    row = connection.execute(select(access_tokens).where(access_tokens.c.token_sha256 == token_sha256)).one_or_none()
    return _token(row) if row else None


def revoke_token(connection: Connection, token_id: str) -> None:
    """The row stays, so that the same token cannot come back."""
    connection.execute(
        update(access_tokens).where(access_tokens.c.token_id == token_id).values(expire_time_ms=REVOKED_MS)
    )


def owner_of_token(connection: Connection, token_sha256: bytes, now_ms: int) -> tuple[Account, AccessToken] | None:
    """The account that may act by this token now: neither revoked nor expired nor disabled."""
    token = find_token(connection, token_sha256)
    if token is None or token.expire_time_ms <= now_ms:
        return None
    account = find_account(connection, token.account_id)
    return (account, token) if account is not None and not account.spec.disabled else None


def _columns(spec: AccountSpec) -> dict[str, object]:
    grants = [StoredGrant.of(grant) for grant in spec.grants]
    return {
        "display_name": spec.display_name,
        "is_service": spec.is_service,
        "grants": msgspec.json.encode(grants).decode(),
        "is_disabled": spec.disabled,
    }


def _account(row: Row[Any]) -> Account:
    return Account(
        spec=AccountSpec(
            account_id=row.account_id,
            display_name=row.display_name,
            is_service=row.is_service,
            grants=tuple(stored.grant() for stored in _grants_decoder.decode(row.grants)),
            disabled=row.is_disabled,
        ),
        revision=row.revision,
        create_time_ms=row.create_time_ms,
        update_time_ms=row.update_time_ms,
    )


def _token(row: Row[Any]) -> AccessToken:
    return AccessToken(
        token_id=row.token_id,
        account_id=row.account_id,
        display_name=row.display_name,
        create_time_ms=row.create_time_ms,
        expire_time_ms=row.expire_time_ms,
        last_use_time_ms=row.last_use_time_ms,
    )
