"""Sites and wards through gRPC: boundaries from GeoJSON, wards found by place, devices that follow their site."""

import json

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from cityfleet.registry.v1 import device_pb2, site_pb2
from cityfleet.registry.v1.site_pb2_grpc import SiteServiceStub, WardServiceStub

# Two squares side by side: west of 105.9 and east of it.
WEST, EAST = "00070", "00004"


def square(code: object, west: float, east: float) -> dict[str, object]:
    ring = [[west, 21.0], [east, 21.0], [east, 21.1], [west, 21.1], [west, 21.0]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "properties": {"ward_code": code}, "geometry": geometry}


def collection(*features: object) -> bytes:
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


class Geo:
    def __init__(self, channel: grpc.Channel) -> None:
        self.sites, self.wards = SiteServiceStub(channel), WardServiceStub(channel)

    def load(self, geojson: bytes, **fields: object) -> site_pb2.LoadWardBoundariesResponse:
        half = len(geojson) // 2
        pieces = [
            site_pb2.LoadWardBoundariesRequest(source="test", geojson=geojson[:half], **fields),
            site_pb2.LoadWardBoundariesRequest(geojson=geojson[half:]),
        ]
        return self.wards.LoadWardBoundaries(iter(pieces))

    def site(self, site_id: str, **fields: object) -> site_pb2.Site:
        return self.sites.CreateSite(site_pb2.CreateSiteRequest(site_id=site_id, site=fields))

    def locate(self, latitude: float, longitude: float) -> str:
        return self.wards.LocateWard(site_pb2.LocateWardRequest(latitude=latitude, longitude=longitude)).ward_code


@pytest.fixture(scope="module")
def geo(stubs) -> Geo:
    geo = Geo(stubs.channel)
    geo.load(collection(square(WEST, 105.8, 105.9), square(EAST, 105.9, 106.0)))
    return geo


def device(stubs, device_id: str, **fields: object) -> device_pb2.Device:
    given = device_pb2.Device(device_type="gauge", **fields)
    return stubs.devices.CreateDevice(device_pb2.CreateDeviceRequest(device_id=device_id, device=given)).device


def get(stubs, device_id: str) -> device_pb2.Device:
    return stubs.devices.GetDevice(device_pb2.GetDeviceRequest(name=f"devices/{device_id}"))


def reason(error: pytest.ExceptionInfo[grpc.RpcError]) -> str:
    info = error_details_pb2.ErrorInfo()
    assert rpc_status.from_call(error.value).details[0].Unpack(info)
    return info.reason


def test_a_place_is_in_the_ward_whose_boundary_has_it(geo):
    assert (geo.locate(21.05, 105.85), geo.locate(21.05, 105.95), geo.locate(10, 10)) == (WEST, EAST, "")
    # On the border of both the smaller code has it.
    assert geo.locate(21.05, 105.9) == EAST


def test_a_site_gets_the_ward_of_its_place_unless_one_is_given(geo):
    found = geo.site("s-derived", latitude=21.05, longitude=105.85)
    assert (found.ward_code, found.is_ward_derived) == (WEST, True)
    given = geo.site("s-given", latitude=21.05, longitude=105.85, ward_code=EAST)
    assert (given.ward_code, given.is_ward_derived) == (EAST, False)
    outside = geo.site("s-outside", latitude=10, longitude=10)
    assert (outside.ward_code, outside.is_ward_derived) == ("", True)


