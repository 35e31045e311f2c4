"""`cityfleet export tt10`: the ministry's station files, byte by byte, from a real store."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.export_tt10 import state_of
from tests.support.air import City
from tests.support.cli import cityfleet

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def station(city: City) -> str:
    name = city.station("air-tt10", "00025", tt10_station="KHI001")
    at = datetime(2025, 8, 25, 6, 0, tzinfo=UTC)
    city.add(
        name,
        [
            ("pm2_5", at.replace(minute=1), 11.0, 1),
            ("pm2_5", at.replace(minute=5), 35.25, 1),
            ("so2", at.replace(minute=4, second=30), 1234567.0, 4),
            ("pm2_5", at.replace(minute=5, second=1), 36.0, 3),
        ],
        "00025",
    )
    return name


def export(city: City, folder: Path, *options: str) -> tuple[int, str]:
    done = cityfleet(
        city.store.data_dir, "export", "tt10", str(folder), "--facility", "ABCD",
        "--since", "2025-08-25T13:00+07:00", "--until", "2025-08-25T13:12+07:00", *options,
        CITYFLEET_STORE__URL=city.store.url,
    )  # fmt: skip
    return done.returncode, done.stderr


def test_each_span_is_a_file_of_tabs_in_local_time(city: City, station: str, tmp_path: Path) -> None:
    assert export(city, tmp_path, "-s", station)[0] == 0
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert files == [
        "KHI001/2025/08/25/HN_ABCD_KHI001_20250825130500.txt",
        "KHI001/2025/08/25/HN_ABCD_KHI001_20250825131000.txt",
    ]
    assert (tmp_path / files[0]).read_bytes() == (
        b"PM2,5\t35.25\tug/Nm3\t20250825130500\t00\r\nSO2\t1234567\tug/Nm3\t20250825130430\t02\r\n"
    )
    assert (tmp_path / files[1]).read_bytes() == b"PM2,5\t36\tug/Nm3\t20250825130501\t00\r\n"


def test_marks_are_as_the_receiver_wants_and_files_are_not_written_twice(city: City, tmp_path: Path) -> None:
    options = ("--decimal", "comma", "--pm25", "point", "--province", "HCM")
    code, said = export(city, tmp_path, *options)
    assert (code, said.strip()) == (0, "2 files written, 0 were there")
    path = tmp_path / "KHI001/2025/08/25/HCM_ABCD_KHI001_20250825130500.txt"
    assert path.read_bytes().startswith(b"PM2.5\t35,25\tug/Nm3\t")
    assert export(city, tmp_path, *options)[1].strip() == "0 files written, 2 were there"


def test_codes_that_would_be_other_names_are_refused(city: City, tmp_path: Path) -> None:
    code, said = export(city, tmp_path, "--province", "../HN")
    assert code == 2
    assert "--province" in said


def test_states_are_those_of_the_circular() -> None:
    assert [state_of(1, 0), state_of(2, 0), state_of(3, 2), state_of(4, 4096), state_of(4, 8192), state_of(9, 0)] == [
        "00", "00", "00", "01", "02", "02",
    ]  # fmt: skip
