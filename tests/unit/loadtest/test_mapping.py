"""MAP.toml: what is refused, and that the message names the file and the key."""

from pathlib import Path

import pytest

from loadtest.replay.mapping import MapError, ReplayMap, load_map, slug

ROOT = Path(__file__).parents[3]

GOOD = """
[time]
column = "when"
zone = "UTC"
[device]
id = "a-{name}"
[[values]]
column = "level"
metric = "water_level_m"
"""


def load(tmp_path: Path, text: str) -> ReplayMap:
    path = tmp_path / "map.toml"
    path.write_text(text, encoding="utf-8")
    return load_map(path)


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(MapError) as caught:
        load(tmp_path, text)
    assert "map.toml" in str(caught.value)
    return str(caught.value)


def test_columns_are_gathered_once_each(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD).source_columns == ["when", "name", "level"]


@pytest.mark.parametrize("path", sorted((ROOT / "ops" / "replay").glob("*.toml")), ids=lambda path: path.stem)
def test_every_map_of_ours_loads_and_can_be_provisioned(path: Path) -> None:
    loaded = load_map(path)
    assert loaded.about
    assert all((value.device or loaded.device).type for value in loaded.values)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MapError, match=r"nothing\.toml"):
        load_map(tmp_path / "nothing.toml")


def test_broken_toml_is_named_with_its_line(tmp_path: Path) -> None:
    assert "line 1" in refused(tmp_path, "[time\n")


def test_unknown_key_is_refused_by_name(tmp_path: Path) -> None:
    message = refused(tmp_path, GOOD.replace('zone = "UTC"', 'timezone = "UTC"'))
    assert "timezone" in message
    assert "time" in message


def test_unknown_zone_is_refused(tmp_path: Path) -> None:
    assert "Asia/Hanoi" in refused(tmp_path, GOOD.replace("UTC", "Asia/Hanoi"))


def test_stamps_without_zone_need_one(tmp_path: Path) -> None:
    assert "zone" in refused(tmp_path, GOOD.replace('zone = "UTC"', 'format = "%Y"'))


def test_time_is_either_one_column_or_several(tmp_path: Path) -> None:
    assert "column" in refused(tmp_path, GOOD.replace('column = "when"', 'column = "when"\ncolumns = ["a", "b", "c"]'))


def test_a_map_without_values_is_refused(tmp_path: Path) -> None:
    assert "values" in refused(tmp_path, GOOD[: GOOD.index("[[values]]")] + "\n")


@pytest.mark.parametrize("bad", ["Upper-{name}", "under_score", "a" * 64, ""])
def test_device_id_template_must_make_device_ids(tmp_path: Path, bad: str) -> None:
    assert "device.id" in refused(tmp_path, GOOD.replace("a-{name}", bad))


def test_filter_needs_keep_or_drop(tmp_path: Path) -> None:
    assert "keep" in refused(tmp_path, GOOD + '[[filters]]\ncolumn = "qc"\n')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Tây Hồ/2", "tay-ho-2"),
        ("Đống Đa", "dong-da"),
        ("BK-carroll-st-4th-av-0ery00", "bk-carroll-st-4th-av-0ery00"),
        ("--", ""),
    ],
)
def test_slug_keeps_what_a_device_id_may_have(text: str, expected: str) -> None:
    assert slug(text) == expected