def test_devices_without_a_place_follow_their_site_and_remember_where_they_were(geo, stubs):
    geo.site("s-moving", latitude=21.05, longitude=105.85)
    followed = device(stubs, "follows", site_id="s-moving")
    assert (followed.ward_code, followed.latitude, followed.is_place_derived) == (WEST, 21.05, True)
    device(stubs, "stays", site_id="s-moving", latitude=21.01, longitude=105.81, ward_code=WEST)
    moved = site_pb2.Site(name="sites/s-moving", longitude=105.95)
    assert geo.sites.UpdateSite(site_pb2.UpdateSiteRequest(site=moved)).device_count == 2
    assert (get(stubs, "follows").ward_code, get(stubs, "follows").longitude) == (EAST, 105.95)
    assert (get(stubs, "stays").ward_code, get(stubs, "stays").longitude) == (WEST, 105.81)
    pages, token = [], ""
    while token or not pages:
        request = device_pb2.ListDevicePlacementsRequest(parent="devices/follows", page_size=1, page_token=token)
        page = stubs.devices.ListDevicePlacements(request)
        pages += page.placements
        token = page.next_page_token
    assert [placement.ward_code for placement in pages] == [EAST, WEST]
    assert [placement.HasField("end_time") for placement in pages] == [False, True]
    assert pages[0].start_time == pages[1].end_time


def test_what_get_answered_can_be_sent_back_without_pinning_the_ward(geo, stubs):
    geo.site("s-back", latitude=21.05, longitude=105.85)
    before = device(stubs, "back", site_id="s-back")
    same = stubs.devices.UpdateDevice(device_pb2.UpdateDeviceRequest(device=before, update_mask={"paths": ["*"]}))
    assert same == before


def test_a_site_with_active_devices_is_not_deleted_and_a_deleted_one_comes_back(geo, stubs):
    geo.site("s-end")
    device(stubs, "at-end", site_id="s-end")
    with pytest.raises(grpc.RpcError) as refused:
        geo.sites.DeleteSite(site_pb2.DeleteSiteRequest(name="sites/s-end"))
    assert reason(refused) == "SITE_IN_USE"
    stubs.devices.DeleteDevice(device_pb2.DeleteDeviceRequest(name="devices/at-end"))
    deleted = geo.sites.DeleteSite(site_pb2.DeleteSiteRequest(name="sites/s-end"))
    assert deleted.purge_time.seconds - deleted.delete_time.seconds == 30 * 86_400
    with pytest.raises(grpc.RpcError) as unknown:
        device(stubs, "too-late", site_id="s-end")
    assert reason(unknown) == "SITE_DELETED"
    with pytest.raises(grpc.RpcError) as gone:
        stubs.devices.UndeleteDevice(device_pb2.UndeleteDeviceRequest(name="devices/at-end"))
    assert reason(gone) == "SITE_DELETED"
    assert not geo.sites.UndeleteSite(site_pb2.UndeleteSiteRequest(name="sites/s-end")).HasField("delete_time")
    back = stubs.devices.UndeleteDevice(device_pb2.UndeleteDeviceRequest(name="devices/at-end"))
    assert back.state == device_pb2.Device.STATE_ACTIVE


