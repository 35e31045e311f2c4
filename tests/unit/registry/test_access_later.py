"""With which rights goes on what was begun by an account that has changed meanwhile."""

import pytest

from cityfleet.registry.v1.device_pb2 import BulkDeleteDevicesRequest
from registry.access import accounts
from registry.access.caller import INTERNAL, Bounds, Grant, Role
from registry.access.later import scope_now
from registry.access.model import AccountSpec
from registry.db import accounts as db
from registry.db.engine import Database, sqlite_url
from registry.errors import PermissionDeniedError

METHOD = "cityfleet.registry.v1.DeviceService/BulkDeleteDevices"
WARD, OTHER = Bounds(frozenset({"00070"})), Bounds(frozenset({"00004"}))
PURGE = BulkDeleteDevicesRequest(action=BulkDeleteDevicesRequest.ACTION_PURGE)
DELETE = BulkDeleteDevicesRequest(action=BulkDeleteDevicesRequest.ACTION_DELETE)


@pytest.fixture
async def database(tmp_path):
    database = Database(sqlite_url(tmp_path / "registry.db"))
    try:
        await database.open()
        await database.write(accounts.create_account, AccountSpec("nga", grants=(Grant(Role.ENGINEER, WARD),)))
        yield database
    finally:
        database.close()


def now(database, request=DELETE, actor="accounts/nga"):
    return database.read(scope_now, actor, METHOD, request)


async def test_it_goes_on_within_what_the_account_may_now(database):
    assert (await now(database)).bounds == (WARD,)
    spec = AccountSpec("nga", grants=(Grant(Role.ENGINEER, OTHER),))
    await database.write(db.update_account, spec, 0)
    assert (await now(database)).bounds == (OTHER,)
    assert (await now(database, actor=INTERNAL.actor)).is_everything


async def test_it_needs_the_role_that_its_request_needs(database):
    with pytest.raises(PermissionDeniedError):
        await now(database, PURGE)


@pytest.mark.parametrize("end", ["demoted", "disabled", "deleted"])
async def test_it_stops_when_the_account_may_not_any_more(database, end):
    if end == "deleted":
        await database.write(db.delete_account, "nga")
    else:
        role = Role.OPERATOR if end == "demoted" else Role.ADMIN
        spec = AccountSpec("nga", grants=(Grant(role),), disabled=end == "disabled")
        await database.write(db.update_account, spec, 0)
    with pytest.raises(PermissionDeniedError):
        await now(database)
