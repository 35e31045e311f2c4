"""MetricService."""

from cityfleet.registry.v1 import metric_pb2 as pb
from cityfleet.registry.v1 import metric_pb2_grpc
from registry.api.call import Call, called
from registry.api.names import created_id, id_of, timestamp
from registry.api.paging import page_of
from registry.db import catalogue as db
from registry.devices import catalogue
from registry.devices.catalogue import etag
from registry.devices.model import Metric
from registry.errors import InvalidError, Violation

MAX_PAGE = 1000


class MetricServicer(metric_pb2_grpc.MetricServiceServicer):
    @called
    async def CreateMetric(self, request: pb.CreateMetricRequest, call: Call) -> pb.Metric:
        metric_id = created_id(request.metric_id, request.metric.name, "metrics", "metric_id")
        given = request.metric
        return await call.change(message, catalogue.create_metric, metric_id, given.unit, given.description)

    @called
    async def GetMetric(self, request: pb.GetMetricRequest, call: Call) -> pb.Metric:
        return message(await call.read(catalogue.get_metric, id_of(request.name, "metrics")))

    @called
    async def ListMetrics(self, request: pb.ListMetricsRequest, call: Call) -> pb.ListMetricsResponse:
        page = page_of(request, MAX_PAGE)
        found = await call.read(db.list_metrics, page.after_number(), page.limit + 1)
        token = page.token_after((found[page.limit - 1].metric_num,)) if len(found) > page.limit else ""
        return pb.ListMetricsResponse(metrics=map(message, found[: page.limit]), next_page_token=token)

    @called
    async def UpdateMetric(self, request: pb.UpdateMetricRequest, call: Call) -> pb.Metric:
        given = request.metric
        metric_id = id_of(given.name, "metrics", "metric.name")
        paths = list(request.update_mask.paths)
        for path in paths:
            if path not in ("description", "*"):
                text = f"`{path}` cannot be updated, only description can; for another unit create another metric"
                raise InvalidError([Violation("update_mask", "FIELD_NOT_UPDATABLE", text)])
        return await call.change(
            message,
            catalogue.update_metric,
            metric_id,
            given.unit,
            given.description if paths or given.description else None,
            given.etag,
            allow_missing=request.allow_missing,
        )


def message(metric: Metric) -> pb.Metric:
    return pb.Metric(
        name=f"metrics/{metric.metric_id}",
        metric_num=metric.metric_num,
        unit=metric.unit,
        description=metric.description,
        etag=etag(metric.revision),
        create_time=timestamp(metric.create_time_ms),
        update_time=timestamp(metric.update_time_ms),
    )
