"""User names and passwords of the three accounts."""

from pathlib import Path
from typing import Literal

from runtime.secrets import secret
from store.settings import StoreSettings

AccountName = Literal["writer", "admin", "reader"]
ACCOUNTS: tuple[AccountName, ...] = ("writer", "admin", "reader")


def credentials(settings: StoreSettings, data_dir: Path, account: AccountName) -> tuple[str, str]:
    """User and password; a password that is not set is the secret `store-<account>` of the data folder."""
    user: str = getattr(settings, f"{account}_user")
    password: str = getattr(settings, f"{account}_password")
    return user, password or secret(data_dir, f"store-{account}")
