"""Who is calling and what he may do: grants of a role, each with the wards and labels it is for."""

import enum
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec


class Role(enum.IntEnum):
    """Each may do what those before it may."""

    VIEWER = 1
    OPERATOR = 2
    ENGINEER = 3
    ADMIN = 4
    # Our own services: what no person needs.
    INTERNAL = 5


class Bounds(msgspec.Struct, frozen=True):
    """Devices and sites in one of the wards (none: in any) that have all of the labels."""

    ward_codes: frozenset[str] = frozenset()
    labels: tuple[tuple[str, str], ...] = ()

    def cover(self, ward_code: str, labels: Mapping[str, str]) -> bool:
        if self.ward_codes and ward_code not in self.ward_codes:
            return False
        return all(labels.get(key) == value for key, value in self.labels)

    @property
    def are_none(self) -> bool:
        return not self.ward_codes and not self.labels


class Grant(msgspec.Struct, frozen=True):
    role: Role
    bounds: Bounds = Bounds()


class Scope(msgspec.Struct, frozen=True):
    """What lies within any of `bounds`; None: everything."""

    bounds: tuple[Bounds, ...] | None = None

    @property
    def is_everything(self) -> bool:
        return self.bounds is None

    def covers(self, ward_code: str, labels: Mapping[str, str]) -> bool:
        return self.bounds is None or any(bounds.cover(ward_code, labels) for bounds in self.bounds)


EVERYTHING = Scope()


class Caller(msgspec.Struct, frozen=True):
    """`actor`: `accounts/{account_id}`, or `internal`. `token_id`: of the token he came with; empty: of none."""

    actor: str
    grants: tuple[Grant, ...]
    token_id: str = ""

    def has(self, role: Role) -> bool:
        """Whether for anything at all."""
        return any(grant.role >= role for grant in self.grants)

    def scope_of(self, role: Role) -> Scope:
        """What he has the role for. Without the role: nothing."""
        bounds = tuple(grant.bounds for grant in self.grants if grant.role >= role)
        return EVERYTHING if any(each.are_none for each in bounds) else Scope(bounds)


# Jobs of the registry itself, and other services of this deployment.
INTERNAL = Caller("internal", (Grant(Role.INTERNAL),))

_scope: ContextVar[Scope] = ContextVar("scope", default=EVERYTHING)


def scope() -> Scope:
    """What the call that the current transaction is for may touch. Rules ask it about rows that the request does not
    name itself, as those of an import; what is named, and what is noted as changed, the frame checks."""
    return _scope.get()


@contextmanager
def acting_within(given: Scope) -> Iterator[None]:
    before = _scope.set(given)
    try:
        yield
    finally:
        _scope.reset(before)
