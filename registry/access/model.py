"""Accounts and their tokens."""

import msgspec

from registry.access.caller import Bounds, Grant, Role

# Of tokens: ended before any clock, and never.
REVOKED_MS = 0
NEVER_MS = 253_402_300_799_000


class AccountSpec(msgspec.Struct, frozen=True):
    """What a person sets."""

    account_id: str
    display_name: str = ""
    is_service: bool = False
    grants: tuple[Grant, ...] = ()
    disabled: bool = False


class Account(msgspec.Struct, frozen=True):
    spec: AccountSpec
    revision: int
    create_time_ms: int
    update_time_ms: int

    @property
    def is_admin(self) -> bool:
        """Whether it can mend anything, accounts too."""
        return not self.spec.disabled and any(
            grant.role >= Role.ADMIN and grant.bounds.are_none for grant in self.spec.grants
        )


class AccessToken(msgspec.Struct, frozen=True):
    """`last_use_time_ms`: None: never used."""

    token_id: str
    account_id: str
    display_name: str
    create_time_ms: int
    expire_time_ms: int
    last_use_time_ms: int | None


class StoredGrant(msgspec.Struct, frozen=True, omit_defaults=True):
    """A grant as it lies in the database."""

    role: str
    ward_codes: tuple[str, ...] = ()
    labels: dict[str, str] = {}

    @classmethod
    def of(cls, grant: Grant) -> "StoredGrant":
        return cls(grant.role.name.lower(), tuple(sorted(grant.bounds.ward_codes)), dict(grant.bounds.labels))

    def grant(self) -> Grant:
        bounds = Bounds(frozenset(self.ward_codes), tuple(sorted(self.labels.items())))
        return Grant(Role[self.role.upper()], bounds)
