"""Lists that come page by page, some of them short or empty."""

from cityfleet.registry.v1 import device_pb2 as pb
from cli.paging import pages

PAGES = {"": ([], "a"), "a": (["d-1", "d-2"], "b"), "b": ([], "c"), "c": (["d-3"], "")}


def listed(limit: int) -> tuple[list[str], list[str]]:
    """The devices, and the tokens that were asked with."""
    asked = []

    def call(request: pb.ListDevicesRequest, timeout: float) -> pb.ListDevicesResponse:
        asked.append(request.page_token)
        names, token = PAGES[request.page_token]
        return pb.ListDevicesResponse(devices=[pb.Device(name=name) for name in names], next_page_token=token)

    return [device.name for device in pages(call, pb.ListDevicesRequest(), "devices", limit)], asked


def test_an_empty_page_with_a_token_is_not_the_end():
    assert listed(0) == (["d-1", "d-2", "d-3"], ["", "a", "b", "c"])


def test_no_page_is_asked_for_beyond_the_limit():
    assert listed(2) == (["d-1", "d-2"], ["", "a"])
    assert listed(1) == (["d-1"], ["", "a"])
