"""Accounts and their tokens in SQL."""

from typing import Any

import msgspec
from sqlalchemy import BigInteger, Connection, Row, String, bindparam, delete, func, insert, select, tuple_, update

from registry.access.caller import Grant
from registry.access.model import REVOKED_MS, AccessToken, Account, AccountSpec, StoredGrant
from registry.db import sequence
from registry.db.prepared import Prepared
from registry.db.schema import access_tokens, accounts

# Asked for at nearly every call.
_OWNER = Prepared(
    select(accounts.c.account_id, accounts.c.grants, access_tokens.c.token_id, access_tokens.c.expire_time_ms)
    .join(access_tokens, access_tokens.c.account_id == accounts.c.account_id)
    .where(
        access_tokens.c.token_sha256 == bindparam("token_sha256"),
        access_tokens.c.expire_time_ms > bindparam("now_ms", type_=BigInteger()),
        accounts.c.is_disabled.is_(False),
    )
)
_grants_decoder = msgspec.json.Decoder(tuple[StoredGrant, ...])


class Owner(msgspec.Struct, frozen=True):
    """Whose a token is, and what he may do. `expire_time_ms`: of the token, UTC milliseconds."""

    account_id: str
    grants: tuple[Grant, ...]
    token_id: str
    expire_time_ms: int


def insert_account(connection: Connection, spec: AccountSpec, now_ms: int) -> None:
    revision = sequence.take(connection, revisions=1).revision
    values = {**_columns(spec), "revision": revision, "create_time_ms": now_ms, "update_time_ms": now_ms}
    connection.execute(insert(accounts).values(account_id=spec.account_id, **values))


def find_account(connection: Connection, account_id: str) -> Account | None:
    row = connection.execute(select(accounts).where(accounts.c.account_id == account_id)).one_or_none()
    return _account(row) if row else None


def list_accounts(connection: Connection, after_id: str, limit: int) -> list[Account]:
    """Accounts with an id behind `after_id`, in the order of their ids."""
    own = accounts.c.account_id
    rows = connection.execute(select(accounts).where(own > after_id).order_by(own).limit(limit))
    return [_account(row) for row in rows]


def update_account(connection: Connection, spec: AccountSpec, now_ms: int) -> None:
    revision = sequence.take(connection, revisions=1).revision
    change = update(accounts).where(accounts.c.account_id == spec.account_id)
    connection.execute(change.values(**_columns(spec), revision=revision, update_time_ms=now_ms))


def delete_account(connection: Connection, account_id: str) -> None:
    """With its tokens."""
    sequence.take(connection, revisions=1)
    connection.execute(delete(access_tokens).where(access_tokens.c.account_id == account_id))
    connection.execute(delete(accounts).where(accounts.c.account_id == account_id))


def can_be_administered(connection: Connection, now_ms: int) -> bool:
    """Whether there is an administrator who has a valid token."""
    live = select(access_tokens.c.account_id).where(access_tokens.c.expire_time_ms > now_ms)
    rows = connection.execute(select(accounts).where(accounts.c.account_id.in_(live)))
    return any(_account(row).is_admin for row in rows)


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


def find_token_named(connection: Connection, account_id: str, token_id: str) -> AccessToken | None:
    """Also one that was revoked or has expired."""
    own = (access_tokens.c.token_id == token_id) & (access_tokens.c.account_id == account_id)
    row = connection.execute(select(access_tokens).where(own)).one_or_none()
    return _token(row) if row else None


def list_tokens(connection: Connection, account_id: str, after: tuple[int, str], limit: int) -> list[AccessToken]:
    """Those that were not revoked, in the order of their creation. Args: after: (create_time_ms, token_id)."""
    own = (access_tokens.c.account_id == account_id) & (access_tokens.c.expire_time_ms > REVOKED_MS)
    key = (access_tokens.c.create_time_ms, access_tokens.c.token_id)
    rows = connection.execute(select(access_tokens).where(own, tuple_(*key) > after).order_by(*key).limit(limit))
    return [_token(row) for row in rows]


def count_tokens(connection: Connection, account_id: str, now_ms: int) -> int:
    """Those that are valid."""
    own = (access_tokens.c.account_id == account_id) & (access_tokens.c.expire_time_ms > now_ms)
    return connection.execute(select(func.count()).where(own)).scalar_one()


def forget_tokens(connection: Connection, account_id: str, before_ms: int) -> None:
    """Remove those that have expired before then; what was revoked stays."""
    expired = access_tokens.c.expire_time_ms.between(REVOKED_MS + 1, before_ms)
    connection.execute(delete(access_tokens).where(access_tokens.c.account_id == account_id, expired))


def note_use(connection: Connection, last_use_time_ms: dict[str, int]) -> None:
    """Args: last_use_time_ms: by token_id. A time that is known already or older changes nothing."""
    used, token_id = bindparam("used", type_=BigInteger()), bindparam("id", type_=String())
    newer = func.coalesce(access_tokens.c.last_use_time_ms, 0) < used
    change = update(access_tokens).where(access_tokens.c.token_id == token_id, newer).values(last_use_time_ms=used)
    connection.execute(change, [{"id": key, "used": time_ms} for key, time_ms in last_use_time_ms.items()])


def revoke_token(connection: Connection, token_id: str) -> None:
    """The row stays, so that the same token cannot come back. It takes a revision: by it all registries hear of it."""
    sequence.take(connection, revisions=1)
    connection.execute(
        update(access_tokens).where(access_tokens.c.token_id == token_id).values(expire_time_ms=REVOKED_MS)
    )


def owner_of_token(connection: Connection, token_sha256: bytes, now_ms: int) -> Owner | None:
    """The account that may act by this token now: neither revoked nor expired nor disabled."""
    row = _OWNER.row(connection, token_sha256=token_sha256, now_ms=now_ms)
    if row is None:
        return None
    account_id, grants, token_id, expire_time_ms = row
    return Owner(account_id, _grants(grants), token_id, expire_time_ms)


def _grants(stored: str) -> tuple[Grant, ...]:
    return tuple(each.grant() for each in _grants_decoder.decode(stored))


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
            grants=_grants(row.grants),
            disabled=row.is_disabled,
        ),
        revision=row.revision,
        create_time_ms=row.create_time_ms,
        update_time_ms=row.update_time_ms,
    )


def _token(row: Row[Any]) -> AccessToken:
    return AccessToken(*(getattr(row, name) for name in AccessToken.__struct_fields__))
