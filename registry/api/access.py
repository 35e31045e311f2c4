"""AccessService: accounts and their tokens."""

from google.protobuf.duration_pb2 import Duration
from sqlalchemy import Connection

from cityfleet.registry.v1 import access_pb2 as pb
from cityfleet.registry.v1 import access_pb2_grpc
from registry.access import accounts, credentials
from registry.access.caller import Bounds, Caller, Grant, Role
from registry.access.model import AccessToken, Account, AccountSpec
from registry.access.within import hidden
from registry.api.call import Call, called
from registry.api.names import created_id, id_of, optional_timestamp, timestamp
from registry.api.paging import page_of
from registry.db import accounts as db
from registry.devices.catalogue import etag
from registry.errors import InvalidError, Violation

MAX_PAGE = 1000
# Longer than any that is allowed, and still whole milliseconds of 64 bits.
_LONG_S = 1 << 40


class AccessServicer(access_pb2_grpc.AccessServiceServicer):
    @called
    async def CreateAccount(self, request: pb.CreateAccountRequest, call: Call) -> pb.Account:
        account_id = created_id(request.account_id, request.account.name, "accounts", "account_id")
        answer = _would_be if request.validate_only else message
        return await call.change(answer, accounts.create_account, _spec(account_id, request.account))

    @called
    async def GetAccount(self, request: pb.GetAccountRequest, call: Call) -> pb.Account:
        return message(await call.read(accounts.get_account, id_of(request.name, "accounts")))

    @called
    async def ListAccounts(self, request: pb.ListAccountsRequest, call: Call) -> pb.ListAccountsResponse:
        page = page_of(request, MAX_PAGE)
        (start,) = page.after_of([str]) or ("",)
        found = await call.read(db.list_accounts, str(start), page.limit + 1)
        token = page.token_after((found[page.limit - 1].spec.account_id,)) if len(found) > page.limit else ""
        return pb.ListAccountsResponse(accounts=map(message, found[: page.limit]), next_page_token=token)

    @called
    async def UpdateAccount(self, request: pb.UpdateAccountRequest, call: Call) -> pb.Account:
        given, account_id = request.account, id_of(request.account.name, "accounts", "account.name")
        named = set(request.update_mask.paths)
        if unknown := named - {*accounts.UPDATABLE, "*"}:
            text = f"`{min(unknown)[:80]}` cannot be updated; fields are {', '.join(accounts.UPDATABLE)}, * for all"
            raise InvalidError([Violation("update_mask", "FIELD_NOT_UPDATABLE", text)])
        fields = set(accounts.UPDATABLE)
        if "*" not in named:
            fields &= named or {field.name for field, _ in given.ListFields()}
        spec = _spec(account_id, given)
        return await call.change(message, accounts.update_account, spec, frozenset(fields), given.etag)

    @called
    async def DeleteAccount(self, request: pb.DeleteAccountRequest, call: Call) -> pb.DeleteAccountResponse:
        account_id = id_of(request.name, "accounts")
        return await call.change(
            lambda _: pb.DeleteAccountResponse(), accounts.delete_account, account_id, request.etag
        )

    @called
    async def CreateAccessToken(self, request: pb.CreateAccessTokenRequest, call: Call) -> pb.CreateAccessTokenResponse:
        account_id = _whose(request.parent, "parent", call.caller)
        ttl_ms = _milliseconds(request.ttl) if request.HasField("ttl") else None
        return await call.change(_made, credentials.create_token, account_id, request.display_name, ttl_ms)

    @called
    async def ListAccessTokens(self, request: pb.ListAccessTokensRequest, call: Call) -> pb.ListAccessTokensResponse:
        account_id, page = _whose(request.parent, "parent", call.caller), page_of(request, MAX_PAGE)
        time_ms, token_id = page.after_of([int, str]) or (0, "")
        found = await call.read(credentials.list_tokens, account_id, (int(time_ms), str(token_id)), page.limit + 1)
        token = ""
        if len(found) > page.limit:
            last = found[page.limit - 1]
            token = page.token_after((last.create_time_ms, last.token_id))
        return pb.ListAccessTokensResponse(access_tokens=map(_token, found[: page.limit]), next_page_token=token)

    @called
    async def RevokeAccessToken(self, request: pb.RevokeAccessTokenRequest, call: Call) -> pb.RevokeAccessTokenResponse:
        account, separator, token_id = request.name.partition("/tokens/")
        if not separator or not token_id or "/" in token_id or "\0" in token_id:
            text = f"`{request.name[:200]}` is not a name here; it is accounts/ID/tokens/ID"
            raise InvalidError([Violation("name", "NAME_INVALID", text)])
        account_id = _whose(account, "name", call.caller)
        return await call.change(
            lambda _: pb.RevokeAccessTokenResponse(), credentials.revoke_token, account_id, token_id
        )

    @called
    async def WhoAmI(self, request: pb.WhoAmIRequest, call: Call) -> pb.WhoAmIResponse:
        return await call.read(_who, call.caller)


