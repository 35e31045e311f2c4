"""Bad input that several methods share: each has its answer, the same from every method that can be given it."""

import json

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass

from cityfleet.registry.v1 import device_pb2 as pb
from cityfleet.registry.v1 import site_pb2
from cityfleet.registry.v1.site_pb2_grpc import SiteServiceStub, WardServiceStub
from registry.services import NAMES
from tests.integration.registry.test_dry_runs import TRIED
from tests.support.status import fails

INVALID = grpc.StatusCode.INVALID_ARGUMENT
COLLECTIONS = {
    "Device": "devices",
    "Site": "sites",
    "Group": "groups",
    "SavedQuery": "savedQueries",
    "Metric": "metrics",
    "DeviceType": "deviceTypes",
    "Account": "accounts",
    "Operator": "operators",
}
PARENTS = {"ListDevicePlacements": "devices/old", "ListAccessTokens": "accounts/old"}


def methods():
    pool = pb.DESCRIPTOR.pool
    for service in NAMES:
        if service.startswith("cityfleet."):
            yield from pool.FindServiceByName(service).methods


def with_etag():
    """Methods that take one: of the resource in the request, or beside its name. Name, kind of resource."""
    for method in methods():
        for kind in COLLECTIONS:
            if method.name.endswith(kind) and method.name.removesuffix(kind) in (
                "Update",
                "Apply",
                "Delete",
                "Decommission",
            ):
                request = method.input_type
                held = [field.message_type for field in request.fields if field.message_type is not None]
                if "etag" in request.fields_by_name or any("etag" in inner.fields_by_name for inner in held):
                    yield pytest.param(method, kind, id=method.name)


def lists():
    for method in methods():
        fields = method.input_type.fields_by_name
        if "page_token" in fields and "page_size" in fields:
            yield pytest.param(method, id=method.name)


