"""The wards of Hanoi by their official codes, from the maintained package vietnam-provinces."""

from functools import cache

import msgspec
from vietnam_provinces import ProvinceCode
from vietnam_provinces import Ward as PackageWard

HANOI = 1
PROVINCE_CODE = f"{HANOI:02d}"


class Ward(msgspec.Struct, frozen=True):
    """`code` has 5 digits, leading zeros and all; `kind` is `phường` or `xã`."""

    code: str
    name: str
    kind: str


@cache
def wards() -> dict[str, Ward]:
    """The 126 wards in force since 2025-07-01, by code."""
    found = (
        Ward(f"{int(ward.code):05d}", ward.name, ward.division_type.value)
        for ward in PackageWard.iter_by_province(ProvinceCode(HANOI))
    )
    return {ward.code: ward for ward in sorted(found, key=lambda ward: ward.code)}