def _who(connection: Connection, caller: Caller) -> pb.WhoAmIResponse:
    if not caller.token_id:  # another service of this deployment
        return pb.WhoAmIResponse(account=pb.Account(name=caller.actor, is_service=True))
    account_id = caller.actor.removeprefix("accounts/")
    answer = pb.WhoAmIResponse(account=message(accounts.get_account(connection, account_id)))
    token = db.find_token_named(connection, account_id, caller.token_id)
    if token is not None:
        answer.access_token.CopyFrom(_token(token))
    return answer


def _whose(name: str, field: str, caller: Caller) -> str:
    """The account of that name, which is the caller's own unless he is an administrator.

    Raises: InvalidError, PermissionDeniedError.
    """
    account_id = id_of(name, "accounts", field)
    own = caller.actor.removeprefix("accounts/")
    if caller.token_id and account_id in (accounts.ME, own):
        return own
    if not caller.has(Role.ADMIN) or not caller.scope_of(Role.ADMIN).is_everything:
        raise hidden(name)
    return account_id


def _spec(account_id: str, given: pb.Account) -> AccountSpec:
    """Raises: InvalidError."""
    grants = []
    for at, grant in enumerate(given.grants):
        if grant.role not in pb.Role.values() or not grant.role:
            roles = ", ".join(role.name.lower() for role in Role if role < Role.INTERNAL)
            raise InvalidError([Violation(f"grants[{at}].role", "ROLE_UNKNOWN", f"one of {roles}")])
        bounds = Bounds(frozenset(grant.ward_codes), tuple(sorted(grant.labels.items())))
        grants.append(Grant(Role(grant.role), bounds))
    return AccountSpec(account_id, given.display_name, given.is_service, tuple(grants), given.disabled)


def message(account: Account) -> pb.Account:
    spec = account.spec
    return pb.Account(
        name=f"accounts/{spec.account_id}",
        display_name=spec.display_name,
        is_service=spec.is_service,
        grants=[
            pb.Grant(
                role=pb.Role.ValueType(grant.role),
                ward_codes=sorted(grant.bounds.ward_codes),
                labels=dict(grant.bounds.labels),
            )
            for grant in spec.grants
        ],
        disabled=spec.disabled,
        etag=etag(account.revision),
        create_time=timestamp(account.create_time_ms),
        update_time=timestamp(account.update_time_ms),
    )


def _would_be(account: Account) -> pb.Account:
    answer = message(account)
    answer.ClearField("etag")
    return answer


def _token(token: AccessToken) -> pb.AccessToken:
    return pb.AccessToken(
        name=f"accounts/{token.account_id}/tokens/{token.token_id}",
        display_name=token.display_name,
        create_time=timestamp(token.create_time_ms),
        expire_time=timestamp(token.expire_time_ms),
        last_use_time=optional_timestamp(token.last_use_time_ms),
    )


def _made(made: credentials.Made) -> pb.CreateAccessTokenResponse:
    return pb.CreateAccessTokenResponse(access_token=_token(made.token), token=made.secret)


def _milliseconds(ttl: Duration) -> int:
    seconds = max(-_LONG_S, min(_LONG_S, ttl.seconds))
    return seconds * 1000 + ttl.nanos // 1_000_000
