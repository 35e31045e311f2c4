"""What an account with a role for one ward sees and may change, on both databases; what is outside looks as if it was
not there."""

from collections.abc import Iterator
from dataclasses import dataclass

import grpc
import pytest
from google.longrunning import operations_pb2
from google.longrunning.operations_pb2_grpc import OperationsStub
from grpc import StatusCode

from cityfleet.registry.v1 import device_pb2, device_type_pb2, group_pb2, metric_pb2, operator_pb2, site_pb2
from cityfleet.registry.v1.device_pb2_grpc import DeviceServiceStub
from cityfleet.registry.v1.device_type_pb2_grpc import DeviceTypeServiceStub
from cityfleet.registry.v1.group_pb2_grpc import GroupServiceStub
from cityfleet.registry.v1.metric_pb2_grpc import MetricServiceStub
from cityfleet.registry.v1.operator_pb2_grpc import OperatorServiceStub
from cityfleet.registry.v1.site_pb2_grpc import SiteServiceStub, WardServiceStub
from tests.support.access import account, grant
from tests.support.status import fails

OURS, THEIRS = "00070", "00004"


@dataclass
class Caller:
    channel: grpc.Channel

    def __post_init__(self) -> None:
        self.devices = DeviceServiceStub(self.channel)
        self.sites = SiteServiceStub(self.channel)
        self.groups = GroupServiceStub(self.channel)

    def create(self, device_id: str, **fields: object) -> device_pb2.Device:
        given = device_pb2.Device(**{"device_type": "gauge", **fields})
        return self.devices.CreateDevice(device_pb2.CreateDeviceRequest(device_id=device_id, device=given)).device

    def get(self, device_id: str) -> device_pb2.Device:
        return self.devices.GetDevice(device_pb2.GetDeviceRequest(name=f"devices/{device_id}"))

    def update(self, device_id: str, *, allow_missing: bool = False, **fields: object) -> device_pb2.Device:
        device = device_pb2.Device(name=f"devices/{device_id}", **fields)
        request = device_pb2.UpdateDeviceRequest(device=device, allow_missing=allow_missing)
        request.update_mask.paths.extend(set(fields) - {"etag"})
        return self.devices.UpdateDevice(request)

    def end(self, device_id: str, action: str) -> None:
        """Delete or purge it, and wait for that."""
        number = device_pb2.BulkDeleteDevicesRequest.Action.Value(f"ACTION_{action}")
        request = device_pb2.BulkDeleteDevicesRequest(filter=f"device_id = {device_id}", action=number)
        begun = self.devices.BulkDeleteDevices(request)
        wait = operations_pb2.WaitOperationRequest(name=begun.name)
        assert OperationsStub(self.channel).WaitOperation(wait).done

    def listed(self, filter_text: str = "") -> set[str]:
        request = device_pb2.ListDevicesRequest(filter=filter_text)
        return {device.name.removeprefix("devices/") for device in self.devices.ListDevices(request).devices}

    def imported(self, *rows: device_pb2.Device, **fields: object) -> list[device_pb2.ImportRowResult]:
        numbered = [device_pb2.ImportRow(row=at, device=row) for at, row in enumerate(rows, 1)]
        (answer,) = self.devices.ImportDevices(iter([device_pb2.ImportDevicesRequest(rows=numbered, **fields)]))
        return list(answer.results)


@pytest.fixture(scope="module")
def admin(stubs) -> Caller:
    """In ours: `ours` (behind gateway `gw-ours`, at `site-ours`); in theirs likewise; `nowhere` is in no ward."""
    admin = Caller(stubs.channel)
    for name, ward in (("ours", OURS), ("theirs", THEIRS)):
        site = site_pb2.Site(ward_code=ward)
        admin.sites.CreateSite(site_pb2.CreateSiteRequest(site_id=f"site-{name}", site=site))
        admin.create(f"gw-{name}", device_type="gateway", ward_code=ward)
        admin.create(name, ward_code=ward, gateway=f"gw-{name}", site_id=f"site-{name}", external_id=f"ext-{name}")
    admin.create("nowhere", labels={"owner": "tnmt"})
    return admin


@pytest.fixture(scope="module")
def operator(registry, admin) -> Iterator[Caller]:
    with account(registry, "ward-operator", grant("operator", [OURS])) as channel:
        yield Caller(channel)


