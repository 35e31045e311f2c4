"""Settings of the registry role."""

import msgspec

from runtime.settings import ListenSettings


class RegistrySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    # SQLAlchemy URL; empty: SQLite in `<data>/registry/registry.db`.
    database_url: str = ""
    listen: ListenSettings = ListenSettings(port=50051)
    http: ListenSettings = ListenSettings(port=9102)
