"""The settings file that documents every setting says what is true."""

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from cli.settings import Settings, load_settings

FILE = Path(__file__).parents[3] / "ops" / "cityfleet.toml"


def keys(tree: dict[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for key, value in tree.items():
        found |= keys(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}"}
    return found


def test_the_documented_defaults_are_the_defaults():
    assert load_settings(FILE, None) == Settings()


def test_every_setting_is_documented():
    documented = keys(tomllib.loads(FILE.read_text(encoding="utf-8")))
    assert documented == keys(msgspec.to_builtins(Settings()))