@pytest.fixture(scope="module")
def engineer(registry, admin) -> Iterator[Caller]:
    with account(registry, "ward-engineer", grant("engineer", [OURS])) as channel:
        yield Caller(channel)


def test_lists_and_counts_are_of_the_scope(operator, registry, admin):
    assert operator.listed() == {"ours", "gw-ours"}
    assert operator.listed(f"ward_code = {THEIRS} OR device_id = theirs") == set()
    assert operator.listed("NOT device_id = ours") == {"gw-ours"}
    assert [site.name for site in operator.sites.ListSites(site_pb2.ListSitesRequest()).sites] == ["sites/site-ours"]
    counts = operator.devices.AggregateDevices(device_pb2.AggregateDevicesRequest(group_by=["ward_code"]))
    assert [(list(group.values), group.devices) for group in counts.groups] == [([OURS], 2)]
    with account(registry, "by-label", grant("viewer", labels={"owner": "tnmt"})) as channel:
        assert Caller(channel).listed() == {"nowhere"}
    with account(registry, "by-two", grant("viewer", [THEIRS]), grant("operator", labels={"owner": "tnmt"})) as channel:
        caller = Caller(channel)
        assert caller.listed() == {"theirs", "gw-theirs", "nowhere"}
        assert caller.update("nowhere", labels={"owner": "tnmt", "floor": "2"}).labels["floor"] == "2"
        with fails(StatusCode.PERMISSION_DENIED, "NOT_THERE_OR_NOT_YOURS"):
            caller.update("theirs", display_name="x")


