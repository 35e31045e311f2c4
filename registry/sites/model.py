"""Plain data types of sites. Times are UTC milliseconds since the epoch."""

import msgspec

KINDS = ("bts", "pole", "bridge", "building", "river", "road", "other")


class SiteSpec(msgspec.Struct, frozen=True):
    """What a person decides about a site; an empty `ward_code` is to be found by the place."""

    site_id: str
    display_name: str = ""
    kind: str = "other"
    latitude: float | None = None
    longitude: float | None = None
    ward_code: str = ""
    labels: dict[str, str] = {}


class Site(msgspec.Struct, frozen=True):
    """`ward_code` is the one in force."""

    site_num: int
    spec: SiteSpec
    ward_code: str
    is_ward_derived: bool
    revision: int
    create_time_ms: int
    update_time_ms: int
    delete_time_ms: int | None = None
    purge_time_ms: int | None = None

    @property
    def is_deleted(self) -> bool:
        return self.delete_time_ms is not None
