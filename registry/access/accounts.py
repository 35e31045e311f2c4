"""Accounts: create, update, delete. Each function runs in one write transaction."""

from typing import Any

import msgspec
from sqlalchemy import Connection

from registry.access.caller import Grant
from registry.access.model import Account, AccountSpec, StoredGrant
from registry.audit.record import changed
from registry.db import accounts as db
from registry.db import sequence
from registry.db.operations import disown
from registry.devices.catalogue import check_etag
from registry.devices.rules import DEVICE_ID, MAX_TEXT, bad_ward, check_labels, check_text
from registry.devices.wards import wards
from registry.errors import AlreadyExistsError, InvalidError, NotFoundError, PreconditionError, Violation

UPDATABLE = ("display_name", "is_service", "grants", "disabled")
MAX_GRANTS = 64
# `accounts/me` is whoever asks.
ME = "me"


def create_account(connection: Connection, spec: AccountSpec) -> Account:
    """Raises: InvalidError, AlreadyExistsError."""
    if found := _check(spec):
        raise InvalidError(found)
    if db.find_account(connection, spec.account_id):
        text = f"the account {spec.account_id} exists; update it, or choose another id"
        raise AlreadyExistsError(text, metadata={"account": spec.account_id})
    db.insert_account(connection, spec, sequence.now_ms())
    return _noted(connection, spec.account_id, None)


def get_account(connection: Connection, account_id: str) -> Account:
    """Raises: NotFoundError."""
    account = db.find_account(connection, account_id)
    if account is None:
        text = f"there is no account {account_id}; `cityfleet account list` shows those there are"
        raise NotFoundError(text, reason="ACCOUNT_NOT_FOUND", metadata={"account": account_id})
    return account


def update_account(connection: Connection, given: AccountSpec, fields: frozenset[str], given_etag: str) -> Account:
    """What is running by its tokens is held to the new grants within seconds.

    Args: fields: of UPDATABLE, those to take from `given`.
    Raises: InvalidError, NotFoundError, EtagMismatchError, PreconditionError.
    """
    before = get_account(connection, given.account_id)
    check_etag(f"accounts/{given.account_id}", given_etag, before.revision)
    spec = msgspec.structs.replace(before.spec, **{name: getattr(given, name) for name in fields})
    if spec == before.spec:
        return before
    if found := _check(spec):
        raise InvalidError(found)
    db.update_account(connection, spec, sequence.now_ms())
    check_an_administrator_stays(connection)
    return _noted(connection, given.account_id, before)


def delete_account(connection: Connection, account_id: str, given_etag: str) -> None:
    """With its tokens. Its operations are no longer anybody's who gets the id after it.

    Raises: NotFoundError, EtagMismatchError, PreconditionError.
    """
    account = get_account(connection, account_id)
    check_etag(f"accounts/{account_id}", given_etag, account.revision)
    db.delete_account(connection, account_id)
    disown(connection, f"accounts/{account_id}")
    check_an_administrator_stays(connection)
    changed(f"accounts/{account_id}", _plain(account), None)


def check_an_administrator_stays(connection: Connection) -> None:
    """After a change that takes something away; raising undoes it. Raises: PreconditionError."""
    if not db.can_be_administered(connection, sequence.now_ms()):
        raise PreconditionError(
            "nobody could administer the registry then: first give another account the role admin, without bounds, and "
            "a token",
            reason="LAST_ADMIN",
        )


def _check(spec: AccountSpec) -> list[Violation]:
    found: list[Violation] = []
    if not DEVICE_ID.fullmatch(spec.account_id) or spec.account_id == ME:
        text = (
            f"`{spec.account_id[:80]}` is not an account: lowercase letters, digits and `-`, 1 to 63 characters, not me"
        )
        found.append(Violation("account_id", "ACCOUNT_ID_INVALID", text))
    found += check_text("display_name", spec.display_name, MAX_TEXT)
    if len(spec.grants) > MAX_GRANTS:
        found.append(Violation("grants", "TOO_MANY_GRANTS", f"at most {MAX_GRANTS}, not {len(spec.grants)}"))
    for at, grant in enumerate(spec.grants[:MAX_GRANTS]):
        found += _check_bounds(f"grants[{at}]", grant)
    return found


def _check_bounds(field: str, grant: Grant) -> list[Violation]:
    unknown = sorted(grant.bounds.ward_codes - wards().keys())[:10]
    found = [msgspec.structs.replace(bad_ward(code), field=f"{field}.ward_codes") for code in unknown]
    labels = check_labels(dict(grant.bounds.labels))
    return found + [msgspec.structs.replace(each, field=f"{field}.{each.field}") for each in labels]


def _noted(connection: Connection, account_id: str, before: Account | None) -> Account:
    after = get_account(connection, account_id)
    changed(f"accounts/{account_id}", _plain(before) if before else None, _plain(after))
    return after


def _plain(account: Account) -> dict[str, Any]:
    spec = msgspec.structs.asdict(account.spec)
    return spec | {"grants": [StoredGrant.of(grant) for grant in account.spec.grants]}
