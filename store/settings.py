"""Settings of the store role, and how every role reaches the store."""

from typing import Literal

import msgspec

from runtime.settings import ListenSettings


class StoreSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """With `url` empty the store is the embedded engine at `listen`; with a URL it is that ClickHouse server."""

    url: str = ""
    # Passwords; empty: a random one in `<data>/secrets/store-<account>`.
    writer_password: str = ""
    admin_password: str = ""
    reader_password: str = ""
    writer_user: str = "writer"
    admin_user: str = "admin"
    reader_user: str = "reader"
    listen: ListenSettings = ListenSettings(port=8123)
    http: ListenSettings = ListenSettings(port=9101)
    profile: Literal["single", "cluster"] = "single"
