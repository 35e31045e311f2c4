"""WatchDevices: a watcher's copy is what a list would say, whatever changes, breaks off or disappears meanwhile."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode

from cityfleet.registry.v1 import device_pb2 as pb
from cityfleet.registry.v1 import device_state_pb2, group_pb2
from cityfleet.registry.v1.device_pb2_grpc import DeviceServiceStub
from cityfleet.registry.v1.device_state_pb2_grpc import DeviceStateServiceStub
from cityfleet.registry.v1.group_pb2_grpc import GroupServiceStub
from registry.api.watch import MAX_WATCHERS
from registry.db import sequence
from runtime.bearer import bearer_channel
from tests.support.registry import wait_until
from tests.support.status import fails

Response = pb.WatchDevicesResponse


class Watcher:
    """`devices`: by id, as an engineer's program would keep them."""

    def __init__(self, call):
        self.call = call
        self.token = ""
        self.devices = {}

    def step(self):
        response = next(self.call)
        for device in response.devices:
            device_id = device.name.removeprefix("devices/")
            if response.kind == Response.KIND_REMOVED:
                assert device == pb.Device(name=device.name)
                self.devices.pop(device_id, None)
            else:
                self.devices[device_id] = device
        self.token = response.resume_token or self.token
        return response

    def until(self, is_reached):
        """Steps until the copy is so; bookmarks come for ever, so it is the call's deadline that ends it."""
        while not is_reached(self.devices):
            self.step()

    def snapshot(self):
        while self.step().kind != Response.KIND_SNAPSHOT_COMPLETE:
            assert not self.token
        assert self.token
        return self

    def next_removed(self):
        response = self.step()
        assert response.kind == Response.KIND_REMOVED, response
        return [device.name for device in response.devices]


@contextmanager
def watching(stubs, filter_text="", token="", timeout=60, **fields):
    request = pb.WatchDevicesRequest(filter=filter_text, resume_token=token, **fields)
    call = stubs.devices.WatchDevices(request, timeout=timeout)
    try:
        yield Watcher(call)
    finally:
        call.cancel()


def create(stubs, device_id, **fields):
    device = pb.Device(**({"device_type": "gauge"} | fields))
    return stubs.devices.CreateDevice(pb.CreateDeviceRequest(device_id=device_id, device=device)).device


def update(stubs, device_id, *paths, **fields):
    given = pb.Device(name=f"devices/{device_id}", **fields)
    return stubs.devices.UpdateDevice(pb.UpdateDeviceRequest(device=given, update_mask={"paths": paths}))


def delete(stubs, device_id):
    return stubs.devices.DeleteDevice(pb.DeleteDeviceRequest(name=f"devices/{device_id}"))


def report(registry, stubs, **fields):
    rows = [device_state_pb2.DeviceStateReport(**fields)]
    request = device_state_pb2.ReportDeviceStatesRequest(node="a", run=1, reports=rows)
    list(DeviceStateServiceStub(stubs.channel).ReportDeviceStates(iter([request]), metadata=registry.metadata))


def test_a_snapshot_then_changes(stubs):
    create(stubs, "s-1", labels={"of": "s"})
    create(stubs, "s-other")
    with watching(stubs, "labels.of = s") as watcher:
        assert list(watcher.snapshot().devices) == ["s-1"]
        assert watcher.devices["s-1"].connectivity == pb.CONNECTIVITY_NEVER_SEEN
        create(stubs, "s-2", labels={"of": "s"})
        assert watcher.step().kind == Response.KIND_CHANGED
        update(stubs, "s-other", "labels", labels={"of": "s"})
        assert watcher.step().kind == Response.KIND_CHANGED
        assert list(watcher.devices) == ["s-1", "s-2", "s-other"]
        update(stubs, "s-1", "display_name", display_name="Cầu")
        watcher.until(lambda devices: devices["s-1"].display_name == "Cầu")
        delete(stubs, "s-2")
        assert watcher.next_removed() == ["devices/s-2"]
        update(stubs, "s-other", "labels", labels={})
        assert watcher.next_removed() == ["devices/s-other"]
        stubs.devices.UndeleteDevice(pb.UndeleteDeviceRequest(name="devices/s-2"))
        watcher.step()
        assert list(watcher.devices) == ["s-1", "s-2"]


def test_what_never_matched_is_never_removed(stubs):
    create(stubs, "n-1")
    with watching(stubs, "labels.of = n") as watcher:
        watcher.snapshot()
        update(stubs, "n-1", "display_name", display_name="x")
        delete(stubs, "n-1")
        create(stubs, "n-2", labels={"of": "n"})
        watcher.until(lambda devices: devices)
        assert watcher.token


