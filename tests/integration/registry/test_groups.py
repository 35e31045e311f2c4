"""Groups and saved queries through gRPC, on both databases, alone and in filters of devices."""

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode

from cityfleet.registry.v1 import device_pb2, group_pb2
from cityfleet.registry.v1 import group_pb2 as pb
from cityfleet.registry.v1.group_pb2_grpc import GroupServiceStub
from tests.support.status import fails


@pytest.fixture(scope="module")
def groups(stubs):
    for at in range(6):
        device = device_pb2.Device(device_type="gauge", ward_code="00070" if at < 3 else "")
        stubs.devices.CreateDevice(device_pb2.CreateDeviceRequest(device_id=f"d-{at}", device=device))
    return GroupServiceStub(stubs.channel)


def matching(stubs, text: str) -> list[str]:
    answer = stubs.devices.ListDevices(device_pb2.ListDevicesRequest(filter=text))
    return [device.name.removeprefix("devices/") for device in answer.devices]


def save(groups, query_id: str, text: str) -> pb.SavedQuery:
    query = pb.SavedQuery(filter=text)
    return groups.CreateSavedQuery(pb.CreateSavedQueryRequest(saved_query_id=query_id, saved_query=query))


def test_a_group_has_the_devices_that_were_put_in(groups, stubs):
    made = groups.CreateGroup(pb.CreateGroupRequest(group_id="pilot", group=pb.Group(display_name="Pilot")))
    assert (made.name, made.display_name, made.member_count) == ("groups/pilot", "Pilot", 0)
    names = ["devices/d-1", "devices/d-4", "devices/d-5"]
    filled = groups.ModifyGroupMembers(pb.ModifyGroupMembersRequest(name="groups/pilot", add_devices=names))
    assert filled.member_count == 3
    assert filled.etag != made.etag
    again = groups.ModifyGroupMembers(
        pb.ModifyGroupMembersRequest(
            name="groups/pilot", add_devices=names[:1], remove_devices=["devices/d-5", "devices/d-0"]
        )
    )
    assert again.member_count == 2
    assert matching(stubs, "in_group(pilot)") == ["d-1", "d-4"]
    assert matching(stubs, 'NOT in_group("pilot") AND ward_code = 00070') == ["d-0", "d-2"]
    with fails(StatusCode.NOT_FOUND, "DEVICE_NOT_FOUND"):
        groups.ModifyGroupMembers(
            pb.ModifyGroupMembersRequest(name="groups/pilot", add_devices=["devices/d-2", "devices/nobody"])
        )
    with fails(StatusCode.INVALID_ARGUMENT, "DEVICE_NAMED_TWICE"):
        groups.ModifyGroupMembers(
            pb.ModifyGroupMembersRequest(name="groups/pilot", add_devices=names, remove_devices=names[:1])
        )
    assert groups.GetGroup(pb.GetGroupRequest(name="groups/pilot")) == again