def call(stubs, method, request):
    handler = stubs.channel.unary_unary(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    if method.server_streaming:
        handler = stubs.channel.unary_stream(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        return list(handler(request, timeout=60))
    return handler(request, timeout=60)


def request_of(method):
    request = GetMessageClass(method.input_type)()
    for field in ("parent", "name"):
        if method.name in PARENTS and field in method.input_type.fields_by_name:
            setattr(request, field, PARENTS[method.name])
    if method.name == "ListDeviceTypeRevisions":
        request.name = "deviceTypes/old"
    return request


@pytest.fixture(scope="module")
def old(stubs):
    """One of each kind, called `old`."""
    made = {}
    by_name = {method.name: method for method in methods()}
    for kind in COLLECTIONS:
        verb, id_field = ("Apply", "") if kind == "DeviceType" else ("Create", f"{_snake(kind)}_id")
        method = by_name[f"{verb}{kind}"]
        request = GetMessageClass(method.input_type)()
        resource = getattr(request, _snake(kind))
        resource.SetInParent()
        if id_field:
            setattr(request, id_field, "old")
        else:
            resource.name = "deviceTypes/old"
        if kind == "Device":
            resource.device_type = "gauge"
        elif kind == "Metric":
            resource.unit = "m"
        elif kind == "SavedQuery":
            resource.filter = "health = bad"
        elif kind == "Operator":
            resource.subscribe_filters.append("cf/v1/#")
        made[kind] = call(stubs, method, request)
    return made


def _snake(kind):
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind).lstrip("_")


def test_the_methods_are_found():
    assert len(list(with_etag())) >= 14
    assert len(list(lists())) >= 10
    assert len(list(filtered())) >= 9


@pytest.mark.parametrize(("method", "kind"), list(with_etag()))
def test_a_stale_etag_is_refused_and_changes_nothing(stubs, old, method, kind):
    request = GetMessageClass(method.input_type)()
    name = f"{COLLECTIONS[kind]}/old"
    if "etag" in method.input_type.fields_by_name:
        request.name, request.etag = name, '"1"'
    else:
        resource = getattr(request, _snake(kind))
        resource.name, resource.etag = name, '"1"'
        described = "description" if kind == "Metric" else "display_name"
        setattr(resource, described, "changed")
        if kind != "DeviceType":
            request.update_mask.paths.append(described)
    with fails(grpc.StatusCode.ABORTED, "ETAG_MISMATCH") as told:
        call(stubs, method, request)
    assert name in told.message
    get = next(each for each in methods() if each.name == f"Get{kind}")
    there = call(stubs, get, GetMessageClass(get.input_type)(name=name))
    assert "changed" not in (getattr(there, "display_name", ""), getattr(there, "description", ""))


def test_one_stale_etag_of_a_batch_stops_it_whole(stubs, old):
    """Of two engineers who edit the same devices the second is told, and has changed none."""
    names = [f"devices/pair-{at}" for at in range(3)]
    new = [{"device_id": name.removeprefix("devices/"), "device": {"device_type": "gauge"}} for name in names]
    made = stubs.devices.BatchCreateDevices(pb.BatchCreateDevicesRequest(requests=new)).created
    etags = {each.device.name: each.device.etag for each in made}

    def rename(display_name: str) -> None:
        changes = [
            {
                "device": {"name": name, "display_name": display_name, "etag": etags[name]},
                "update_mask": {"paths": ["display_name"]},
            }
            for name in names
        ]
        stubs.devices.BatchUpdateDevices(pb.BatchUpdateDevicesRequest(requests=changes))

    def shown() -> list[tuple[str, str]]:
        found = stubs.devices.BatchGetDevices(pb.BatchGetDevicesRequest(names=names)).devices
        return [(device.display_name, device.etag) for device in found]

    first = pb.UpdateDeviceRequest(device={"name": names[1], "display_name": "first", "etag": etags[names[1]]})
    stubs.devices.UpdateDevice(first)
    with fails(grpc.StatusCode.ABORTED, "ETAG_MISMATCH") as told:
        rename("second")
    assert names[1] in told.message
    assert [name for name, _ in shown()] == ["", "first", ""]
    etags[names[1]] = shown()[1][1]
    rename("second")
    assert [name for name, _ in shown()] == ["second"] * 3


@pytest.mark.parametrize("method", list(lists()))
@pytest.mark.parametrize("token", ["x", "gaFhAQ=="], ids=["no token", "a forged one"])
def test_a_foreign_page_token_is_refused(stubs, old, method, token):
    request = request_of(method)
    request.page_token = token
    with fails(INVALID, "PAGE_TOKEN_INVALID"):
        call(stubs, method, request)


@pytest.mark.parametrize("method", list(lists()))
def test_a_negative_page_size_is_refused(stubs, old, method):
    request = request_of(method)
    request.page_size = -1
    with fails(INVALID, "PAGE_SIZE_NEGATIVE"):
        call(stubs, method, request)


def filtered():
    """Methods that take a filter, in the request or in the resource; of operations it is another language."""
    for method in methods():
        fields = method.input_type.fields_by_name
        if "filter" in fields:
            yield pytest.param(method, ("filter",), id=method.name)
        for field in fields.values():
            if field.message_type is not None and "filter" in field.message_type.fields_by_name:
                yield pytest.param(method, (field.name, "filter"), id=method.name)


@pytest.mark.parametrize(("method", "path"), list(filtered()))
def test_a_filter_of_100_kb_is_refused(stubs, old, method, path):
    for text, reason in (("a" * 100_000, "FILTER_TOO_LONG"), ("colour = red", "FILTER_FIELD_UNKNOWN")):
        request = request_of(method)
        holder = request
        for name in path[:-1]:
            holder = getattr(holder, name)
            holder.name = "savedQueries/old"
        holder.filter = text
        if "group_by" in method.input_type.fields_by_name:
            request.group_by.append("ward_code")
        if method.name == "BulkDeleteDevices":
            request.action = request.ACTION_DELETE
        if method.name == "BulkUpdateDevices":
            request.device.display_name = "x"
            request.update_mask.paths.append("display_name")
        if method.name == "CreateSavedQuery":
            request.saved_query_id = "new"
            request.saved_query.ClearField("name")
        with fails(INVALID, reason):
            call(stubs, method, request)


@pytest.mark.parametrize(
    "method", [each for each in lists() if {"filter", "order_by"} & set(each.values[0].input_type.fields_by_name)]
)
def test_a_page_token_is_of_its_own_query(stubs, old, method):
    if method.name == "ListDevices":
        stubs.devices.CreateDevice(pb.CreateDeviceRequest(device_id="second", device=pb.Device(device_type="gauge")))
    if method.name == "ListSites":
        SiteServiceStub(stubs.channel).CreateSite(site_pb2.CreateSiteRequest(site_id="second"))
    request = request_of(method)
    request.page_size = 1
    request.page_token = call(stubs, method, request).next_page_token
    assert request.page_token
    call(stubs, method, request)
    request.filter = 'actor = "accounts/admin"' if method.name == "ListAuditEvents" else "create_time > 2000-01-01"
    with fails(INVALID, "PAGE_TOKEN_OF_OTHER_REQUEST"):
        call(stubs, method, request)


def test_an_id_is_given_once(stubs, old):
    request = pb.CreateDeviceRequest(device_id="once", device=pb.Device(device_type="gauge"))
    stubs.devices.CreateDevice(request)
    with fails(grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS") as told:
        stubs.devices.CreateDevice(request)
    assert told.metadata["device"] == "once"
    twice = pb.CreateDeviceRequest(device_id="twice", device=pb.Device(device_type="gauge"))
    with fails(INVALID, "GIVEN_TWICE"):
        stubs.devices.BatchCreateDevices(pb.BatchCreateDevicesRequest(requests=[twice, twice]))
    rows = [pb.ImportRow(row=at, device=pb.Device(name="devices/twice", device_type="gauge")) for at in range(3)]
    rows[2].device.display_name = "another"
    (answer,) = stubs.devices.ImportDevices(iter([pb.ImportDevicesRequest(rows=rows)]))
    outcome = pb.ImportRowResult.Outcome
    assert [result.outcome for result in answer.results][:1] == [outcome.OUTCOME_CREATED]
    assert answer.results[2].outcome == outcome.OUTCOME_FAILED


def test_a_place_outside_every_ward_is_taken_without_a_ward(stubs, old):
    at_sea = {"latitude": 20.0, "longitude": 107.5}
    device = pb.Device(device_type="gauge", **at_sea)
    created = stubs.devices.CreateDevice(pb.CreateDeviceRequest(device_id="at-sea", device=device)).device
    assert (created.ward_code, created.latitude) == ("", 20.0)
    site = site_pb2.CreateSiteRequest(site_id="at-sea", site=site_pb2.Site(**at_sea))
    assert SiteServiceStub(stubs.channel).CreateSite(site).ward_code == ""
    assert WardServiceStub(stubs.channel).LocateWard(site_pb2.LocateWardRequest(**at_sea)).ward_code == ""
    listed = stubs.devices.ListDevices(pb.ListDevicesRequest(filter='ward_code = "" AND near(20.0, 107.5, 10)'))
    assert [each.name for each in listed.devices] == ["devices/at-sea"]


def test_an_error_arrives_however_much_was_wrong(stubs, old):
    """Clients take 8 KiB of headers: a larger status would be lost, and its code with it."""
    device = pb.Device(device_type="nothing")
    many = [pb.CreateDeviceRequest(device_id=f"wrong-{number}", device=device) for number in range(1000)]
    with fails(INVALID, "INVALID_FIELDS") as told:
        stubs.devices.BatchCreateDevices(pb.BatchCreateDevicesRequest(requests=many))
    assert told.violations[0] == ("requests[0].device_type", "DEVICE_TYPE_UNKNOWN")
    assert len(told.violations) < 1000
    assert told.metadata["violations"] == "1000"
    for name in ("x" * 100_000, "Đ" * 100_000):
        with fails(INVALID, "NAME_INVALID"):
            stubs.devices.GetDevice(pb.GetDeviceRequest(name=name))
        with fails(grpc.StatusCode.NOT_FOUND, "DEVICE_NOT_FOUND") as told:
            stubs.devices.GetDevice(pb.GetDeviceRequest(name=f"devices/{name}"))
        assert told.message.endswith("…")


def text_paths(kind, depth=3):
    for field in kind.fields:
        inner = field.message_type
        if inner is None or inner.GetOptions().map_entry:
            if inner is not None or field.type == field.TYPE_STRING:
                yield (field.name,)
        elif depth:
            yield from ((field.name, *rest) for rest in text_paths(inner, depth - 1))


def put_nul(message, path):
    *parents, last = path
    for name in parents:
        held = getattr(message, name)
        if message.DESCRIPTOR.fields_by_name[name].is_repeated:
            message = held[0] if len(held) else held.add()
        else:
            held.SetInParent()
            message = held
    held, field = getattr(message, last), message.DESCRIPTOR.fields_by_name[last]
    if field.message_type is not None:
        held["a\0"] = "b"
    elif field.is_repeated:
        held.append("a\0")
    else:
        setattr(message, last, f"{held}\0")


def test_a_text_with_nul_is_no_trouble_of_the_database(stubs, old):
    """PostgreSQL keeps none: an answer that asks to try again would be no answer."""
    tried = json.loads(json.dumps(TRIED).replace("there", "old").replace("gone", "old"))
    count = 0
    for method in methods():
        if method.client_streaming or method.server_streaming:
            continue
        for path in text_paths(method.input_type):
            request = GetMessageClass(method.input_type)(**tried.get(method.name, {}))
            request.MergeFrom(request_of(method))
            if "validate_only" in method.input_type.fields_by_name:
                request.validate_only = True
            put_nul(request, path)
            try:
                call(stubs, method, request)
            except grpc.RpcError as exc:
                said = f"{method.name} {path}: {exc.code()} {exc.details()}"
                assert exc.code() not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE), said
                assert exc.code() is not grpc.StatusCode.UNKNOWN, said
            count += 1
    assert count > 200


@pytest.mark.parametrize("kind", ["unary_unary", "stream_stream"])
def test_a_method_that_is_not_there_is_named(stubs, kind):
    method = getattr(stubs.channel, kind)("/cityfleet.registry.v1.DeviceService/FlyDevice")
    with fails(grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN") as told:
        answer = method(iter([b""]) if kind == "stream_stream" else b"", timeout=60)
        list(answer if kind == "stream_stream" else ())
    assert told.metadata["method"] == "cityfleet.registry.v1.DeviceService/FlyDevice"


@pytest.mark.parametrize(
    "body", [b"\xff\xff\xff", b"\x0a\x03a\xffb", b"\x0a\x7f"], ids=["noise", "no utf-8", "cut off"]
)
def test_bytes_that_are_no_request_are_refused(stubs, old, body):
    service = "/cityfleet.registry.v1.DeviceService"
    with fails(INVALID, "REQUEST_UNREADABLE"):
        stubs.channel.unary_unary(f"{service}/GetDevice")(body, timeout=60)
    with fails(INVALID, "REQUEST_UNREADABLE"):
        list(stubs.channel.unary_stream(f"{service}/WatchDevices")(body, timeout=60))
    good = pb.ImportDevicesRequest(rows=[pb.ImportRow(device=pb.Device(name="devices/old", device_type="gauge"))])
    answers = stubs.channel.stream_stream(f"{service}/ImportDevices")(
        iter([good.SerializeToString(), body]), timeout=60
    )
    with fails(INVALID, "REQUEST_UNREADABLE"):
        for answer in answers:
            assert pb.ImportDevicesResponse.FromString(answer).results[0].row == 0
