"""Who may call what: for each method of the API the role that it needs, and over what he must have it.

A method that is not in the table is refused, and a test holds the table against all descriptors. Requests are seen
here as they come, before any check: nothing in them may be relied on but its type.
"""

import enum
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import msgspec
from google.protobuf.message import Message

from registry.access.caller import EVERYTHING, INTERNAL, Caller, Role, Scope
from registry.errors import PermissionDeniedError

_PACKAGE = "cityfleet.registry.v1"


class Reach(enum.Enum):
    """Where the scope of a role is found."""

    # The devices and sites that the request names: each must be within it.
    NAMED = enum.auto()
    # What is listed, watched or made is within it; the rules see to that.
    FILTERED = enum.auto()
    # It has none and everybody needs it: the role for anything at all is enough.
    CATALOGUE = enum.auto()
    # The role must have no bounds.
    WHOLE = enum.auto()
    # What is the caller's own; of others' the method asks for an administrator.
    OWN = enum.auto()
    # The other services of the deployment, and no person.
    SERVICES = enum.auto()


class Named(msgspec.Struct, frozen=True):
    """A resource name out of a request; `may_be_missing`: then it is to be created."""

    name: str
    may_be_missing: bool = False


# What a request names, and the role that it needs by what is in it.
Names: TypeAlias = Callable[[Any], Iterable[Named]]
Needs: TypeAlias = Callable[[Any], Role]


class Rule(msgspec.Struct, frozen=True):
    """`role` is the least that is needed; `more` says when a request needs another."""

    role: Role
    reach: Reach
    names: Names | None = None
    more: Needs | None = None

    def role_for(self, request: Message | None) -> Role:
        """Args: request: None: a stream of them."""
        if self.more is None or request is None:
            return self.role
        return max(self.role, self.more(request))

    def named_in(self, request: Message | None) -> tuple[Named, ...]:
        return tuple(self.names(request)) if self.names is not None and request is not None else ()


# A change of one of these makes it another device for its readers: no everyday work.
_ENGINEERS_FIELDS = frozenset({"device_type", "external_id", "hardware_revision", "*"})


def _name(request: Any) -> Iterator[Named]:
    yield Named(request.name)


def _parent(request: Any) -> Iterator[Named]:
    yield Named(request.parent)


def _names(request: Any) -> Iterator[Named]:
    # What may be missing is left out if it is not the caller's.
    return iter(()) if request.allow_missing else map(Named, request.names)


def _device(request: Any) -> Iterator[Named]:
    yield Named(request.device.name, request.allow_missing)


def _devices(request: Any) -> Iterator[Named]:
    for each in request.requests:
        yield from _device(each)


def _deleted(request: Any) -> Iterator[Named]:
    return iter(()) if request.allow_missing else (Named(each.name) for each in request.requests)


def _site(request: Any) -> Iterator[Named]:
    yield Named(request.site.name, request.allow_missing)


def _sites(request: Any) -> Iterator[Named]:
    for each in request.requests:
        yield from _site(each)


def _role_of_update(request: Any) -> Role:
    fields = set(request.update_mask.paths) or {field.name for field, _ in request.device.ListFields()}
    creates = getattr(request, "allow_missing", False)
    return Role.ENGINEER if creates or fields & _ENGINEERS_FIELDS else Role.OPERATOR


def _role_of_updates(request: Any) -> Role:
    return max(map(_role_of_update, request.requests), default=Role.OPERATOR)


def _role_of_end(request: Any) -> Role:
    # By number, so that an action that came later needs the most until somebody decides.
    return {1: Role.OPERATOR, 2: Role.ENGINEER, 3: Role.ENGINEER}.get(request.action, Role.ADMIN)


_READ = Rule(Role.VIEWER, Reach.CATALOGUE)
_EDIT = Rule(Role.ENGINEER, Reach.WHOLE)
_SHARED_READ = Rule(Role.VIEWER, Reach.WHOLE)
_SHARED_EDIT = Rule(Role.OPERATOR, Reach.WHOLE)
_ADMIN = Rule(Role.ADMIN, Reach.WHOLE)
_OWN = Rule(Role.VIEWER, Reach.OWN)
_SERVICES = Rule(Role.INTERNAL, Reach.SERVICES)
_SEEN = Rule(Role.VIEWER, Reach.FILTERED)
_MADE = Rule(Role.ENGINEER, Reach.FILTERED)

