"""The file of accounts of wards: hashes only, for its owner only, whole or as before."""

from pathlib import Path

import pytest

from store.access import accounts
from store.access.accounts import AccessError


def test_the_file_has_no_password_and_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "access" / "accounts.json"
    with accounts.editing(path) as known:
        known["ward_00070"], password = accounts.made("ward_00070", ["00070"])
    assert password not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
    (account,) = accounts.load(path).values()
    assert account.wards == ("00070",)
    assert accounts.hashed(password, account.salt) == account.sha256
    assert accounts.hashed(password + "x", account.salt) != account.sha256


def test_an_error_on_the_way_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "access" / "accounts.json"

    def fail() -> None:
        with accounts.editing(path) as known:
            known["a"] = accounts.made("a", ["00070"])[0]
            raise AccessError("no")

    with pytest.raises(AccessError):
        fail()
    assert accounts.load(path) == {}


@pytest.mark.parametrize(
    ("user", "wards"),
    [("default", ["00070"]), ("", ["00070"]), ("a b", ["00070"]), ("a'", ["00070"]), ("A", ["00070"]), ("a", []),
     ("a", ["70"]), ("a", ["0007x"]), ("a", ["00070') OR 1 --"]), ("a" * 64, ["00070"])],
)  # fmt: skip
def test_names_and_wards_are_checked(user: str, wards: list[str]) -> None:
    with pytest.raises(AccessError):
        accounts.made(user, wards)


def test_a_file_that_is_none_is_said(tmp_path: Path) -> None:
    path = tmp_path / "accounts.json"
    path.write_text('{"accounts": [{"user": "a", "wards": ["1"], "salt": "", "sha256": ""}]}')
    with pytest.raises(AccessError, match="a code of five digits"):
        accounts.load(path)
