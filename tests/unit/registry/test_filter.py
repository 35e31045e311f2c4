"""The filter of ListDevices and the page tokens."""

import pytest

from registry.api.paging import next_token, page_limit, page_start
from registry.devices.filter import parse_filter
from registry.errors import InvalidError


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", {}),
        ("   ", {}),
        ("ward_code=00070", {"ward_code": "00070"}),
        ('ward_code = "00070" AND state = active', {"ward_code": "00070", "state": "active"}),
        ('labels.owner="a \\"b\\" AND c"  AND  gateway=gw-1', {"labels.owner": 'a "b" AND c', "gateway": "gw-1"}),
        ('gateway = ""', {"gateway": ""}),
        ("labels.net.slice = x AND labels.net.slice = x", {"labels.net.slice": "x"}),
    ],
)
def test_filters_are_understood(text, terms):
    assert parse_filter(text) == terms


@pytest.mark.parametrize(
    ("text", "reason", "says"),
    [
        ("colour = red", "FILTER_FIELD_UNKNOWN", "device_type, external_id, gateway, state, ward_code, labels.KEY"),
        ("labels. = x", "FILTER_FIELD_UNKNOWN", "labels.KEY"),
        ("state = broken", "FILTER_VALUE_INVALID", "active, decommissioned"),
        ("state = active OR state = decommissioned", "FILTER_SYNTAX", "AND only"),
        ("state = active AND", "FILTER_SYNTAX", "AND"),
        ("state", "FILTER_SYNTAX", "field = value"),
        ("ward_code > 1", "FILTER_SYNTAX", "field = value"),
        ('ward_code = "00070', "FILTER_SYNTAX", "field = value"),
        ("state = active AND state = decommissioned", "FILTER_CONTRADICTION", "both"),
        ("ward_code = 1ANDstate = active", "FILTER_SYNTAX", "AND"),
    ],
)
def test_other_filters_say_what_is_wrong(text, reason, says):
    with pytest.raises(InvalidError) as refused:
        parse_filter(text)
    assert refused.value.violations[0].reason == reason
    assert says in refused.value.violations[0].description


def test_page_sizes_have_a_default_and_a_limit():
    assert [page_limit(size, 1000) for size in (0, 1, 1000, 1001)] == [100, 1, 1000, 1000]
    with pytest.raises(InvalidError):
        page_limit(-1, 1000)


def test_a_page_token_leads_back_to_its_key():
    assert page_start(next_token(123_456_789, "state = active"), "state = active") == 123_456_789


@pytest.mark.parametrize("token", ["x", "AAAA", "å", "gaFhAQ==", "=" * 9])
def test_foreign_page_tokens_are_refused(token):
    with pytest.raises(InvalidError) as refused:
        page_start(token)
    assert refused.value.violations[0].reason == "PAGE_TOKEN_INVALID"


def test_a_page_token_of_another_filter_is_refused():
    with pytest.raises(InvalidError) as refused:
        page_start(next_token(1, "state = active"), "state = decommissioned")
    assert refused.value.violations[0].reason == "PAGE_TOKEN_OF_OTHER_FILTER"
