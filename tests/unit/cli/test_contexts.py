"""Contexts: which registry and which token a command takes, and where they are kept."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.contexts import contexts_path
from cli.errors import CommandError
from cli.main import app
from cli.query import store_endpoint
from cli.registry_client import endpoint


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("CITYFLEET_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cf(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def admin_folder(folder: Path) -> Path:
    (folder / "secrets").mkdir(parents=True)
    (folder / "secrets" / "registry-admin").write_text("of-the-folder\n")
    return folder


def test_a_context_is_kept_changed_used_and_forgotten(home: Path) -> None:
    cf("context", "set", "lab", "--registry", "127.0.0.1:1", "--store-url", "http://127.0.0.1:2")
    cf("context", "set", "city", "--registry", "127.0.0.1:3")
    cf("context", "set", "lab", "--registry", "127.0.0.1:4")
    rows = {row["context"]: row for row in json.loads(cf("context", "list", "-o", "json"))}
    assert rows["lab"]["current"] == "*"
    assert (rows["lab"]["registry"], rows["lab"]["store_url"]) == ("127.0.0.1:4", "http://127.0.0.1:2")
    cf("context", "use", "city")
    cf("context", "delete", "lab")
    assert [row["current"] for row in json.loads(cf("context", "list", "-o", "json"))] == ["*"]


def test_the_file_is_for_its_owner_only(home: Path) -> None:
    cf("context", "set", "lab", "--registry", "127.0.0.1:1")
    path = contexts_path(os.environ)
    assert path.is_relative_to(home)
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_context_brings_address_and_token(home: Path) -> None:
    (home / "token").write_text("mine\n")
    cf("context", "set", "lab", "--registry", "127.0.0.1:1", "--token-file", str(home / "token"))
    assert endpoint("", None, None, os.environ) == ("127.0.0.1:1", "mine")


def test_a_named_context_comes_before_the_current_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cf("context", "set", "one", "--registry", "127.0.0.1:1")
    cf("context", "set", "two", "--registry", "127.0.0.1:2")
    monkeypatch.setenv("CITYFLEET_CONTEXT", "two")
    assert endpoint("", None, None, os.environ)[0] == "127.0.0.1:2"
    monkeypatch.setenv("CITYFLEET_CONTEXT", "three")
    with pytest.raises(CommandError, match="known: one, two"):
        endpoint("", None, None, os.environ)


def test_a_data_folder_comes_before_the_current_context(home: Path) -> None:
    cf("context", "set", "one", "--registry", "127.0.0.1:1")
    environ = os.environ | {"CITYFLEET_DATA_DIR": str(home / "data")}
    assert endpoint("", None, None, environ)[0].endswith(":50051")
    assert endpoint("", None, home / "data", os.environ)[0].endswith(":50051")


def test_the_administrators_token_goes_only_where_its_folder_is_named(home: Path) -> None:
    folder = admin_folder(home / "cityfleet-data")
    assert endpoint("", None, None, os.environ)[1] == "of-the-folder"
    assert endpoint("127.0.0.1:9", None, folder, os.environ) == ("127.0.0.1:9", "of-the-folder")
    assert endpoint("127.0.0.1:9", None, None, os.environ) == ("127.0.0.1:9", "")
    cf("context", "set", "far", "--registry", "127.0.0.1:1")
    assert endpoint("", None, None, os.environ) == ("127.0.0.1:1", "")


@pytest.mark.parametrize("text", ["", "two\nlines", "naïve"])
def test_a_token_file_that_holds_no_token_is_refused(home: Path, text: str) -> None:
    (home / "token").write_text(text)
    with pytest.raises(CommandError, match="token"):
        endpoint("127.0.0.1:1", None, None, os.environ | {"CITYFLEET_TOKEN_FILE": str(home / "token")})


def test_a_query_goes_to_the_store_of_the_context(home: Path) -> None:
    password = home / "password"
    password.write_text("of-the-reader\n")
    cf("context", "set", "lab", "--store-url", "http://127.0.0.1:2", "--store-password-file", str(password))
    assert store_endpoint(None, None, os.environ) == ("http://127.0.0.1:2", ("reader", "of-the-reader"))
    cf("context", "set", "lab", "--store-user", "ann")
    assert store_endpoint(None, None, os.environ)[1][0] == "ann"
    assert store_endpoint(None, home / "data", os.environ)[0] != "http://127.0.0.1:2"
    password.write_text("")
    with pytest.raises(CommandError, match="holds no password"):
        store_endpoint(None, None, os.environ)


def test_a_context_without_a_password_does_not_send_the_one_of_a_data_folder(home: Path) -> None:
    cf("context", "set", "lab", "--store-url", "http://127.0.0.1:2")
    assert store_endpoint(None, None, os.environ) == ("http://127.0.0.1:2", ("reader", ""))
    assert not (home / "cityfleet-data").exists()


def test_a_named_context_comes_before_what_the_environment_says(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An option takes its value from the environment, but nobody gave it."""
    token = home / "token"
    token.write_text("of-nga")
    config = home / "cityfleet.toml"
    config.write_text(f'data_dir = "{admin_folder(home / "data")}"\n')
    cf("context", "set", "nga", "--registry", "127.0.0.1:7", "--token-file", str(token))
    monkeypatch.setenv("CITYFLEET_CONFIG", str(config))
    assert endpoint("", config, None, os.environ)[1] == "of-the-folder"
    monkeypatch.setenv("CITYFLEET_CONTEXT", "nga")
    assert endpoint("", config, None, os.environ) == ("127.0.0.1:7", "of-nga")
    monkeypatch.delenv("CITYFLEET_CONFIG")
    assert endpoint("", config, None, os.environ)[1] == "of-the-folder"
