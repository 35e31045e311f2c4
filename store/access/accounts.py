"""Accounts of wards: who they are, which wards they see, the hash of their password; a file for the embedded store."""

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

_USER = re.compile(r"[a-z][a-z0-9_]{0,62}")
_WARD = re.compile(r"[0-9]{5}")
WARDS_MAX = 200


class AccessError(Exception):
    """An account is not as it must be; the text says what to mend."""


class WardAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One account.

    Attributes:
        user: its name, small letters, digits and _.
        wards: codes of the wards whose rows it sees; one at least.
        salt: as text, put after the password before both are hashed (as ClickHouse does).
        sha256: of password and salt, in hex. Enough since passwords are random and long: they are always ours.
    """

    user: str
    wards: tuple[str, ...]
    salt: str
    sha256: str

    def __post_init__(self) -> None:
        if _USER.fullmatch(self.user) is None or self.user == "default":
            raise ValueError(f"{self.user!r}: a name is of small letters, digits and _, and begins with a letter")
        if not 1 <= len(self.wards) <= WARDS_MAX or not all(_WARD.fullmatch(ward) for ward in self.wards):
            raise ValueError(f"{self.user}: 1 to {WARDS_MAX} wards, each a code of five digits")


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    accounts: list[WardAccount]


def hashed(password: str, salt: str) -> str:
    return hashlib.sha256((password + salt).encode(errors="surrogateescape")).hexdigest()


def made(user: str, wards: Iterable[str]) -> tuple[WardAccount, str]:
    """A new account and its password, which is nowhere else. Raises AccessError."""
    password, salt = secrets.token_urlsafe(24), secrets.token_hex(16).upper()
    try:
        return WardAccount(user, tuple(sorted(set(wards))), salt, hashed(password, salt)), password
    except ValueError as exc:
        raise AccessError(str(exc)) from exc


def file_of(data_dir: Path) -> Path:
    """Where the embedded store looks for them: in its own folder, the only one that it may read."""
    return data_dir / "store" / "access" / "accounts.json"


def load(path: Path) -> dict[str, WardAccount]:
    """By user; none without a file. Raises AccessError, OSError."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return {}
    try:
        return {account.user: account for account in msgspec.json.decode(text, type=_File).accounts}
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise AccessError(f"{path}: {exc}") from exc


@contextmanager
def editing(path: Path) -> Iterator[dict[str, WardAccount]]:
    """The accounts to be changed; what they are at the end is written, at once and for good. One caller at a time."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (path.parent / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        accounts = load(path)
        before = dict(accounts)
        yield accounts
        if accounts != before:
            _save(path, accounts)


def _save(path: Path, accounts: dict[str, WardAccount]) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    text = msgspec.json.format(msgspec.json.encode(_File([accounts[user] for user in sorted(accounts)])), indent=1)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(text + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
