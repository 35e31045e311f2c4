"""Accounts for tests: `with account(registry, "nga", grant("operator", wards=["00070"])) as channel: ...`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import grpc
from google.protobuf.duration_pb2 import Duration

from cityfleet.registry.v1 import access_pb2 as pb
from cityfleet.registry.v1.access_pb2_grpc import AccessServiceStub
from runtime.bearer import bearer_channel
from tests.support.registry import RunningRegistry


def grant(role: str, wards: Sequence[str] = (), labels: Mapping[str, str] | None = None) -> pb.Grant:
    return pb.Grant(role=pb.Role.Value(f"ROLE_{role.upper()}"), ward_codes=wards, labels=labels)


def new_account(registry: RunningRegistry, account_id: str, *grants: pb.Grant) -> pb.Account:
    with registry.channel() as channel:
        request = pb.CreateAccountRequest(account_id=account_id, account=pb.Account(grants=grants))
        return AccessServiceStub(channel).CreateAccount(request)


def new_token(registry: RunningRegistry, account_id: str, ttl_s: int = 3600) -> pb.CreateAccessTokenResponse:
    with registry.channel() as channel:
        request = pb.CreateAccessTokenRequest(parent=f"accounts/{account_id}", ttl=Duration(seconds=ttl_s))
        return AccessServiceStub(channel).CreateAccessToken(request)


@contextmanager
def account(registry: RunningRegistry, account_id: str, *grants: pb.Grant) -> Iterator[grpc.Channel]:
    """A new account's channel."""
    new_account(registry, account_id, *grants)
    with bearer_channel(registry.address, new_token(registry, account_id).token) as channel:
        yield channel
