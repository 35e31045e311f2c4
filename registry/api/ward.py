"""WardService."""

from collections.abc import AsyncIterator

from cityfleet.registry.v1 import site_pb2 as pb
from cityfleet.registry.v1 import site_pb2_grpc
from registry.api.call import Call, called
from registry.api.names import timestamp
from registry.api.paging import page_of
from registry.db import wards as db
from registry.devices.rules import check_place
from registry.devices.wards import PROVINCE_CODE, Ward, wards
from registry.errors import InvalidError, Violation
from registry.wards import loading
from registry.wards.boundaries import MAX_BYTES
from registry.wards.loading import Loaded
from registry.wards.locate import ward_map

MAX_PAGE = 1000


class WardServicer(site_pb2_grpc.WardServiceServicer):
    @called
    async def ListWards(self, request: pb.ListWardsRequest, call: Call) -> pb.ListWardsResponse:
        page = page_of(request, MAX_PAGE)
        known, start = list(wards().values()), page.after_number()
        end = start + page.limit
        sources = await call.read(db.boundary_sources)
        return pb.ListWardsResponse(
            wards=[_message(ward, sources.get(ward.code)) for ward in known[start:end]],
            next_page_token=page.token_after((end,)) if end < len(known) else "",
        )

    @called
    async def LocateWard(self, request: pb.LocateWardRequest, call: Call) -> pb.LocateWardResponse:
        if found := check_place(request.latitude, request.longitude):
            raise InvalidError(found)
        boundaries = await call.read(ward_map)
        return pb.LocateWardResponse(ward_code=boundaries.locate(request.latitude, request.longitude))

    @called
    async def LoadWardBoundaries(
        self, requests: AsyncIterator[pb.LoadWardBoundariesRequest], call: Call
    ) -> pb.LoadWardBoundariesResponse:
        first: pb.LoadWardBoundariesRequest | None = None
        geojson = bytearray()
        async for request in requests:
            first = first or request
            geojson += request.geojson
            if len(geojson) > MAX_BYTES:
                text = f"more than {MAX_BYTES >> 20} MB; simplify the boundaries (as ogr2ogr -simplify 0.00005)"
                raise InvalidError([Violation("geojson", "GEOJSON_TOO_LARGE", text)])
        first = first or pb.LoadWardBoundariesRequest()
        # The frame sees a stream, not its first message.
        call.is_dry_run = first.validate_only
        return await call.change(
            _loaded, loading.load_boundaries, bytes(geojson), first.code_property, first.source, first.reassign
        )


def _message(ward: Ward, boundary: tuple[str, int] | None) -> pb.Ward:
    return pb.Ward(
        name=f"wards/{ward.code}",
        display_name=ward.name,
        kind=ward.kind,
        province_code=PROVINCE_CODE,
        has_boundary=boundary is not None,
        boundary_source=boundary[0] if boundary else "",
        boundary_time=timestamp(boundary[1]) if boundary else None,
    )


def _loaded(loaded: Loaded) -> pb.LoadWardBoundariesResponse:
    return pb.LoadWardBoundariesResponse(
        boundaries=loaded.boundaries,
        missing_ward_codes=loaded.missing,
        sites_moved=loaded.sites_moved,
        devices_moved=loaded.devices_moved,
    )