def test_a_batch_of_changed_and_new_sites_is_all_or_none(geo, stubs):
    made = geo.site("yard-1", latitude=21.0, longitude=105.8)
    device(stubs, "at-yard-1", site_id="yard-1")

    def put(*given: dict, **fields: object) -> list[site_pb2.Site]:
        requests = []
        for one in given:
            site = site_pb2.Site(name=f"sites/{one['site_id']}", **{k: v for k, v in one.items() if k != "site_id"})
            requests.append(site_pb2.UpdateSiteRequest(site=site, allow_missing=one["site_id"] != "yard-9"))
        return list(geo.sites.BatchUpdateSites(site_pb2.BatchUpdateSitesRequest(requests=requests, **fields)).sites)

    moved = {"site_id": "yard-1", "latitude": 21.01, "longitude": 105.81, "labels": {"a": "b"}}
    for wrong, expected in (
        ({"site_id": "yard-2", "kind": "eiffel"}, "KIND_UNKNOWN"),
        ({"site_id": "yard-9"}, "SITE_NOT_FOUND"),
        ({"site_id": "yard-1"}, "GIVEN_TWICE"),
        ({"site_id": "yard-2", "etag": '"1"', "kind": "x"}, "KIND_UNKNOWN"),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            put(moved, wrong)
        assert reason(refused) == expected
        with pytest.raises(grpc.RpcError) as refused:
            put(moved | {"etag": '"0"'})
        assert reason(refused) == "ETAG_MISMATCH"
    with pytest.raises(grpc.RpcError) as refused:
        put()
    assert reason(refused) == "BATCH_SIZE"
    new = {"site_id": "yard-2", "kind": "pole", "etag": '"0"'}
    assert [site.kind for site in put(moved, new, validate_only=True)] == [made.kind, "pole"]
    assert geo.sites.GetSite(site_pb2.GetSiteRequest(name="sites/yard-1")).etag == made.etag
    again = {"request_id": "6a9b4c40-6c8f-4b6c-9f0c-1a2b3c4d5e71"}
    sites = put(moved, new, **again)
    assert put(moved, new, **again) == sites
    assert [(site.name, site.kind, site.device_count) for site in sites] == [
        ("sites/yard-1", made.kind, 1),
        ("sites/yard-2", "pole", 0),
    ]
    assert (sites[0].latitude, dict(sites[0].labels)) == (21.01, {"a": "b"})
    followed = stubs.devices.GetDevice(device_pb2.GetDeviceRequest(name="devices/at-yard-1"))
    assert followed.latitude == 21.01
    names = ["sites/yard-2", "sites/yard-9", "sites/yard-1"]
    found = geo.sites.BatchGetSites(site_pb2.BatchGetSitesRequest(names=names, allow_missing=True)).sites
    assert list(found) == [sites[1], sites[0]]
    with pytest.raises(grpc.RpcError) as refused:
        geo.sites.BatchGetSites(site_pb2.BatchGetSitesRequest(names=names))
    assert reason(refused) == "SITE_NOT_FOUND"


def test_a_batch_of_deleted_sites_is_all_or_none(geo, stubs):
    made = {name: geo.site(name) for name in ("lot-1", "lot-2", "lot-3")}
    device(stubs, "at-lot-3", site_id="lot-3")

    def delete(*names: str, etags: dict[str, str] | None = None, **fields: object) -> list[tuple[str, bool]]:
        requests = [{"name": f"sites/{name}", "etag": (etags or {}).get(name, "")} for name in names]
        answer = geo.sites.BatchDeleteSites(site_pb2.BatchDeleteSitesRequest(requests=requests, **fields))
        return [(site.name.removeprefix("sites/"), site.HasField("delete_time")) for site in answer.sites]

    for names, etags, expected in (
        (("lot-1", "lot-2"), {"lot-2": '"1"'}, "ETAG_MISMATCH"),
        (("lot-1", "lot-9"), {}, "SITE_NOT_FOUND"),
        (("lot-1", "lot-3"), {}, "SITE_IN_USE"),
        (("lot-1", "lot-1"), {}, "GIVEN_TWICE"),
        ((), {}, "BATCH_SIZE"),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            delete(*names, etags=etags)
        assert reason(refused) == expected
    assert delete("lot-2", "lot-1", validate_only=True) == [("lot-2", True), ("lot-1", True)]
    there = geo.sites.GetSite(site_pb2.GetSiteRequest(name="sites/lot-1"))
    assert (there.etag, there.HasField("delete_time")) == (made["lot-1"].etag, False)
    again = {"request_id": "6a9b4c40-6c8f-4b6c-9f0c-1a2b3c4d5e70", "etags": {"lot-1": made["lot-1"].etag}}
    assert delete("lot-2", "lot-1", **again) == delete("lot-2", "lot-1", **again) == [("lot-2", True), ("lot-1", True)]
    found = [geo.sites.GetSite(site_pb2.GetSiteRequest(name=f"sites/{name}")) for name in ("lot-2", "lot-1")]
    assert len({site.etag for site in found}) == 2
    with pytest.raises(grpc.RpcError) as twice:
        delete("lot-1")
    assert reason(twice) == "SITE_DELETED"
    assert delete("lot-9", "lot-1", allow_missing=True) == []


def test_an_update_with_allow_missing_creates_and_a_stale_etag_is_refused(geo):
    given = site_pb2.Site(name="sites/s-new", kind="pole", labels={"owner": "tnmt"})
    with pytest.raises(grpc.RpcError) as missing:
        geo.sites.UpdateSite(site_pb2.UpdateSiteRequest(site=given))
    assert missing.value.code() == grpc.StatusCode.NOT_FOUND
    made = geo.sites.UpdateSite(site_pb2.UpdateSiteRequest(site=given, allow_missing=True))
    assert (made.kind, made.labels["owner"]) == ("pole", "tnmt")
    made.display_name = "a pole"
    geo.sites.UpdateSite(site_pb2.UpdateSiteRequest(site=made))
    with pytest.raises(grpc.RpcError) as stale:
        geo.sites.UpdateSite(site_pb2.UpdateSiteRequest(site=made))
    assert (stale.value.code(), reason(stale)) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")


def test_a_dry_run_creates_no_site(geo):
    request = site_pb2.CreateSiteRequest(site_id="s-dry", site={"latitude": 21.05, "longitude": 105.85})
    request.validate_only = True
    would = geo.sites.CreateSite(request)
    assert (would.ward_code, would.etag) == (WEST, "")
    with pytest.raises(grpc.RpcError):
        geo.sites.GetSite(site_pb2.GetSiteRequest(name="sites/s-dry"))


@pytest.mark.parametrize(
    ("geojson", "expected"),
    [
        (b"\xff\xfe", "GEOJSON_INVALID"),
        (b'{"type":"Feature"}', "GEOJSON_INVALID"),
        (collection(square(70, 105.8, 105.9)), "WARD_UNKNOWN"),
        (collection(square("99999", 105.8, 105.9)), "WARD_UNKNOWN"),
        (collection(square(WEST, 105.8, 105.9), square(WEST, 105.9, 106.0)), "WARD_TWICE"),
        (collection(square(WEST, 585_000.0, 586_000.0)), "NOT_DEGREES"),
        (
            collection({"type": "Feature", "properties": {"ward_code": WEST}, "geometry": None}),
            "SHAPE_INVALID",
        ),
    ],
)
def test_wrong_boundaries_are_refused_whole(geo, geojson, expected):
    with pytest.raises(grpc.RpcError) as refused:
        geo.load(geojson)
    assert reason(refused) == expected
    assert geo.locate(21.05, 105.85) == WEST


def test_new_boundaries_move_only_what_was_found_by_place(geo, stubs):
    geo.site("s-re", latitude=21.02, longitude=105.82)
    device(stubs, "re-own", latitude=21.02, longitude=105.82)
    device(stubs, "re-site", site_id="s-re")
    device(stubs, "re-given", latitude=21.02, longitude=105.82, ward_code=WEST)
    swapped = collection(square(EAST, 105.8, 105.9), square(WEST, 105.9, 106.0))
    planned = geo.load(swapped, reassign=True, validate_only=True)
    assert (planned.sites_moved > 0, planned.devices_moved >= 2) == (True, True)
    assert geo.locate(21.02, 105.82) == WEST
    done = geo.load(swapped, reassign=True)
    assert done == planned
    assert len(done.missing_ward_codes) == 124
    assert [get(stubs, name).ward_code for name in ("re-own", "re-site", "re-given")] == [EAST, EAST, WEST]
    assert geo.sites.GetSite(site_pb2.GetSiteRequest(name="sites/s-re")).ward_code == EAST
    known = geo.wards.ListWards(site_pb2.ListWardsRequest()).wards
    assert {ward.name for ward in known if ward.has_boundary} <= {f"wards/{WEST}", f"wards/{EAST}"}
