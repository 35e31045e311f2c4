"""The wards of Hanoi, against the published list."""

import csv
import os
from pathlib import Path

import pytest

from registry.devices.wards import wards


def test_codes_are_strings_of_five_digits():
    assert len(wards()) == 126
    assert all(len(code) == 5 and code.isdecimal() and ward.code == code for code, ward in wards().items())
    assert wards()["00070"].name == "Phường Hoàn Kiếm"


@pytest.mark.data
@pytest.mark.skipif("CITYFLEET_DATA" not in os.environ, reason="CITYFLEET_DATA is not set")
@pytest.mark.xfail(
    strict=True, reason="the package's last release for Python 3.11 has the codes of a draft: 29 wards differ"
)
def test_the_package_has_exactly_the_wards_of_the_published_list():
    # vietnam-provinces takes the official list from 2026.1.0 on, and from there on needs Python 3.12.
    path = Path(os.environ["CITYFLEET_DATA"]) / "hanoi_wards" / "hanoi_wards_126.csv"
    with path.open(encoding="utf-8", newline="") as file:
        published = {row["ward_code"]: row for row in csv.DictReader(file)}
    kinds = {"phuong": "phường", "xa": "xã"}
    assert set(wards()) == set(published)
    assert {code: ward.kind for code, ward in wards().items()} == {
        code: kinds[row["kind"]] for code, row in published.items()
    }