def test_exports_and_changes_by_filter_are_of_the_scope(operator, engineer, admin):
    answers = operator.devices.ExportDevices(device_pb2.ExportDevicesRequest())
    exported = [device.name for answer in answers for device in answer.devices]
    assert exported == sorted(f"devices/{name}" for name in operator.listed())
    request = device_pb2.BulkUpdateDevicesRequest(filter="*", device=device_pb2.Device(labels={"round": "1"}))
    request.update_mask.paths.append("labels.round")
    begun = operator.devices.BulkUpdateDevices(request)
    operations = OperationsStub(operator.channel)
    ended = operations.WaitOperation(operations_pb2.WaitOperationRequest(name=begun.name))
    assert ended.done
    assert admin.listed("labels.round = 1") == operator.listed()
    # It is his who began it, and an administrator's.
    with fails(StatusCode.NOT_FOUND, "OPERATION_NOT_FOUND"):
        OperationsStub(engineer.channel).GetOperation(operations_pb2.GetOperationRequest(name=begun.name))
    assert OperationsStub(admin.channel).GetOperation(operations_pb2.GetOperationRequest(name=begun.name)) == ended
    ending = device_pb2.BulkDeleteDevicesRequest(filter="*", action=device_pb2.BulkDeleteDevicesRequest.ACTION_DELETE)
    with fails(StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED"):
        operator.devices.BulkDeleteDevices(ending)


def test_a_watch_is_of_the_scope(registry, admin):
    kinds = device_pb2.WatchDevicesResponse
    admin.create("watched", ward_code=OURS)
    admin.create("unseen", ward_code=THEIRS)
    request = device_pb2.WatchDevicesRequest(filter="device_id = watched OR device_id = unseen")
    told: list[tuple[object, list[str]]] = []
    with account(registry, "ward-watcher", grant("viewer", [OURS])) as channel:
        answers = DeviceServiceStub(channel).WatchDevices(request, timeout=120)

        def until_told(kind: object) -> str:
            for answer in answers:
                told.append((answer.kind, [device.name.removeprefix("devices/") for device in answer.devices]))
                if answer.kind == kind:
                    return str(answer.resume_token)
            raise AssertionError("the watch has ended")

        until_told(kinds.KIND_SNAPSHOT_COMPLETE)
        admin.update("unseen", display_name="not for him")
        admin.update("watched", ward_code=THEIRS)
        until_told(kinds.KIND_REMOVED)
        admin.update("watched", display_name="not for him any more")
        admin.update("unseen", ward_code=OURS)
        token = until_told(kinds.KIND_CHANGED)
        answers.cancel()
        # What left his scope while he was away could not be told from what never was in it.
        request.resume_token = token
        with fails(StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_UNUSABLE"):
            next(DeviceServiceStub(channel).WatchDevices(request, timeout=120))
    assert [entry for entry in told if entry[1]] == [
        (kinds.KIND_SNAPSHOT, ["watched"]),
        (kinds.KIND_REMOVED, ["watched"]),
        (kinds.KIND_CHANGED, ["unseen"]),
    ]
    for name in ("watched", "unseen"):
        admin.update(name, ward_code=THEIRS)


def test_what_is_outside_looks_as_if_it_was_not_there(operator, engineer, admin):
    def devices(caller: Caller, device_id: str):
        name, stub = f"devices/{device_id}", caller.devices
        yield lambda: caller.get(device_id)
        yield lambda: caller.update(device_id, display_name="x")
        yield lambda: caller.update(device_id, display_name="x", etag='"7"')
        yield lambda: stub.DecommissionDevice(device_pb2.DecommissionDeviceRequest(name=name))
        yield lambda: stub.RotateDeviceToken(device_pb2.RotateDeviceTokenRequest(name=name))
        yield lambda: stub.BatchGetDevices(device_pb2.BatchGetDevicesRequest(names=["devices/ours", name]))
        yield lambda: stub.ListDevicePlacements(device_pb2.ListDevicePlacementsRequest(parent=name))
        part = device_pb2.UpdateDeviceRequest(device=device_pb2.Device(name=name, display_name="x"))
        yield lambda: stub.BatchUpdateDevices(device_pb2.BatchUpdateDevicesRequest(requests=[part]))

    def ends(device_id: str):
        name, stub = f"devices/{device_id}", engineer.devices
        yield lambda: stub.DeleteDevice(device_pb2.DeleteDeviceRequest(name=name))
        yield lambda: stub.UndeleteDevice(device_pb2.UndeleteDeviceRequest(name=name))
        parts = [device_pb2.DeleteDeviceRequest(name=each) for each in ("devices/ours", name)]
        yield lambda: stub.BatchDeleteDevices(device_pb2.BatchDeleteDevicesRequest(requests=parts))

    def sites(site_id: str):
        name, stub = f"sites/{site_id}", engineer.sites
        yield lambda: stub.GetSite(site_pb2.GetSiteRequest(name=name))
        yield lambda: stub.UpdateSite(site_pb2.UpdateSiteRequest(site=site_pb2.Site(name=name, display_name="x")))
        yield lambda: stub.DeleteSite(site_pb2.DeleteSiteRequest(name=name))
        yield lambda: stub.UndeleteSite(site_pb2.UndeleteSiteRequest(name=name))
        yield lambda: stub.BatchGetSites(site_pb2.BatchGetSitesRequest(names=["sites/site-ours", name]))
        part = site_pb2.UpdateSiteRequest(site=site_pb2.Site(name=name, display_name="x"))
        yield lambda: stub.BatchUpdateSites(site_pb2.BatchUpdateSitesRequest(requests=[part]))
        parts = [site_pb2.DeleteSiteRequest(name=each) for each in ("sites/site-ours", name)]
        yield lambda: stub.BatchDeleteSites(site_pb2.BatchDeleteSitesRequest(requests=parts))

    def answers(calls, name: str) -> list[tuple[str, str]]:
        found = []
        for call in calls:
            with fails(StatusCode.PERMISSION_DENIED, "NOT_THERE_OR_NOT_YOURS") as failure:
                call()
            found.append((failure.message.replace(name, "NAME"), str(failure.metadata).replace(name, "NAME")))
        return found

    for caller in (operator, engineer):
        hidden, missing = answers(devices(caller, "theirs"), "theirs"), answers(devices(caller, "nobody"), "nobody")
        assert hidden == missing
    assert answers(ends("theirs"), "theirs") == answers(ends("nobody"), "nobody")
    parts = [device_pb2.DeleteDeviceRequest(name=f"devices/{name}", etag='"7"') for name in ("theirs", "nobody")]
    lenient = device_pb2.BatchDeleteDevicesRequest(requests=parts, allow_missing=True)
    assert not engineer.devices.BatchDeleteDevices(lenient).devices
    with fails(StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED"):
        operator.devices.BatchDeleteDevices(lenient)
    assert admin.get("theirs").state == device_pb2.Device.STATE_ACTIVE
    assert answers(sites("site-theirs"), "site-theirs") == answers(sites("site-nobody"), "site-nobody")
    places = [site_pb2.DeleteSiteRequest(name=f"sites/{name}", etag='"7"') for name in ("site-theirs", "site-nobody")]
    many = site_pb2.BatchDeleteSitesRequest(requests=places, allow_missing=True)
    assert not engineer.sites.BatchDeleteSites(many).sites
    some = site_pb2.BatchGetSitesRequest(names=[each.name for each in places] + ["sites/site-ours"], allow_missing=True)
    assert [site.name for site in engineer.sites.BatchGetSites(some).sites] == ["sites/site-ours"]
    taken = site_pb2.UpdateSiteRequest(site=site_pb2.Site(name="sites/site-theirs", ward_code=OURS), allow_missing=True)
    with fails(StatusCode.PERMISSION_DENIED, "NOT_THERE_OR_NOT_YOURS"):
        engineer.sites.BatchUpdateSites(site_pb2.BatchUpdateSitesRequest(requests=[taken]))
    away = site_pb2.UpdateSiteRequest(site=site_pb2.Site(name="sites/site-away", ward_code=THEIRS), allow_missing=True)
    with fails(StatusCode.PERMISSION_DENIED, "OUT_OF_SCOPE"):
        engineer.sites.BatchUpdateSites(site_pb2.BatchUpdateSitesRequest(requests=[away]))
    assert not admin.sites.GetSite(site_pb2.GetSiteRequest(name="sites/site-theirs")).HasField("delete_time")


def test_a_role_is_needed_for_what_is_named_too(operator, registry, admin):
    with fails(StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED"):
        operator.devices.DeleteDevice(device_pb2.DeleteDeviceRequest(name="devices/ours"))
    with fails(StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED"):
        operator.update("ours", external_id="other")
    with fails(StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED"):
        operator.update("new", ward_code=OURS, allow_missing=True)
    with fails(StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED"):
        operator.imported(device_pb2.Device(name="devices/new", device_type="gauge", ward_code=OURS))
    with account(registry, "nobody-at-all") as channel, fails(StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED"):
        Caller(channel).listed()


def test_nothing_is_brought_out_of_the_scope_or_into_it(operator, engineer, admin):
    for caller in (operator, engineer):
        with fails(StatusCode.PERMISSION_DENIED, "OUT_OF_SCOPE"):
            caller.update("ours", ward_code=THEIRS)
        with fails(StatusCode.PERMISSION_DENIED, "NOT_THERE_OR_NOT_YOURS"):
            caller.update("theirs", ward_code=OURS)
    assert operator.update("ours", display_name="At the bridge").display_name == "At the bridge"
    with fails(StatusCode.PERMISSION_DENIED, "OUT_OF_SCOPE"):
        engineer.create("stray", ward_code=THEIRS)
    with fails(StatusCode.PERMISSION_DENIED, "OUT_OF_SCOPE"):
        engineer.create("stray")
    with fails(StatusCode.PERMISSION_DENIED, "OUT_OF_SCOPE"):
        engineer.sites.CreateSite(site_pb2.CreateSiteRequest(site_id="stray", site=site_pb2.Site(ward_code=THEIRS)))
    assert "stray" not in admin.listed()
    assert engineer.create("local-1", site_id="site-ours").ward_code == OURS
    assert engineer.update("local-2", device_type="gauge", ward_code=OURS, allow_missing=True).ward_code == OURS
    with fails(StatusCode.PERMISSION_DENIED, "OUT_OF_SCOPE"):
        engineer.update("stray", device_type="gauge", allow_missing=True)


def test_what_is_taken_outside_is_not_told(engineer, admin):
    with fails(StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS") as failure:
        engineer.create("theirs", ward_code=OURS)
    assert failure.metadata == {"device": "theirs"}
    assert "exists" not in failure.message
    # What was purged is no other than what is there, for him.
    admin.create("purged", ward_code=THEIRS)
    admin.end("purged", "DELETE")
    admin.end("purged", "PURGE")
    for name in ("theirs", "purged"):
        with fails(StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS") as other:
            engineer.create(name, ward_code=OURS)
        assert other.message.replace(name, "NAME") == failure.message.replace("theirs", "NAME")
        with fails(StatusCode.PERMISSION_DENIED, "NOT_THERE_OR_NOT_YOURS"):
            engineer.update(name, device_type="gauge", ward_code=OURS, allow_missing=True)
    with fails(StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS") as failure:
        engineer.sites.CreateSite(site_pb2.CreateSiteRequest(site_id="site-theirs", site=site_pb2.Site(ward_code=OURS)))
    assert "exists" not in failure.message
    with fails(StatusCode.INVALID_ARGUMENT, "EXTERNAL_ID_TAKEN") as failure:
        engineer.create("local-3", ward_code=OURS, external_id="ext-theirs")
    assert failure.message == "external_id: `ext-theirs` is taken"
    with fails(StatusCode.INVALID_ARGUMENT, "EXTERNAL_ID_TAKEN") as failure:
        engineer.create("local-3", ward_code=OURS, external_id="ext-ours")
    assert "the external id of ours" in failure.message


@pytest.mark.parametrize(
    ("field", "hidden", "reason"),
    [("gateway", "gw-theirs", "GATEWAY_UNKNOWN"), ("site_id", "site-theirs", "SITE_UNKNOWN")],
)
def test_what_is_named_outside_is_unknown(engineer, admin, field, hidden, reason):
    messages = set()
    for name in (hidden, "nobody"):
        for call in (engineer.create, engineer.update):
            device_id = "local-4" if call == engineer.create else "ours"
            with fails(StatusCode.INVALID_ARGUMENT, reason) as failure:
                call(device_id, **{field: name, "ward_code": OURS})
            messages.add(failure.message.replace(name, "NAME"))
    assert len(messages) == 1


def test_a_device_keeps_what_it_has_outside(admin, operator):
    """A change that does not touch it neither loses nor tells more of it."""
    admin.create("mixed", ward_code=OURS, gateway="gw-theirs", site_id="site-theirs")
    changed = operator.update("mixed", display_name="Mixed")
    assert (changed.gateway, changed.site_id) == ("gw-theirs", "site-theirs")


def test_an_import_stays_within_the_scope(engineer, admin):
    def row(device_id: str, **fields: object) -> device_pb2.Device:
        return device_pb2.Device(
            **{"name": f"devices/{device_id}", "device_type": "gauge", "ward_code": OURS, **fields}
        )

    rows = [
        row("imported-1"),
        row("imported-2", ward_code=THEIRS),
        row("imported-3", ward_code=""),
        row("imported-4", gateway="gw-theirs"),
        row("imported-5", site_id="site-theirs"),
        row("imported-6", external_id="ext-theirs"),
        row("theirs"),
        row("theirs", ward_code=THEIRS, gateway="gw-theirs", site_id="site-theirs", external_id="ext-theirs"),
        row("imported-7", ward_code="", site_id="site-ours"),
        row("imported-8", gateway="gw-ours", external_id="ext-ours"),
        row("local-1", ward_code=THEIRS),
    ]
    wanted = [
        "",
        "OUT_OF_SCOPE",
        "OUT_OF_SCOPE",
        "GATEWAY_UNKNOWN",
        "SITE_UNKNOWN",
        "EXTERNAL_ID_TAKEN",
        "DEVICE_ID_USED",
        "DEVICE_ID_USED",
        "",
        "EXTERNAL_ID_TAKEN",
        "OUT_OF_SCOPE",
    ]
    for dry_run in (True, False):
        results = engineer.imported(*rows, update_existing=True, validate_only=dry_run)
        assert [result.errors[0].reason if result.errors else "" for result in results] == wanted
        told = " ".join(error.description for result in results for error in result.errors)
        assert "of theirs" not in told
    assert {"imported-1", "imported-7"} <= admin.listed() & engineer.listed()
    assert not {f"imported-{at}" for at in (2, 3, 4, 5, 6, 8)} & admin.listed()
    assert engineer.get("local-1").ward_code == OURS


def test_what_has_no_ward_is_read_if_it_is_the_catalogue_and_else_hidden(engineer, registry):
    channel = engineer.channel
    assert MetricServiceStub(channel).ListMetrics(metric_pb2.ListMetricsRequest()).metrics
    assert DeviceTypeServiceStub(channel).ListDeviceTypes(device_type_pb2.ListDeviceTypesRequest()).device_types
    assert WardServiceStub(channel).ListWards(site_pb2.ListWardsRequest()).wards
    request = metric_pb2.CreateMetricRequest(metric_id="smell_1", metric=metric_pb2.Metric(unit="1"))
    for refused in (
        lambda: MetricServiceStub(channel).CreateMetric(request),
        lambda: engineer.groups.GetGroup(group_pb2.GetGroupRequest(name="groups/any")),
        lambda: engineer.groups.ListSavedQueries(group_pb2.ListSavedQueriesRequest()),
        lambda: OperatorServiceStub(channel).ListOperators(operator_pb2.ListOperatorsRequest()),
    ):
        with fails(StatusCode.PERMISSION_DENIED, "SCOPE_TOO_SMALL"):
            refused()


def test_a_filter_does_not_tell_which_groups_and_queries_there_are(engineer, admin):
    admin.groups.CreateGroup(group_pb2.CreateGroupRequest(group_id="pilot"))
    messages = set()
    for text in ("in_group(pilot)", "in_group(nobody)", "in_query(nobody)", "NOT in_query(nobody) OR device_id = a"):
        with fails(StatusCode.INVALID_ARGUMENT, "FILTER_VALUE_INVALID") as failure:
            engineer.listed(text)
        messages.add(failure.message)
    assert len(messages) == 1


def test_what_is_outside_holds_a_site_and_a_gateway_but_is_not_counted(engineer, admin):
    site = site_pb2.Site(ward_code=OURS)
    admin.sites.CreateSite(site_pb2.CreateSiteRequest(site_id="site-shared", site=site))
    admin.create("gw-shared", device_type="gateway", ward_code=OURS)
    for number, ward in enumerate((OURS, THEIRS, THEIRS)):
        admin.create(f"shared-{number}", ward_code=ward, gateway="gw-shared", site_id="site-shared")
    get = site_pb2.GetSiteRequest(name="sites/site-shared")
    listed = site_pb2.ListSitesRequest(filter="site_id = site-shared")
    for caller, count, told_count in ((admin, 3, "3"), (engineer, 1, None)):
        assert caller.sites.GetSite(get).device_count == count
        assert [found.device_count for found in caller.sites.ListSites(listed).sites] == [count]
        with fails(StatusCode.FAILED_PRECONDITION, "SITE_IN_USE") as failure:
            caller.sites.DeleteSite(site_pb2.DeleteSiteRequest(name="sites/site-shared"))
        assert failure.metadata.get("devices") == told_count
        with fails(StatusCode.FAILED_PRECONDITION, "GATEWAY_IN_USE") as failure:
            caller.devices.DeleteDevice(device_pb2.DeleteDeviceRequest(name="devices/gw-shared"))
        assert failure.metadata.get("devices_behind") == told_count
        with fails(StatusCode.FAILED_PRECONDITION, "GATEWAY_IN_USE") as failure:
            caller.update("gw-shared", device_type="gauge")
        assert failure.metadata.get("devices_behind") == told_count
        row = device_pb2.Device(name="devices/gw-shared", device_type="gauge", ward_code=OURS)
        (result,) = caller.imported(row, update_existing=True)
        assert [error.reason for error in result.errors] == ["GATEWAY_IN_USE"]
        told = "3 active devices" if caller is admin else "it is in use, by active devices of yours or of others"
        assert told in result.errors[0].description
    request = device_pb2.BulkDeleteDevicesRequest(
        filter="device_id = gw-shared OR device_id = shared-0",
        action=device_pb2.BulkDeleteDevicesRequest.ACTION_DELETE,
        validate_only=True,
    )
    for caller, told in ((admin, "2 active devices"), (engineer, "of yours or of others")):
        begun = caller.devices.BulkDeleteDevices(request)
        ended = OperationsStub(caller.channel).WaitOperation(operations_pb2.WaitOperationRequest(name=begun.name))
        metadata = device_pb2.BulkMetadata()
        ended.metadata.Unpack(metadata)
        (failed,) = metadata.failures
        assert told in failed.status.message