def test_what_a_device_says_is_a_change(registry, stubs):
    num = create(stubs, "said-1").device_num
    create(stubs, "said-2")
    for view, text in (("DEVICE_VIEW_FULL", '{"firmware_version": "7"}'), ("DEVICE_VIEW_BASIC", "")):
        with watching(stubs, "device_id = said-*", view=view) as watcher:
            watcher.snapshot()
            now = sequence.now_ms()
            document = b'{"firmware_version": "7"}'
            report(registry, stubs, device_num=num, last_reading_ms=now, document=document, document_ms=now)
            watcher.step()
            assert watcher.devices["said-1"].connectivity == pb.CONNECTIVITY_ONLINE
            assert watcher.devices["said-1"].reported.firmware_version == "7"
            assert watcher.devices["said-1"].reported.document == text
            # That it goes on talking is no change; the next is another's.
            report(registry, stubs, device_num=num, last_reading_ms=now + 1000)
            update(stubs, "said-2", "display_name", display_name=view)
            assert [device.name for device in watcher.step().devices] == ["devices/said-2"]


def test_groups_and_saved_queries_are_followed(stubs):
    groups = GroupServiceStub(stubs.channel)
    for number in range(4):
        create(stubs, f"g-{number}", display_name=f"Sông {number}")
    groups.CreateGroup(group_pb2.CreateGroupRequest(group_id="pilot"))
    query = group_pb2.SavedQuery(filter="in_group(pilot)")
    groups.CreateSavedQuery(group_pb2.CreateSavedQueryRequest(saved_query_id="mine", saved_query=query))

    def members(**fields):
        groups.ModifyGroupMembers(group_pb2.ModifyGroupMembersRequest(name="groups/pilot", **fields))

    members(add_devices=["devices/g-0", "devices/g-1"])
    with watching(stubs, "in_query(mine)") as watcher:
        assert list(watcher.snapshot().devices) == ["g-0", "g-1"]
        first = watcher.token
        members(add_devices=["devices/g-2"], remove_devices=["devices/g-0"])
        watcher.until(lambda devices: sorted(devices) == ["g-1", "g-2"])
        query = group_pb2.SavedQuery(name="savedQueries/mine", filter="in_group(pilot) OR device_id = g-3")
        groups.UpdateSavedQuery(
            group_pb2.UpdateSavedQueryRequest(saved_query=query, update_mask=FieldMask(paths=["filter"]))
        )
        watcher.until(lambda devices: sorted(devices) == ["g-1", "g-2", "g-3"])
        last = watcher.token
        while watcher.token == last:  # the one behind the change
            watcher.step()
        last = watcher.token
        # Who comes back cannot be told who has left.
        with (
            fails(StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_OF_OTHER_FILTER"),
            watching(stubs, "in_query(mine)", first) as late,
        ):
            late.step()
        with watching(stubs, "in_query(mine)", last) as resumed:
            assert resumed.step().kind == Response.KIND_BOOKMARK
        groups.DeleteSavedQuery(group_pb2.DeleteSavedQueryRequest(name="savedQueries/mine"))
        with fails(StatusCode.INVALID_ARGUMENT, "FILTER_VALUE_INVALID"):
            watcher.step()


def test_who_comes_back_hears_what_he_missed(registry, stubs):
    for number in range(4):
        create(stubs, f"back-{number}", labels={"of": "back"})
    with watching(stubs, "labels.of = back") as watcher:
        watcher.snapshot()
    update(stubs, "back-0", "display_name", display_name="x")
    update(stubs, "back-1", "labels", labels={})
    delete(stubs, "back-2")
    with watching(stubs, "labels.of = back", watcher.token) as resumed:
        resumed.devices = watcher.devices
        assert resumed.step().kind == Response.KIND_CHANGED
        assert sorted(resumed.next_removed()) == ["devices/back-1", "devices/back-2"]
        assert sorted(resumed.devices) == ["back-0", "back-3"]
        assert resumed.devices["back-0"].display_name == "x"
    with watching(stubs, "labels.of = back", resumed.token) as again:
        assert again.step().kind == Response.KIND_BOOKMARK


def test_a_token_that_leads_nowhere_is_out_of_range(registry, stubs):
    with watching(stubs) as watcher:
        token = watcher.snapshot().token
    for filter_text, given in (("", "nonsense"), ("", "AAAA"), ("", token[:-8]), ("labels.of = x", token)):
        with pytest.raises(grpc.RpcError) as failed, watching(stubs, filter_text, given) as other:
            other.step()
        assert failed.value.code() is StatusCode.OUT_OF_RANGE


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('reported.last_seen_time < ago("1h")', "FILTER_NOT_WATCHABLE"),
        ("nothing = 1", "FILTER_FIELD_UNKNOWN"),
        ("in_group(nobody)", "FILTER_VALUE_INVALID"),
        ("x" * 100_000, "FILTER_TOO_LONG"),
    ],
)
def test_a_filter_that_cannot_be_watched_is_refused(stubs, text, reason):
    with fails(StatusCode.INVALID_ARGUMENT, reason), watching(stubs, text) as watcher:
        watcher.step()


