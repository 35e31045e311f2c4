"""Settings: defaults, file, environment, overrides, and errors that name the key."""

from pathlib import Path

import msgspec
import pytest

from runtime.settings import ListenSettings, SettingsError, load


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    listen: ListenSettings = ListenSettings(port=1)
    ratio: float = 0.5


class Tree(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str = "default"
    inner: Inner = Inner()


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return path


def test_defaults_need_no_file():
    assert load(Tree, None, {}) == Tree()


def test_environment_wins_over_file_and_override_wins_over_both(tmp_path):
    path = write(tmp_path, 'name = "file"\n[inner]\nratio = 0.1\n[inner.listen]\nport = 7\n')
    assert load(Tree, path, {}).inner.listen.port == 7
    loaded = load(Tree, path, {"CITYFLEET_INNER__LISTEN__PORT": "8", "CITYFLEET_NAME": "env"}, {"name": "flag"})
    assert (loaded.name, loaded.inner.listen.port, loaded.inner.ratio) == ("flag", 8, 0.1)


@pytest.mark.parametrize(
    ("text", "environ", "named"),
    [
        ("nam = 1", {}, "nam"),
        ("[inner]\nratio = 'much'", {}, "inner.ratio"),
        ("[inner.listen]\nport = 70000", {}, "port"),
        ("name = ", {}, "settings.toml"),
        ("", {"CITYFLEET_INNER__SPEED": "1"}, "speed"),
        ("name = 'x'", {"CITYFLEET_NAME__DEEPER": "1"}, "name"),
    ],
)
def test_error_names_the_key(tmp_path, text, environ, named):
    with pytest.raises(SettingsError, match=named):
        load(Tree, write(tmp_path, text), environ)


def test_missing_file_is_a_clear_error(tmp_path):
    with pytest.raises(SettingsError, match=r"cannot read the settings file .*absent\.toml"):
        load(Tree, tmp_path / "absent.toml", {})


def test_the_folder_of_recorded_data_is_not_a_setting():
    assert load(Tree, None, {"CITYFLEET_DATA": "x", "OTHER": "y"}) == Tree()
