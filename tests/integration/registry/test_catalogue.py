"""Metrics and device types over gRPC, and the errors of each call."""

from grpc import StatusCode

from cityfleet.registry.v1 import device_type_pb2 as type_pb
from cityfleet.registry.v1 import metric_pb2 as pb
from cityfleet.registry.v1.device_pb2 import CreateDeviceRequest, Device
from cityfleet.registry.v1.metric_pb2_grpc import MetricServiceStub
from tests.support.registry import running_registry
from tests.support.status import fails

Outcome = type_pb.ApplyDeviceTypeResponse


def test_a_newcomer_finds_metrics(stubs):
    found = {metric.name: metric for metric in stubs.metrics.ListMetrics(pb.ListMetricsRequest()).metrics}
    assert found["metrics/water_level_m"].unit == "m"
    assert found["metrics/pm2_5_ug_m3"].unit == "ug/m3"
    assert len(found) == 20


def test_a_metric_is_created_read_and_described_anew(stubs):
    request = pb.CreateMetricRequest(metric_id="wind_speed_m_s", metric=pb.Metric(unit="m/s", description="Wind"))
    created = stubs.metrics.CreateMetric(request)
    assert created.metric_num > 20
    assert stubs.metrics.GetMetric(pb.GetMetricRequest(name="metrics/wind_speed_m_s")) == created
    given = pb.Metric(name=created.name, description="Mean wind", etag=created.etag)
    updated = stubs.metrics.UpdateMetric(pb.UpdateMetricRequest(metric=given, update_mask={"paths": ["description"]}))
    assert (updated.description, updated.unit, updated.metric_num) == ("Mean wind", "m/s", created.metric_num)
    with fails(StatusCode.ABORTED, "ETAG_MISMATCH") as failure:
        stubs.metrics.UpdateMetric(pb.UpdateMetricRequest(metric=given, update_mask={"paths": ["*"]}))
    assert failure.metadata["etag"] == updated.etag


def test_a_metric_keeps_its_unit(stubs):
    given = pb.Metric(name="metrics/rain_mm", unit="cm")
    with fails(StatusCode.INVALID_ARGUMENT, "UNIT_IMMUTABLE") as failure:
        stubs.metrics.UpdateMetric(pb.UpdateMetricRequest(metric=given))
    assert failure.violations == [("metric.unit", "UNIT_IMMUTABLE")]
    with fails(StatusCode.INVALID_ARGUMENT, "FIELD_NOT_UPDATABLE"):
        stubs.metrics.UpdateMetric(pb.UpdateMetricRequest(metric=given, update_mask={"paths": ["unit"]}))