def test_watchers_that_disappear_leave_nothing_behind(registry, stubs):
    def watchers():
        return registry.metric("cityfleet_registry_device_watchers")

    for _ in wait_until("those of before are gone"):
        if watchers() == 0:
            break
    with bearer_channel(registry.address, registry.admin_token) as channel:
        devices = DeviceServiceStub(channel)
        calls = [devices.WatchDevices(pb.WatchDevicesRequest(filter="labels.of = many")) for _ in range(MAX_WATCHERS)]
        for call in calls:
            assert next(call).kind == Response.KIND_SNAPSHOT_COMPLETE
        assert watchers() == MAX_WATCHERS
        with fails(StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHES"), watching(stubs) as one_more:
            one_more.step()
        create(stubs, "many-1", labels={"of": "many"})
        assert [next(call).devices[0].name for call in calls] == ["devices/many-1"] * MAX_WATCHERS
    # The connection is gone without a word of the calls.
    for _ in wait_until("all are gone"):
        if watchers() == 0:
            break
    with watching(stubs) as watcher:
        watcher.snapshot()


def test_a_copy_is_what_a_list_says_whatever_happens_meanwhile(registry, stubs):
    filter_text = "labels.of = storm AND (NOT ward_code = 00070 OR reported.firmware_version = v2)"
    ids = [f"storm-{number:02}" for number in range(40)]
    numbers = {device_id: create(stubs, device_id, labels={"of": "storm"}).device_num for device_id in ids}

    def listed():
        found = stubs.devices.ListDevices(pb.ListDevicesRequest(filter=filter_text, page_size=100)).devices
        return {device.name.removeprefix("devices/"): device for device in found}

    def storm(seed):
        dice = random.Random(seed)
        with bearer_channel(registry.address, registry.admin_token) as channel:
            own = type(stubs)(channel)
            for _ in range(40):
                device_id = ids[dice.randrange(seed % 4, len(ids), 4)]  # each its own, so that none is refused
                match dice.randrange(5):
                    case 0:
                        update(own, device_id, "labels", labels={"of": dice.choice(["storm", "calm"])})
                    case 1:
                        update(own, device_id, "ward_code", ward_code=dice.choice(["", "00070"]))
                    case 2:
                        delete(own, device_id)
                        own.devices.UndeleteDevice(pb.UndeleteDeviceRequest(name=f"devices/{device_id}"))
                    case 3:
                        text = b'{"firmware_version": "v%d"}' % dice.randrange(1, 3)
                        now = sequence.now_ms()
                        report(registry, own, device_num=numbers[device_id], document=text, document_ms=now)
                    case 4:
                        update(own, device_id, "display_name", display_name=str(dice.random()))

    dice, copy = random.Random(0), {}
    with ThreadPoolExecutor(4) as threads:
        storms = [threads.submit(storm, seed) for seed in range(4)]
        token = ""
        while not all(one.done() for one in storms) or copy == {}:
            with watching(stubs, filter_text, token) as watcher:
                if not token:
                    watcher.snapshot()
                    copy = watcher.devices
                watcher.devices = copy
                for _ in range(dice.randrange(1, 5)):
                    if watcher.step().kind == Response.KIND_BOOKMARK:
                        break
                token = watcher.token
        for one in storms:
            one.result()
    wanted = listed()
    with watching(stubs, filter_text, token) as watcher:
        watcher.devices = copy

        def is_same(devices):
            return {name: device.etag for name, device in devices.items()} == {
                name: device.etag for name, device in wanted.items()
            } and all(
                devices[name].reported.firmware_version == wanted[name].reported.firmware_version for name in wanted
            )

        started = time.monotonic()
        watcher.until(is_same)
        assert time.monotonic() - started < 60
