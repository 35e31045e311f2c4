"""Lists of sites through gRPC, on both databases: filters, orders, pages, deleted ones, devices counted."""

import grpc
import pytest

from cityfleet.registry.v1 import device_pb2
from cityfleet.registry.v1 import site_pb2 as pb
from cityfleet.registry.v1.site_pb2_grpc import SiteServiceStub
from tests.support.status import fails

KINDS = ["bts", "pole", "bridge"]


@pytest.fixture(scope="module")
def sites(stubs):
    """Twelve sites of three kinds in two wards; three devices at the first; the last is deleted."""
    service = SiteServiceStub(stubs.channel)
    for at in range(12):
        site = pb.Site(
            display_name=f"Cột {chr(ord('A') + at % 4)}",
            kind=KINDS[at % 3],
            ward_code="00070" if at % 2 else "00082",
            latitude=21.04 + at * 0.01,
            longitude=105.85,
            labels={"owner": "evn"} if at < 5 else {},
        )
        service.CreateSite(pb.CreateSiteRequest(site_id=f"s-{at:02}", site=site))
    service.DeleteSite(pb.DeleteSiteRequest(name="sites/s-11"))
    for at in range(3):
        device = device_pb2.Device(device_type="gauge", site_id="s-00")
        stubs.devices.CreateDevice(device_pb2.CreateDeviceRequest(device_id=f"wl-{at}", device=device))
    return service


def ids(found) -> list[str]:
    return [site.name.removeprefix("sites/") for site in found]


def listed(sites, **fields) -> list[str]:
    """All pages."""
    request, found = pb.ListSitesRequest(**fields), []
    while True:
        page = sites.ListSites(request)
        found += ids(page.sites)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def test_a_filter_finds_its_sites(sites):
    for text, expected in [
        ("", range(11)),
        ("kind = bridge", (2, 5, 8)),
        ("ward_code = 00070 AND NOT labels.owner:*", (5, 7, 9)),
        ("labels.owner = evn kind != bts", (1, 2, 4)),
        ('display_name = "*B" OR site_id = s-00', (0, 1, 5, 9)),
        ("near(21.04, 105.85, 1500)", (0, 1)),
        ("create_time > ago(1h) AND update_time <= 2100-01-01 s-1", (10,)),
        ("site_id > s-08 AND site_id <= s-10", (9, 10)),
    ]:
        assert listed(sites, filter=text, page_size=2) == [f"s-{at:02}" for at in expected], text
    assert listed(sites, show_deleted=True)[-1] == "s-11"


def test_pages_in_any_order_have_each_site_once(sites):
    for order_by, expected in [
        ("site_id desc", sorted(range(11), reverse=True)),
        ("kind, site_id desc", sorted(range(11), key=lambda at: (at % 3, -at))),
        ("ward_code desc, display_name", sorted(range(11), key=lambda at: (at % 2, at % 4, at))),
        ("labels.owner desc, update_time", sorted(range(11), key=lambda at: (at >= 5, at))),
    ]:
        for size in (1, 4, 100):
            assert listed(sites, order_by=order_by, page_size=size) == [f"s-{at:02}" for at in expected], order_by


def test_devices_are_counted_at_each_site(sites):
    first, second = sites.ListSites(pb.ListSitesRequest(page_size=2)).sites
    assert (first.device_count, second.device_count) == (3, 0)
    assert first == sites.GetSite(pb.GetSiteRequest(name=first.name))


def test_a_list_that_cannot_be_says_why(sites):
    token = sites.ListSites(pb.ListSitesRequest(page_size=1)).next_page_token
    for fields, reason in [
        ({"filter": "colour = red"}, "FILTER_FIELD_UNKNOWN"),
        ({"filter": "a" * 100_000}, "FILTER_TOO_LONG"),
        ({"filter": "in_group(x)"}, "FILTER_FIELD_UNKNOWN"),
        ({"order_by": "device_num"}, "ORDER_FIELD_UNKNOWN"),
        ({"page_size": -1}, "PAGE_SIZE_NEGATIVE"),
        ({"page_token": "x"}, "PAGE_TOKEN_INVALID"),
        ({"page_token": token, "filter": "kind = bts"}, "PAGE_TOKEN_OF_OTHER_REQUEST"),
    ]:
        with fails(grpc.StatusCode.INVALID_ARGUMENT, reason):
            sites.ListSites(pb.ListSitesRequest(**fields))
