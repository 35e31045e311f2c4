"""The first administrator: who can read the data folder of a registry can administer it."""

import secrets as random

from sqlalchemy import Connection

from registry.access.caller import Grant, Role
from registry.access.model import NEVER_MS, AccessToken, AccountSpec
from registry.audit.record import changed
from registry.db import accounts as db
from registry.db import sequence
from registry.devices.tokens import digest

ADMIN = "admin"
FILE = "registry-admin"


def plant_admin(connection: Connection, token: str) -> bool:
    """See that the account `admin` is there and that `token`, of the data folder, is one of its tokens.

    Returns: False if that token was revoked: the folder needs another.
    """
    now_ms = sequence.now_ms()
    known = db.find_token(connection, digest(token))
    if known is not None:
        return known.expire_time_ms > now_ms
    if db.find_account(connection, ADMIN) is None:
        spec = AccountSpec(ADMIN, display_name="Administrator", grants=(Grant(Role.ADMIN),))
        db.insert_account(connection, spec, now_ms)
        changed(f"accounts/{ADMIN}", None, {"display_name": spec.display_name, "grants": [{"role": "admin"}]})
    token_id = f"data-folder-{random.token_hex(4)}"
    made = AccessToken(token_id, ADMIN, "of the registry's data folder", now_ms, NEVER_MS, None)
    db.insert_token(connection, made, digest(token))
    changed(f"accounts/{ADMIN}/tokens/{token_id}", None, made)
    return True
