"""Accounts and their tokens through gRPC, on both databases: who they are, when they end, who stays."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Event

import grpc
import pytest
from google.longrunning import operations_pb2
from google.longrunning.operations_pb2_grpc import OperationsStub
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode

from cityfleet.registry.v1 import access_pb2 as pb
from cityfleet.registry.v1 import device_pb2, metric_pb2, site_pb2
from cityfleet.registry.v1.access_pb2_grpc import AccessServiceStub
from cityfleet.registry.v1.device_pb2_grpc import DeviceServiceStub
from cityfleet.registry.v1.metric_pb2_grpc import MetricServiceStub
from cityfleet.registry.v1.site_pb2_grpc import WardServiceStub
from registry.db import operations as db_operations
from registry.db.engine import Database
from registry.operations import rules
from runtime.bearer import bearer_channel
from tests.support.access import account, grant, new_account, new_token
from tests.support.deadline import until
from tests.support.registry import running_registry
from tests.support.status import fails

DAY_S = 86_400


@pytest.fixture(scope="module")
def access(stubs):
    return AccessServiceStub(stubs.channel)


def update(access, name: str, *paths: str, **fields: object) -> pb.Account:
    request = pb.UpdateAccountRequest(account=pb.Account(name=name, **fields))
    request.update_mask.paths.extend(paths)
    return access.UpdateAccount(request)


def is_let_in(registry, token: str) -> bool:
    with bearer_channel(registry.address, token) as channel:
        try:
            MetricServiceStub(channel).ListMetrics(metric_pb2.ListMetricsRequest(), timeout=60)
        except grpc.RpcError as refused:
            assert refused.code() is StatusCode.UNAUTHENTICATED
            return False
    return True


def test_an_account_is_made_changed_and_deleted(access):
    given = pb.Account(display_name="Nga", grants=[grant("operator", ["00070", "00004"], {"owner": "tnmt"})])
    request = pb.CreateAccountRequest(account_id="nga", account=given, validate_only=True)
    assert not access.CreateAccount(request).etag
    with fails(StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND"):
        access.GetAccount(pb.GetAccountRequest(name="accounts/nga"))
    request.validate_only = False
    made = access.CreateAccount(request)
    assert made.grants == [grant("operator", ["00004", "00070"], {"owner": "tnmt"})]
    assert access.GetAccount(pb.GetAccountRequest(name="accounts/nga")) == made
    with fails(StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS"):
        access.CreateAccount(request)
    changed = update(access, "accounts/nga", "display_name", display_name="Nga Trần", etag=made.etag)
    assert (changed.display_name, changed.grants) == ("Nga Trần", made.grants)
    with fails(StatusCode.ABORTED, "ETAG_MISMATCH"):
        update(access, "accounts/nga", "disabled", disabled=True, etag=made.etag)
    assert not update(access, "accounts/nga", "grants").grants
    with fails(StatusCode.ABORTED, "ETAG_MISMATCH"):
        access.DeleteAccount(pb.DeleteAccountRequest(name="accounts/nga", etag=made.etag))
    access.DeleteAccount(pb.DeleteAccountRequest(name="accounts/nga"))
    with fails(StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND"):
        access.DeleteAccount(pb.DeleteAccountRequest(name="accounts/nga"))


@pytest.mark.parametrize(
    ("account_id", "fields", "reason"),
    [
        ("Nga", {}, "ACCOUNT_ID_INVALID"),
        ("me", {}, "ACCOUNT_ID_INVALID"),
        ("b", {"display_name": "x" * 256}, "TEXT_TOO_LONG"),
        ("b", {"grants": [pb.Grant()]}, "ROLE_UNKNOWN"),
        ("b", {"grants": [pb.Grant(role=99)]}, "ROLE_UNKNOWN"),
        ("b", {"grants": [grant("viewer", ["99999"])]}, "WARD_UNKNOWN"),
        ("b", {"grants": [grant("viewer", labels={"A B": "c"})]}, "LABEL_KEY_INVALID"),
        ("b", {"grants": [grant("viewer")] * 65}, "TOO_MANY_GRANTS"),
    ],
    ids=range(8),
)
def test_an_account_that_makes_no_sense_is_refused(access, account_id, fields, reason):
    with fails(StatusCode.INVALID_ARGUMENT, reason):
        access.CreateAccount(pb.CreateAccountRequest(account_id=account_id, account=pb.Account(**fields)))


def test_accounts_and_tokens_are_listed_page_by_page(registry, access):
    for at in range(5):
        new_account(registry, f"listed-{at}")
        new_token(registry, "listed-0")
    for call, request, field in (
        (access.ListAccounts, pb.ListAccountsRequest(page_size=2), "accounts"),
        (access.ListAccessTokens, pb.ListAccessTokensRequest(parent="accounts/listed-0", page_size=2), "access_tokens"),
    ):
        names = []
        while True:
            page = call(request)
            names += [each.name for each in getattr(page, field)]
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        assert len(names) == len(set(names))
        assert len([name for name in names if name.startswith("accounts/listed-")]) == 5


def test_a_token_is_valid_until_it_is_revoked(registry, access):
    new_account(registry, "phong")
    made = new_token(registry, "phong")
    assert made.access_token.name.startswith("accounts/phong/tokens/")
    with bearer_channel(registry.address, made.token) as channel:
        own = AccessServiceStub(channel)
        who = own.WhoAmI(pb.WhoAmIRequest())
        assert (who.account.name, who.access_token.name) == ("accounts/phong", made.access_token.name)
        # One that has no role at all may look after its own tokens, by either name, and nobody else's.
        second = own.CreateAccessToken(pb.CreateAccessTokenRequest(parent="accounts/me", display_name="laptop"))
        ttl_s = second.access_token.expire_time.seconds - second.access_token.create_time.seconds
        assert ttl_s == 90 * DAY_S
        listed = own.ListAccessTokens(pb.ListAccessTokensRequest(parent="accounts/phong")).access_tokens
        assert [token.display_name for token in listed] == ["", "laptop"]
        for name in ("admin", "nobody"):
            with fails(StatusCode.PERMISSION_DENIED, "NOT_THERE_OR_NOT_YOURS"):
                own.ListAccessTokens(pb.ListAccessTokensRequest(parent=f"accounts/{name}"))
            with fails(StatusCode.PERMISSION_DENIED, "NOT_THERE_OR_NOT_YOURS"):
                own.CreateAccessToken(pb.CreateAccessTokenRequest(parent=f"accounts/{name}"))
        with fails(StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED"):
            own.GetAccount(pb.GetAccountRequest(name="accounts/phong"))
        own.RevokeAccessToken(pb.RevokeAccessTokenRequest(name=made.access_token.name))
        with fails(StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"):
            own.WhoAmI(pb.WhoAmIRequest())
    access.RevokeAccessToken(pb.RevokeAccessTokenRequest(name=made.access_token.name))  # again: nothing to do
    listed = access.ListAccessTokens(pb.ListAccessTokensRequest(parent="accounts/phong")).access_tokens
    assert [token.name for token in listed] == [second.access_token.name]
    with fails(StatusCode.NOT_FOUND, "TOKEN_NOT_FOUND"):
        access.RevokeAccessToken(pb.RevokeAccessTokenRequest(name="accounts/phong/tokens/none"))
    with fails(StatusCode.INVALID_ARGUMENT, "NAME_INVALID"):
        access.RevokeAccessToken(pb.RevokeAccessTokenRequest(name="accounts/phong"))


def test_a_token_ends_when_its_time_is_over(registry, access):
    new_account(registry, "brief", grant("viewer"))
    token = new_token(registry, "brief", ttl_s=2).token
    until(lambda: not is_let_in(registry, token))
    for ttl in (Duration(), Duration(seconds=-1), Duration(seconds=401 * DAY_S), Duration(seconds=315_576_000_000)):
        with fails(StatusCode.INVALID_ARGUMENT, "TTL_INVALID"):
            access.CreateAccessToken(pb.CreateAccessTokenRequest(parent="accounts/brief", ttl=ttl))


def test_a_disabled_account_is_not_let_in_until_it_is_enabled(registry, access):
    new_account(registry, "away", grant("viewer"))
    token = new_token(registry, "away").token
    assert is_let_in(registry, token)
    update(access, "accounts/away", "disabled", disabled=True)
    assert not is_let_in(registry, token)
    with fails(StatusCode.FAILED_PRECONDITION, "ACCOUNT_DISABLED"):
        new_token(registry, "away")
    update(access, "accounts/away", "disabled")
    assert is_let_in(registry, token)
    access.DeleteAccount(pb.DeleteAccountRequest(name="accounts/away"))
    assert not is_let_in(registry, token)


def test_the_last_administrator_stays(registry, access):
    own = access.WhoAmI(pb.WhoAmIRequest())
    # Neither of these could mend anything.
    new_account(registry, "half-admin", grant("admin", ["00070"]))
    new_token(registry, "half-admin")
    new_account(registry, "other-admin", grant("admin"))
    refusals = (
        lambda: update(access, own.account.name, "grants"),
        lambda: update(access, own.account.name, "disabled", disabled=True),
        lambda: access.DeleteAccount(pb.DeleteAccountRequest(name=own.account.name)),
        lambda: access.RevokeAccessToken(pb.RevokeAccessTokenRequest(name=own.access_token.name)),
    )
    for refused in refusals:
        with fails(StatusCode.FAILED_PRECONDITION, "LAST_ADMIN"):
            refused()
    assert access.WhoAmI(pb.WhoAmIRequest()) == own
    new_token(registry, "other-admin")
    assert update(access, own.account.name, "display_name", display_name="First")


def test_the_token_of_the_data_folder_is_renewed_after_it_was_revoked(tmp_path, new_database):
    with running_registry(tmp_path, new_database()) as registry:
        new_account(registry, "other-admin", grant("admin"))
        other, first = new_token(registry, "other-admin").token, registry.admin_token
        with registry.channel() as channel:
            access = AccessServiceStub(channel)
            own = access.WhoAmI(pb.WhoAmIRequest())
            access.RevokeAccessToken(pb.RevokeAccessTokenRequest(name=own.access_token.name))
        assert not is_let_in(registry, first)
        assert registry.stop() == 0
        registry.start()
        assert registry.admin_token != first
        assert not is_let_in(registry, first)
        assert is_let_in(registry, registry.admin_token)
        with bearer_channel(registry.address, other) as channel:
            # The uses before the stop were written down.
            token = AccessServiceStub(channel).WhoAmI(pb.WhoAmIRequest()).access_token
    assert token.last_use_time.seconds % 60 == 0


def test_when_a_token_was_last_used_outlives_the_registry(tmp_path, new_database):
    with running_registry(tmp_path, new_database()) as registry:
        before_s = int(time.time()) // 60 * 60
        for _ in range(2):
            assert registry.stop() == 0
            registry.start()
            with registry.channel() as channel:
                used = AccessServiceStub(channel).WhoAmI(pb.WhoAmIRequest()).access_token.last_use_time
        assert before_s <= used.seconds <= time.time()
        assert used.seconds % 60 == 0


@contextmanager
def held_open(first: object) -> Iterator[Iterator[object]]:
    """Requests of a client that sends one and then keeps the stream open."""
    is_over = Event()

    def requests() -> Iterator[object]:
        yield first
        is_over.wait(120)

    try:
        yield requests()
    finally:
        is_over.set()


def revoke_all(access, account_id: str) -> None:
    for token in access.ListAccessTokens(pb.ListAccessTokensRequest(parent=f"accounts/{account_id}")).access_tokens:
        access.RevokeAccessToken(pb.RevokeAccessTokenRequest(name=token.name))


def test_streams_uploads_and_waiting_end_with_the_right_to_them(registry, access):
    """All at once: the right of each is looked at every few seconds."""
    with ExitStack() as opened:

        def enter(name: str, role: str) -> grpc.Channel:
            return opened.enter_context(account(registry, name, grant(role)))

        def stream(name: str) -> Iterator[object]:
            channel = enter(name, "engineer")
            rows = opened.enter_context(held_open(device_pb2.ImportDevicesRequest()))
            answers = DeviceServiceStub(channel).ImportDevices(rows, timeout=120)
            next(answers)
            return answers

        revoked, demoted = stream("revoked"), stream("demoted")
        pieces = opened.enter_context(held_open(site_pb2.LoadWardBoundariesRequest(geojson=b"{")))
        upload = WardServiceStub(enter("uploading", "admin")).LoadWardBoundaries.future(pieces, timeout=120)
        channel = enter("waiting", "operator")
        name = asyncio.run(endless_operation(registry, "accounts/waiting"))
        wait = operations_pb2.WaitOperationRequest(name=f"operations/{name}", timeout=Duration(seconds=120))
        waiting = OperationsStub(channel).WaitOperation.future(wait, timeout=100)

        for account_id in ("revoked", "uploading", "waiting"):
            revoke_all(access, account_id)
        update(access, "accounts/demoted", "grants", grants=[grant("viewer")])
        with fails(StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"):
            next(revoked)
        with fails(StatusCode.UNAVAILABLE, "ROLES_CHANGED"):
            next(demoted)
        for call in (upload, waiting):
            with fails(StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"):
                call.result()


async def endless_operation(registry, actor: str) -> str:
    """One that a worker has who never ends it."""
    database = Database(registry.database_url)

    def endless(connection) -> str:
        # At once, or the registry might take it in between.
        begun = rules.begin(connection, "bulk-update", "s/M", actor, b"", 1)
        db_operations.claim(connection, "nobody", 2**60, 2**60, 100)
        return begun.operation_id

    try:
        await database.open()
        return await database.write(endless)
    finally:
        database.close()
