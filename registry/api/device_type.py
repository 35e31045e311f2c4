"""DeviceTypeService."""

from cityfleet.registry.v1 import device_type_pb2 as pb
from cityfleet.registry.v1 import device_type_pb2_grpc
from registry.api.call import Call, called
from registry.api.decoder import decoder_message, decoder_of, vector_message, vector_of
from registry.api.names import id_of, timestamp, versioned
from registry.api.paging import page_of
from registry.api.quality import tests_message, tests_of
from registry.db import catalogue as db
from registry.devices import catalogue
from registry.devices.catalogue import etag
from registry.devices.model import CommandSchema, DeviceType, TypeMetric, TypeSpec

MAX_PAGE = 1000
_ANY_VERSION = (1 << 31) - 1
_OUTCOMES = {
    "created": pb.ApplyDeviceTypeResponse.OUTCOME_CREATED,
    "updated": pb.ApplyDeviceTypeResponse.OUTCOME_UPDATED,
    "unchanged": pb.ApplyDeviceTypeResponse.OUTCOME_UNCHANGED,
}


class DeviceTypeServicer(device_type_pb2_grpc.DeviceTypeServiceServicer):
    @called
    async def ApplyDeviceType(self, request: pb.ApplyDeviceTypeRequest, call: Call) -> pb.ApplyDeviceTypeResponse:
        spec, given_etag = spec_of(request.device_type), request.device_type.etag
        answer = _planned if request.validate_only else _applied
        return await call.change(answer, catalogue.apply_type, spec, given_etag)

    @called
    async def GetDeviceType(self, request: pb.GetDeviceTypeRequest, call: Call) -> pb.DeviceType:
        type_id, version = versioned(request.name, "deviceTypes")
        if version is None:
            return message(await call.read(catalogue.get_type, type_id))
        return revision_message(await call.read(catalogue.get_type_version, type_id, version))

    @called
    async def ListDeviceTypes(self, request: pb.ListDeviceTypesRequest, call: Call) -> pb.ListDeviceTypesResponse:
        page = page_of(request, MAX_PAGE)
        found = await call.read(db.list_types, page.after_number(), page.limit + 1)
        token = page.token_after((found[page.limit - 1].type_num,)) if len(found) > page.limit else ""
        return pb.ListDeviceTypesResponse(device_types=map(message, found[: page.limit]), next_page_token=token)

    @called
    async def ListDeviceTypeRevisions(
        self, request: pb.ListDeviceTypeRevisionsRequest, call: Call
    ) -> pb.ListDeviceTypeRevisionsResponse:
        type_id = id_of(request.name, "deviceTypes")
        page = page_of(request, MAX_PAGE)
        below = page.after_number() or _ANY_VERSION
        found = await call.read(catalogue.type_versions, type_id, below, page.limit + 1)
        token = page.token_after((found[page.limit - 1].version,)) if len(found) > page.limit else ""
        revisions = map(revision_message, found[: page.limit])
        return pb.ListDeviceTypeRevisionsResponse(device_types=revisions, next_page_token=token)

    @called
    async def DeleteDeviceType(self, request: pb.DeleteDeviceTypeRequest, call: Call) -> pb.DeleteDeviceTypeResponse:
        type_id = id_of(request.name, "deviceTypes")
        return await call.change(_deleted, catalogue.delete_type, type_id, request.etag)


def _planned(applied: catalogue.Applied) -> pb.ApplyDeviceTypeResponse:
    """Without what only a real change brings."""
    answer = _applied(applied)
    if applied.outcome != "unchanged":
        for field in ("etag", "update_time", *(("create_time", "type_num") if applied.outcome == "created" else ())):
            answer.device_type.ClearField(field)
    return answer


def _deleted(_: None) -> pb.DeleteDeviceTypeResponse:
    return pb.DeleteDeviceTypeResponse()


def revision_message(kind: DeviceType) -> pb.DeviceType:
    """One version of a type; it never changes, so it has no etag, and can be applied whatever the type is by now."""
    revision = message(kind)
    revision.name += f"@{kind.version}"
    revision.etag = ""
    return revision


def _applied(applied: catalogue.Applied) -> pb.ApplyDeviceTypeResponse:
    return pb.ApplyDeviceTypeResponse(
        device_type=message(applied.device_type), outcome=_OUTCOMES[applied.outcome], changed_fields=applied.changed
    )


def spec_of(given: pb.DeviceType) -> TypeSpec:
    """Raises: InvalidError if the name is of another shape."""
    return TypeSpec(
        type_id=id_of(given.name, "deviceTypes", "device_type.name"),
        display_name=given.display_name,
        description=given.description,
        is_gateway=given.is_gateway,
        default_encoding=given.default_encoding or "senml-json",
        expected_interval_s=given.expected_interval_s,
        metrics=tuple(
            TypeMetric(
                entry.metric,
                entry.min_value if entry.HasField("min_value") else None,
                entry.max_value if entry.HasField("max_value") else None,
                entry.source,
                entry.source_unit,
                entry.resolution,
                entry.expected_interval_s,
                tests_of(entry.tests),
            )
            for entry in given.metrics
        ),
        decoder=decoder_of(given.decoder),
        vectors=tuple(map(vector_of, given.vectors)),
        config_schema=given.config_schema,
        commands=tuple(
            CommandSchema(
                entry.command, entry.description, entry.parameters_schema, entry.result_schema, entry.is_idempotent
            )
            for entry in given.commands
        ),
        hardware_revisions=tuple(given.hardware_revisions),
    )


def message(kind: DeviceType) -> pb.DeviceType:
    spec = kind.spec
    is_stored = kind.type_num > 0
    return pb.DeviceType(
        name=f"deviceTypes/{spec.type_id}",
        type_num=kind.type_num,
        display_name=spec.display_name,
        description=spec.description,
        is_gateway=spec.is_gateway,
        default_encoding=spec.default_encoding,
        expected_interval_s=spec.expected_interval_s,
        metrics=[
            pb.DeviceTypeMetric(
                metric=entry.metric,
                min_value=entry.min_value,
                max_value=entry.max_value,
                source=entry.source,
                source_unit=entry.source_unit,
                resolution=entry.resolution,
                expected_interval_s=entry.expected_interval_s,
                tests=tests_message(entry.tests),
            )
            for entry in spec.metrics
        ],
        decoder=decoder_message(spec.decoder),
        vectors=map(vector_message, spec.vectors),
        config_schema=spec.config_schema,
        commands=[
            pb.CommandSchema(
                command=entry.command,
                description=entry.description,
                parameters_schema=entry.parameters_schema,
                result_schema=entry.result_schema,
                is_idempotent=entry.is_idempotent,
            )
            for entry in spec.commands
        ],
        hardware_revisions=spec.hardware_revisions,
        version=kind.version,
        etag=etag(kind.revision) if is_stored else "",
        create_time=timestamp(kind.create_time_ms) if is_stored else None,
        update_time=timestamp(kind.update_time_ms) if is_stored else None,
    )
