"""Accounts by the command line: made, used by a token file, and ended."""

import json

import pytest

from cityfleet.registry.v1 import access_pb2 as pb
from cli.account import grant_of
from cli.account_token import seconds_of
from cli.errors import CommandError
from tests.support.access import grant
from tests.support.cli import cityfleet


@pytest.fixture(scope="module")
def database_kind():
    return "sqlite"


@pytest.fixture(scope="module")
def cf(registry, stubs):
    """Run `cityfleet ...`, give what it printed, or what it said if it is to fail; json is read."""

    def run(*arguments, code=0, **environ):
        done = cityfleet(registry.data_dir, *arguments, **environ)
        assert done.returncode == code, done.stderr
        if code:
            return done.stderr
        return json.loads(done.stdout) if "json" in arguments else done.stdout

    return run


def test_an_account_lives_from_create_to_delete(cf):
    tried = cf("account", "create", "nga", "-g", "viewer", "--dry-run", "-o", "json")
    assert (tried["account_id"], tried["etag"]) == ("nga", "")
    assert "no account nga" in cf("account", "get", "nga", code=3)
    grants = ("--grant", "viewer", "--grant", "operator:ward=00070,ward=00004,labels.owner=tnmt")
    made = cf("account", "create", "nga", "--name", "Trần Nga", *grants, "-o", "json")
    assert made["grants"] == [
        {"role": "viewer", "ward_codes": [], "labels": {}},
        {"role": "operator", "ward_codes": ["00004", "00070"], "labels": {"owner": "tnmt"}},
    ]
    table = cf("account", "get", "nga")
    assert "viewer operator:ward=00004,ward=00070,labels.owner=tnmt" in table
    changed = cf("account", "update", "nga", "--grant", "engineer", "--etag", made["etag"], "-o", "json")
    assert [each["role"] for each in changed["grants"]] == ["engineer"]
    assert changed["display_name"] == "Trần Nga"
    assert "ETAG_MISMATCH" in cf("account", "update", "nga", "--no-grants", "--etag", made["etag"], code=1)
    assert cf("account", "update", "nga", "--disable", "-o", "json")["state"] == "disabled"
    assert cf("account", "list", "-o", "name").split() == ["admin", "nga"]
    assert "--yes" in cf("account", "delete", "nga", code=2)
    cf("account", "delete", "nga", "--yes")
    assert cf("account", "list", "-o", "name").split() == ["admin"]


def test_a_token_file_lets_its_account_in_and_no_further(cf, tmp_path):
    cf("account", "create", "phong", "--grant", "viewer:ward=00070")
    file = tmp_path / "phong.token"
    made = cf("account", "token", "create", "phong", "--ttl", "12h", "--name", "desk", "--out", str(file), "-o", "json")
    assert "token" not in made
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]
    as_phong = {"CITYFLEET_TOKEN_FILE": str(file)}
    who = cf("account", "whoami", "-o", "json", **as_phong)
    assert (who["account_id"], who["token_id"]) == ("phong", made["token_id"])
    cf("device", "list", **as_phong)
    refused = cf("device", "create", "d-1", "-t", "gauge", code=4, **as_phong)
    assert "ROLE_REQUIRED" in refused
    assert "cityfleet account update" in refused
    assert "NOT_THERE_OR_NOT_YOURS" in cf("device", "get", "nobody", code=4, **as_phong)
    # Its own tokens are its own matter.
    second = cf("account", "token", "create", "--ttl", "30m", "-o", "json", **as_phong)
    assert len(second["token"]) == 43
    listed = cf("account", "token", "list", "-o", "json", **as_phong)
    assert [token["token_id"] for token in listed] == [made["token_id"], second["token_id"]]
    assert "token" not in listed[0]
    cf("account", "token", "revoke", "me", made["token_id"], "--yes", **as_phong)
    assert "UNAUTHENTICATED" in cf("account", "whoami", code=4, **as_phong)


def test_a_token_that_could_not_be_kept_or_was_only_tried_is_not_made(cf, tmp_path):
    before = cf("account", "token", "list", "-o", "name")
    assert "cannot write" in cf("account", "token", "create", "--out", str(tmp_path / "no" / "file"), code=2)
    assert "TTL_INVALID" in cf("account", "token", "create", "--ttl", "401d", "--out", str(tmp_path / "x"), code=2)
    tried = cf("account", "token", "create", "--dry-run", "--out", str(tmp_path / "x"), "-o", "json")
    assert tried["expire_time"]
    assert "token" not in cf("account", "token", "create", "--dry-run", "-o", "json")
    assert not list(tmp_path.iterdir())
    assert cf("account", "token", "list", "-o", "name") == before


def test_the_last_administrator_is_told_to_stay(cf):
    assert "LAST_ADMIN" in cf("account", "delete", "admin", "--yes", code=1)
    assert "LAST_ADMIN" in cf("account", "update", "admin", "--disable", code=1)


def test_a_grant_is_a_role_and_its_bounds():
    assert grant_of("admin") == pb.Grant(role=pb.ROLE_ADMIN)
    assert grant_of("viewer:ward=00070, labels.a=b=c") == grant("viewer", ["00070"], {"a": "b=c"})
    for wrong in ("", "root", "viewer:", "viewer:ward=", "viewer:00070", "viewer:labels.=x", "viewer:labels.a", "a:b"):
        with pytest.raises(CommandError):
            grant_of(wrong)


def test_a_time_is_a_number_and_its_unit():
    assert [seconds_of(text) for text in ("45s", "30m", "12h", "90d")] == [45, 1800, 43_200, 7_776_000]
    for wrong in ("", "90", "d", "-1d", "1.5h", "1w"):
        with pytest.raises(CommandError):
            seconds_of(wrong)
