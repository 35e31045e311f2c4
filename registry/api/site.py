"""SiteService."""

from collections.abc import Sequence

from sqlalchemy import Connection

from cityfleet.registry.v1 import site_pb2 as pb
from cityfleet.registry.v1 import site_pb2_grpc
from registry.api.batch import check_batch, check_part
from registry.api.call import Call, called
from registry.api.masks import masked
from registry.api.names import created_id, id_of, optional_timestamp, timestamp
from registry.api.paging import page_of
from registry.devices.catalogue import etag
from registry.devices.counted import at_sites
from registry.filter.fields import SITES
from registry.filter.order import key_kinds, order_of
from registry.sites import listing, sites
from registry.sites.model import Site, SiteSpec
from registry.sites.sites import SiteChange

MAX_PAGE = 5000


class SiteServicer(site_pb2_grpc.SiteServiceServicer):
    @called
    async def CreateSite(self, request: pb.CreateSiteRequest, call: Call) -> pb.Site:
        spec = spec_of(created_id(request.site_id, request.site.name, "sites", "site_id"), request.site)
        return await call.change(_would_be if request.validate_only else message, sites.create_site, spec)

    @called
    async def GetSite(self, request: pb.GetSiteRequest, call: Call) -> pb.Site:
        site, count = await call.read(_counted, id_of(request.name, "sites"))
        return message(site, count)

    @called
    async def ListSites(self, request: pb.ListSitesRequest, call: Call) -> pb.ListSitesResponse:
        page, order = page_of(request, MAX_PAGE), order_of(request.order_by, SITES)
        after = page.after_of(key_kinds(order))
        found = await call.read(
            listing.list_sites, request.filter, order, after, page.limit, page.now_ms, request.show_deleted
        )
        token = page.token_after(found.last_key) if found.last_key else ""
        return pb.ListSitesResponse(sites=[message(*each) for each in found.sites], next_page_token=token)

    @called
    async def UpdateSite(self, request: pb.UpdateSiteRequest, call: Call) -> pb.Site:
        return await call.change(_with_count, _updated, _change_of(request))

    @called
    async def BatchGetSites(self, request: pb.BatchGetSitesRequest, call: Call) -> pb.BatchGetSitesResponse:
        check_batch("names", len(request.names))
        site_ids = [id_of(name, "sites", f"names[{at}]") for at, name in enumerate(request.names)]
        found = await call.read(_all_counted, site_ids, request.allow_missing)
        return pb.BatchGetSitesResponse(sites=[message(*each) for each in found])

    @called
    async def BatchUpdateSites(self, request: pb.BatchUpdateSitesRequest, call: Call) -> pb.BatchUpdateSitesResponse:
        check_batch("requests", len(request.requests))
        changes = []
        for at, each in enumerate(request.requests):
            check_part(f"requests[{at}]", each)
            changes.append(_change_of(each, f"requests[{at}]."))
        one = _would_be if request.validate_only else message

        def answer(found: list[tuple[Site, int]]) -> pb.BatchUpdateSitesResponse:
            return pb.BatchUpdateSitesResponse(sites=[one(*each) for each in found])

        return await call.change(answer, _all_updated, changes)

    @called
    async def DeleteSite(self, request: pb.DeleteSiteRequest, call: Call) -> pb.Site:
        return await call.change(message, sites.delete_site, id_of(request.name, "sites"), request.etag)

    @called
    async def BatchDeleteSites(self, request: pb.BatchDeleteSitesRequest, call: Call) -> pb.BatchDeleteSitesResponse:
        check_batch("requests", len(request.requests))
        wanted = []
        for at, each in enumerate(request.requests):
            check_part(f"requests[{at}]", each)
            wanted.append(sites.SiteDeletion(id_of(each.name, "sites", f"requests[{at}].name"), each.etag))

        def answer(deleted: list[Site]) -> pb.BatchDeleteSitesResponse:
            return pb.BatchDeleteSitesResponse(sites=[message(site) for site in deleted])

        return await call.change(answer, sites.delete_sites, wanted, allow_missing=request.allow_missing)

    @called
    async def UndeleteSite(self, request: pb.UndeleteSiteRequest, call: Call) -> pb.Site:
        return await call.change(message, sites.undelete_site, id_of(request.name, "sites"))


def spec_of(site_id: str, given: pb.Site) -> SiteSpec:
    """A ward that was found by the place, and comes back from a Get, is not the caller's word."""
    return SiteSpec(
        site_id=site_id,
        display_name=given.display_name,
        kind=given.kind or "other",
        latitude=given.latitude if given.HasField("latitude") else None,
        longitude=given.longitude if given.HasField("longitude") else None,
        ward_code="" if given.is_ward_derived else given.ward_code,
        labels=dict(given.labels),
    )


def message(site: Site, device_count: int = 0) -> pb.Site:
    spec = site.spec
    return pb.Site(
        name=f"sites/{spec.site_id}",
        display_name=spec.display_name,
        kind=spec.kind,
        latitude=spec.latitude,
        longitude=spec.longitude,
        ward_code=site.ward_code,
        is_ward_derived=site.is_ward_derived,
        labels=spec.labels,
        etag=etag(site.revision),
        device_count=device_count,
        create_time=timestamp(site.create_time_ms),
        update_time=timestamp(site.update_time_ms),
        delete_time=optional_timestamp(site.delete_time_ms),
        purge_time=optional_timestamp(site.purge_time_ms),
    )


def _change_of(request: pb.UpdateSiteRequest, prefix: str = "") -> SiteChange:
    """Args: prefix: what goes before the fields of what is wrong. Raises: InvalidError."""
    given = request.site
    fields, label_keys = masked(given, request.update_mask.paths, sites.UPDATABLE)
    spec = spec_of(id_of(given.name, "sites", f"{prefix}site.name"), given)
    return SiteChange(spec, fields, label_keys, given.etag, request.allow_missing)


def _would_be(site: Site, device_count: int = 0) -> pb.Site:
    answer = message(site, device_count)
    answer.ClearField("etag")
    return answer


def _counted(connection: Connection, site_id: str) -> tuple[Site, int]:
    site = sites.get_site(connection, site_id)
    return site, at_sites(connection, [site.site_num]).get(site.site_num, 0)


def _all_counted(connection: Connection, site_ids: Sequence[str], allow_missing: bool) -> list[tuple[Site, int]]:
    return _with_devices(connection, sites.get_sites(connection, site_ids, allow_missing=allow_missing))


def _all_updated(connection: Connection, changes: Sequence[SiteChange]) -> list[tuple[Site, int]]:
    return _with_devices(connection, sites.update_sites(connection, changes))


def _with_devices(connection: Connection, found: Sequence[Site]) -> list[tuple[Site, int]]:
    devices = at_sites(connection, [site.site_num for site in found])
    return [(site, devices.get(site.site_num, 0)) for site in found]


def _updated(connection: Connection, change: SiteChange) -> tuple[Site, int]:
    return _counted(connection, sites.update_site(connection, change).spec.site_id)


def _with_count(found: tuple[Site, int]) -> pb.Site:
    return message(*found)
