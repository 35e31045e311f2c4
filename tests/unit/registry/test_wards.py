"""The wards of Hanoi, against the published list."""

import csv
import os
from pathlib import Path

import pytest

from registry.devices.wards import wards

ROOT = Path(__file__).parents[3]
LIST = Path(os.environ.get("CITYFLEET_DATA", ROOT / "../shared/data")) / "hanoi_wards" / "hanoi_wards_126.csv"


def test_codes_are_strings_of_five_digits():
    assert len(wards()) == 126
    assert all(len(code) == 5 and code.isdecimal() and ward.code == code for code, ward in wards().items())
    assert wards()["00070"].name == "Phường Hoàn Kiếm"


@pytest.mark.data
@pytest.mark.skipif(not LIST.exists(), reason="the published list is not below CITYFLEET_DATA")
def test_the_package_has_exactly_the_wards_of_the_published_list():
    with LIST.open(encoding="utf-8", newline="") as file:
        published = {row["ward_code"]: row for row in csv.DictReader(file)}
    kinds = {"phuong": "phường", "xa": "xã"}
    assert set(wards()) == set(published)
    assert {code: ward.kind for code, ward in wards().items()} == {
        code: kinds[row["kind"]] for code, row in published.items()
    }
