"""Settings of the registry role."""

import msgspec

from runtime.settings import ListenSettings, Nice


class RegistrySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    # Most of its work is what ingest reports of devices, for which nobody waits: questions to the store go before.
    nice: Nice = 5
    # SQLAlchemy URL; empty: SQLite in `<data>/registry/registry.db`.
    database_url: str = ""
    # Events of the audit log are kept for so long; 0: for ever.
    audit_days: int = 730
    listen: ListenSettings = ListenSettings(port=50051)
    http: ListenSettings = ListenSettings(port=9102)

    def __post_init__(self) -> None:
        if self.audit_days < 0:
            raise ValueError("audit_days is a number of days, or 0 for ever")