_TABLE: dict[str, dict[str, Rule]] = {
    f"{_PACKAGE}.DeviceService": {
        "CreateDevice": _MADE,
        "GetDevice": Rule(Role.VIEWER, Reach.NAMED, _name),
        "ListDevices": _SEEN,
        "UpdateDevice": Rule(Role.OPERATOR, Reach.NAMED, _device, _role_of_update),
        "DecommissionDevice": Rule(Role.OPERATOR, Reach.NAMED, _name),
        "DeleteDevice": Rule(Role.ENGINEER, Reach.NAMED, _name),
        "UndeleteDevice": Rule(Role.ENGINEER, Reach.NAMED, _name),
        "BatchGetDevices": Rule(Role.VIEWER, Reach.NAMED, _names),
        "BatchCreateDevices": _MADE,
        "BatchUpdateDevices": Rule(Role.OPERATOR, Reach.NAMED, _devices, _role_of_updates),
        "BatchDeleteDevices": Rule(Role.ENGINEER, Reach.NAMED, _deleted),
        "AggregateDevices": _SEEN,
        "ExportDevices": _SEEN,
        "WatchDevices": _SEEN,
        "ListDevicePlacements": Rule(Role.VIEWER, Reach.NAMED, _parent),
        "BulkUpdateDevices": Rule(Role.OPERATOR, Reach.FILTERED, None, _role_of_update),
        "BulkDeleteDevices": Rule(Role.OPERATOR, Reach.FILTERED, None, _role_of_end),
        "RotateDeviceToken": Rule(Role.OPERATOR, Reach.NAMED, _name),
        "ImportDevices": _MADE,
    },
    f"{_PACKAGE}.SiteService": {
        "CreateSite": _MADE,
        "GetSite": Rule(Role.VIEWER, Reach.NAMED, _name),
        "ListSites": _SEEN,
        "UpdateSite": Rule(Role.ENGINEER, Reach.NAMED, _site),
        "BatchGetSites": Rule(Role.VIEWER, Reach.NAMED, _names),
        "BatchUpdateSites": Rule(Role.ENGINEER, Reach.NAMED, _sites),
        "DeleteSite": Rule(Role.ENGINEER, Reach.NAMED, _name),
        "BatchDeleteSites": Rule(Role.ENGINEER, Reach.NAMED, _deleted),
        "UndeleteSite": Rule(Role.ENGINEER, Reach.NAMED, _name),
    },
    f"{_PACKAGE}.WardService": {"ListWards": _READ, "LocateWard": _READ, "LoadWardBoundaries": _ADMIN},
    f"{_PACKAGE}.MetricService": {
        "CreateMetric": _EDIT,
        "GetMetric": _READ,
        "ListMetrics": _READ,
        "UpdateMetric": _EDIT,
    },
    f"{_PACKAGE}.DeviceTypeService": {
        "ApplyDeviceType": _EDIT,
        "GetDeviceType": _READ,
        "ListDeviceTypes": _READ,
        "ListDeviceTypeRevisions": _READ,
        "DeleteDeviceType": _EDIT,
    },
    f"{_PACKAGE}.GroupService": {
        "CreateGroup": _SHARED_EDIT,
        "GetGroup": _SHARED_READ,
        "ListGroups": _SHARED_READ,
        "UpdateGroup": _SHARED_EDIT,
        "DeleteGroup": _SHARED_EDIT,
        "ModifyGroupMembers": _SHARED_EDIT,
        "CreateSavedQuery": _SHARED_EDIT,
        "GetSavedQuery": _SHARED_READ,
        "ListSavedQueries": _SHARED_READ,
        "UpdateSavedQuery": _SHARED_EDIT,
        "DeleteSavedQuery": _SHARED_EDIT,
    },
    # Operators are accounts too: they read what all devices send.
    f"{_PACKAGE}.OperatorService": {
        "CreateOperator": _ADMIN,
        "GetOperator": _SHARED_READ,
        "ListOperators": _SHARED_READ,
        "UpdateOperator": _ADMIN,
        "DeleteOperator": _ADMIN,
        "RotateOperatorToken": _ADMIN,
    },
    f"{_PACKAGE}.AccessService": {
        "CreateAccount": _ADMIN,
        "GetAccount": _ADMIN,
        "ListAccounts": _ADMIN,
        "UpdateAccount": _ADMIN,
        "DeleteAccount": _ADMIN,
        "CreateAccessToken": _OWN,
        "ListAccessTokens": _OWN,
        "RevokeAccessToken": _OWN,
        "WhoAmI": _OWN,
    },
    f"{_PACKAGE}.AuditService": {"ListAuditEvents": _ADMIN, "VerifyAuditLog": _ADMIN},
    f"{_PACKAGE}.DeviceIndexService": {"WatchDeviceIndex": _SERVICES},
    f"{_PACKAGE}.DeviceStateService": {"ReportDeviceStates": _SERVICES},
    # An operation is its beginner's and the administrators'.
    "google.longrunning.Operations": {
        "GetOperation": _OWN,
        "ListOperations": _OWN,
        "WaitOperation": _OWN,
        "CancelOperation": _OWN,
        "DeleteOperation": _OWN,
    },
}
RULES: dict[str, Rule] = {
    f"{service}/{name}": rule for service, rules in _TABLE.items() for name, rule in rules.items()
}


def rule_of(method: str) -> Rule:
    """Args: method: `cityfleet.registry.v1.SiteService/GetSite`. Raises: PermissionDeniedError."""
    rule = RULES.get(method)
    if rule is None:
        raise PermissionDeniedError(f"nobody may call {method}: it has no rule", metadata={"method": method})
    return rule


def admitted(caller: Caller, method: str, rule: Rule, role: Role) -> Scope:
    """What the caller may see or touch with the method. Raises: PermissionDeniedError if that is nothing.

    Args: role: that this request needs.
    """
    if rule.reach is Reach.SERVICES:
        if caller != INTERNAL:
            raise PermissionDeniedError(
                f"{_short(method)} is for the services of this deployment, and not even for its administrators",
                reason="SERVICES_ONLY",
                metadata={"method": method},
            )
        return EVERYTHING
    if rule.reach is Reach.OWN:
        return EVERYTHING
    if not caller.has(role):
        raise _denied(caller, method, role, f"the role {role.name.lower()}", "ROLE_REQUIRED")
    scope = caller.scope_of(role)
    if rule.reach is Reach.CATALOGUE:
        return EVERYTHING
    if rule.reach is Reach.WHOLE and not scope.is_everything:
        what = f"the role {role.name.lower()} for everything, not for some wards or labels"
        raise _denied(caller, method, role, what, "SCOPE_TOO_SMALL")
    return scope


def _denied(caller: Caller, method: str, role: Role, what: str, reason: str) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"{_short(method)} needs {what}; {caller.actor} does not have it",
        reason=reason,
        metadata={"method": method, "role": role.name.lower(), "account": caller.actor},
    )


def _short(method: str) -> str:
    return method.rpartition("/")[2]
