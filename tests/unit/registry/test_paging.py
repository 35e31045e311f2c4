"""Pages: sizes, and tokens that are bound to their request."""

import pytest

from cityfleet.registry.v1.device_pb2 import DEVICE_VIEW_FULL, ListDevicesRequest
from cityfleet.registry.v1.site_pb2 import ListSitesRequest
from registry.api.paging import page_of
from registry.errors import InvalidError


def test_a_token_leads_back_to_its_key_and_its_time():
    first = page_of(ListDevicesRequest(filter="state = active", page_size=7), 5000)
    assert (first.limit, first.after) == (7, None)
    request = ListDevicesRequest(filter="state = active", page_size=9, page_token=first.token_after(("Đ", -3, 2**60)))
    second = page_of(request, 5000)
    assert (second.limit, second.after, second.now_ms) == (9, ("Đ", -3, 2**60), first.now_ms)


@pytest.mark.parametrize(
    "other",
    [
        ListDevicesRequest(),
        ListDevicesRequest(filter="state = deleted"),
        ListDevicesRequest(filter="state = active", order_by="device_id"),
        ListDevicesRequest(filter="state = active", show_deleted=True),
        ListDevicesRequest(filter="state = active", view=DEVICE_VIEW_FULL),
        ListSitesRequest(filter="state = active"),
    ],
    ids=str,
)
def test_a_token_of_another_request_is_refused(other):
    other.page_token = page_of(ListDevicesRequest(filter="state = active"), 5000).token_after((1,))
    with pytest.raises(InvalidError) as refused:
        page_of(other, 5000)
    assert refused.value.violations[0].reason == "PAGE_TOKEN_OF_OTHER_REQUEST"


@pytest.mark.parametrize("token", ["x", "AAAA", "å", "gaFhAQ==", "=" * 9, "kQ==", "k8QIAAAAAAAAAAABwA=="])
def test_a_foreign_token_is_refused(token):
    with pytest.raises(InvalidError) as refused:
        page_of(ListDevicesRequest(page_token=token), 5000)
    assert refused.value.violations[0].reason == "PAGE_TOKEN_INVALID"