def test_wrong_metrics_are_refused(stubs):
    with fails(StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS"):
        stubs.metrics.CreateMetric(pb.CreateMetricRequest(metric_id="rain_mm", metric=pb.Metric(unit="mm")))
    with fails(StatusCode.INVALID_ARGUMENT, "INVALID_FIELDS") as failure:
        stubs.metrics.CreateMetric(pb.CreateMetricRequest(metric_id="Rain", metric=pb.Metric(unit="µ g")))
    assert failure.violations == [("metric_id", "METRIC_ID_INVALID"), ("unit", "UNIT_INVALID")]
    with fails(StatusCode.NOT_FOUND, "METRIC_NOT_FOUND") as failure:
        stubs.metrics.GetMetric(pb.GetMetricRequest(name="metrics/nothing"))
    assert failure.metadata == {"metric": "nothing"}
    with fails(StatusCode.INVALID_ARGUMENT, "NAME_INVALID"):
        stubs.metrics.GetMetric(pb.GetMetricRequest(name="rain_mm"))


def test_pages_of_the_catalogue_are_complete(stubs):
    whole = [metric.name for metric in stubs.metrics.ListMetrics(pb.ListMetricsRequest(page_size=1000)).metrics]
    request, paged = pb.ListMetricsRequest(page_size=4), []
    while True:
        page = stubs.metrics.ListMetrics(request)
        assert len(page.metrics) <= 4
        paged += [metric.name for metric in page.metrics]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert paged == whole
    with fails(StatusCode.INVALID_ARGUMENT, "PAGE_SIZE_NEGATIVE"):
        stubs.metrics.ListMetrics(pb.ListMetricsRequest(page_size=-1))
    with fails(StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"):
        stubs.metrics.ListMetrics(pb.ListMetricsRequest(page_token="nonsense"))


def test_applying_a_type_creates_updates_and_then_rests(stubs):
    first = stubs.apply_type("air", metrics=[{"metric": "pm10_ug_m3"}], expected_interval_s=300)
    assert (first.outcome, first.device_type.version) == (Outcome.OUTCOME_CREATED, 1)
    assert first.device_type.default_encoding == "senml-json"
    again = stubs.apply_type("air", metrics=[{"metric": "pm10_ug_m3"}], expected_interval_s=300)
    assert again.outcome == Outcome.OUTCOME_UNCHANGED
    assert again.device_type == first.device_type
    changed = stubs.apply_type("air", metrics=[{"metric": "pm10_ug_m3", "min_value": 0}], expected_interval_s=60)
    assert changed.outcome == Outcome.OUTCOME_UPDATED
    assert list(changed.changed_fields) == ["expected_interval_s", "metrics"]
    assert changed.device_type.version == 2
    assert changed.device_type.type_num == first.device_type.type_num
    assert changed.device_type.metrics[0].min_value == 0
    assert not changed.device_type.metrics[0].HasField("max_value")
    with fails(StatusCode.ABORTED, "ETAG_MISMATCH"):
        stubs.apply_type("air", etag=first.device_type.etag)
    assert stubs.types.GetDeviceType(type_pb.GetDeviceTypeRequest(name="deviceTypes/air")) == changed.device_type


def test_a_dry_run_of_a_type_changes_nothing(stubs):
    kind = type_pb.DeviceType(name="deviceTypes/planned")
    request = type_pb.ApplyDeviceTypeRequest(device_type=kind, validate_only=True)
    assert stubs.types.ApplyDeviceType(request).outcome == Outcome.OUTCOME_CREATED
    with fails(StatusCode.NOT_FOUND, "DEVICE_TYPE_NOT_FOUND"):
        stubs.types.GetDeviceType(type_pb.GetDeviceTypeRequest(name="deviceTypes/planned"))


def test_a_wrong_type_names_every_wrong_field(stubs):
    with fails(StatusCode.INVALID_ARGUMENT, "INVALID_FIELDS") as failure:
        stubs.apply_type(
            "Bad", default_encoding="morse", metrics=[{"metric": "rain_mm"}, {"metric": "depth"}, {"metric": "rain_mm"}]
        )
    assert failure.violations == [
        ("name", "TYPE_ID_INVALID"),
        ("default_encoding", "ENCODING_UNKNOWN"),
        ("metrics[1].metric", "METRIC_UNKNOWN"),
        ("metrics[2].metric", "METRIC_TWICE"),
    ]


def test_a_type_stays_a_gateway_while_devices_are_behind_it(stubs):
    stubs.apply_type("hub", is_gateway=True)
    stubs.devices.CreateDevice(CreateDeviceRequest(device_id="hub-1", device=Device(device_type="hub")))
    behind = Device(device_type="gauge", gateway="hub-1")
    stubs.devices.CreateDevice(CreateDeviceRequest(device_id="behind-1", device=behind))
    with fails(StatusCode.FAILED_PRECONDITION, "GATEWAY_IN_USE") as failure:
        stubs.apply_type("hub", is_gateway=False)
    assert failure.metadata["device"] == "behind-1"
    with fails(StatusCode.FAILED_PRECONDITION, "GATEWAY_IN_USE"):
        stubs.apply_type("gauge", is_gateway=True)


def test_types_are_listed_in_pages(stubs):
    request = type_pb.ListDeviceTypesRequest(page_size=1)
    first = stubs.types.ListDeviceTypes(request)
    assert first.device_types[0].name == "deviceTypes/gateway"
    request.page_token = first.next_page_token
    assert stubs.types.ListDeviceTypes(request).device_types[0].name == "deviceTypes/gauge"


def test_a_metric_taken_into_use_survives_a_restart(tmp_path, new_database):
    with running_registry(tmp_path, new_database()) as registry:
        with registry.channel() as channel:
            metrics = MetricServiceStub(channel)
            metrics.CreateMetric(pb.CreateMetricRequest(metric_id="tilt_deg", metric=pb.Metric(unit="deg")))
            before = metrics.ListMetrics(pb.ListMetricsRequest()).metrics
        registry.kill()
        registry.start()
        with registry.channel() as channel:
            assert MetricServiceStub(channel).ListMetrics(pb.ListMetricsRequest()).metrics == before


def test_a_metric_may_be_made_by_its_update(stubs):
    given = pb.Metric(name="metrics/tide_m", unit="m", description="Tide")
    with fails(StatusCode.NOT_FOUND, "METRIC_NOT_FOUND"):
        stubs.metrics.UpdateMetric(pb.UpdateMetricRequest(metric=given))
    request = pb.UpdateMetricRequest(metric=given, allow_missing=True)
    created = stubs.metrics.UpdateMetric(request)
    assert (created.unit, created.description) == ("m", "Tide")
    assert stubs.metrics.UpdateMetric(request) == created
    given.unit = "cm"
    with fails(StatusCode.INVALID_ARGUMENT, "UNIT_IMMUTABLE"):
        stubs.metrics.UpdateMetric(pb.UpdateMetricRequest(metric=given, allow_missing=True))


def test_a_dry_run_of_a_metric_changes_nothing(stubs):
    request = pb.CreateMetricRequest(metric_id="planned_m", metric=pb.Metric(unit="m"), validate_only=True)
    assert stubs.metrics.CreateMetric(request).unit == "m"
    with fails(StatusCode.NOT_FOUND, "METRIC_NOT_FOUND"):
        stubs.metrics.GetMetric(pb.GetMetricRequest(name="metrics/planned_m"))
    given = pb.Metric(name="metrics/rain_mm", description="Other")
    assert stubs.metrics.UpdateMetric(pb.UpdateMetricRequest(metric=given, validate_only=True)).description == "Other"
    assert stubs.metrics.GetMetric(pb.GetMetricRequest(name="metrics/rain_mm")).description != "Other"