def test_a_group_is_changed_by_who_knows_it(groups):
    made = groups.CreateGroup(pb.CreateGroupRequest(group_id="old", group=pb.Group(display_name="a", description="b")))
    changed = groups.UpdateGroup(
        pb.UpdateGroupRequest(group=pb.Group(name="groups/old", display_name="c", etag=made.etag))
    )
    assert (changed.display_name, changed.description) == ("c", "b")
    with fails(StatusCode.ABORTED, "ETAG_MISMATCH"):
        groups.UpdateGroup(pb.UpdateGroupRequest(group=pb.Group(name="groups/old", display_name="d", etag=made.etag)))
    with fails(StatusCode.INVALID_ARGUMENT, "FIELD_NOT_UPDATABLE"):
        mask = FieldMask(paths=["member_count"])
        groups.UpdateGroup(pb.UpdateGroupRequest(group=pb.Group(name="groups/old"), update_mask=mask))
    with fails(StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS"):
        groups.CreateGroup(pb.CreateGroupRequest(group_id="old"))
    with fails(StatusCode.INVALID_ARGUMENT, "GROUP_ID_INVALID"):
        groups.CreateGroup(pb.CreateGroupRequest(group_id="Not one"))
    groups.DeleteGroup(pb.DeleteGroupRequest(name="groups/old", etag=changed.etag))
    with fails(StatusCode.NOT_FOUND, "GROUP_NOT_FOUND"):
        groups.GetGroup(pb.GetGroupRequest(name="groups/old"))


def test_groups_and_saved_queries_come_in_pages(groups):
    for at in range(3):
        groups.CreateGroup(pb.CreateGroupRequest(group_id=f"page-{at}"))
        save(groups, f"page-{at}", "*")
    for method, request, field in (
        (groups.ListGroups, pb.ListGroupsRequest(page_size=1), "groups"),
        (groups.ListSavedQueries, pb.ListSavedQueriesRequest(page_size=1), "saved_queries"),
    ):
        names = []
        while True:
            page = method(request)
            names += [each.name for each in getattr(page, field)]
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        assert [name.partition("/")[2] for name in names if "page-" in name] == ["page-0", "page-1", "page-2"]
        assert len(names) == len(set(names))


def test_a_saved_query_stands_for_its_filter(groups, stubs):
    save(groups, "inside", "ward_code = 00070 AND device_id = d-*")
    save(groups, "outside", 'NOT in_query("inside") AND device_id = "d-*"')
    assert matching(stubs, "in_query(inside)") == ["d-0", "d-1", "d-2"]
    assert matching(stubs, "in_query(outside) AND device_id != d-4") == ["d-3", "d-5"]
    assert matching(stubs, "NOT in_query(outside)") == ["d-0", "d-1", "d-2"]


def test_a_saved_query_is_checked_when_it_is_saved(groups):
    for text, reason in (
        ("colour = red", "FILTER_FIELD_UNKNOWN"),
        ("", "FILTER_EMPTY"),
        ("in_query(nobody)", "FILTER_VALUE_INVALID"),
        ("in_group(nobody)", "FILTER_VALUE_INVALID"),
        ("in_query(itself)", "FILTER_VALUE_INVALID"),
    ):
        with fails(StatusCode.INVALID_ARGUMENT, reason):
            save(groups, "itself", text)


def test_saved_queries_never_mean_themselves(groups):
    first = save(groups, "first", "state = active")
    save(groups, "second", "in_query(first)")
    with fails(StatusCode.INVALID_ARGUMENT, "FILTER_VALUE_INVALID") as failure:
        first.filter = "NOT in_query(second)"
        groups.UpdateSavedQuery(group_pb2.UpdateSavedQueryRequest(saved_query=first))
    assert "first > second > first" in failure.message


def test_saved_queries_do_not_multiply_without_end(groups):
    save(groups, "many-0", " OR ".join(["state = active"] * 20))
    save(groups, "many-1", " OR ".join(["in_query(many-0)"] * 20))
    with fails(StatusCode.INVALID_ARGUMENT, "FILTER_VALUE_INVALID") as failure:
        save(groups, "many-2", " OR ".join(["in_query(many-1)"] * 20))
    assert "more than 500 terms" in failure.message


def test_what_a_saved_query_names_is_not_deleted(groups):
    groups.CreateGroup(pb.CreateGroupRequest(group_id="named"))
    save(groups, "names-group", "-in_group(named)")
    save(groups, "names-query", "in_query(names-group)")
    with fails(StatusCode.FAILED_PRECONDITION, "NAMED_BY_SAVED_QUERY"):
        groups.DeleteGroup(pb.DeleteGroupRequest(name="groups/named"))
    with fails(StatusCode.FAILED_PRECONDITION, "NAMED_BY_SAVED_QUERY"):
        groups.DeleteSavedQuery(pb.DeleteSavedQueryRequest(name="savedQueries/names-group"))
    for name in ("names-query", "names-group"):
        groups.DeleteSavedQuery(pb.DeleteSavedQueryRequest(name=f"savedQueries/{name}"))
    groups.DeleteGroup(pb.DeleteGroupRequest(name="groups/named"))


def test_nothing_is_made_when_only_asked_whether_it_could_be(groups):
    groups.CreateGroup(pb.CreateGroupRequest(group_id="dry", validate_only=True))
    with fails(StatusCode.NOT_FOUND, "GROUP_NOT_FOUND"):
        groups.GetGroup(pb.GetGroupRequest(name="groups/dry"))
