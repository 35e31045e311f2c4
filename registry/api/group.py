"""GroupService: groups and saved queries."""

from collections.abc import Iterable

from cityfleet.registry.v1 import group_pb2 as pb
from cityfleet.registry.v1 import group_pb2_grpc
from registry.api.call import Call, called
from registry.api.names import created_id, id_of, timestamp
from registry.api.paging import page_of
from registry.db import groups as db
from registry.devices.catalogue import etag
from registry.errors import InvalidError, Violation
from registry.groups import groups, queries
from registry.groups.model import Group, SavedQuery

MAX_PAGE = 1000


class GroupServicer(group_pb2_grpc.GroupServiceServicer):
    @called
    async def CreateGroup(self, request: pb.CreateGroupRequest, call: Call) -> pb.Group:
        group_id, given = created_id(request.group_id, request.group.name, "groups", "group_id"), request.group
        return await call.change(_group, groups.create_group, group_id, given.display_name, given.description)

    @called
    async def GetGroup(self, request: pb.GetGroupRequest, call: Call) -> pb.Group:
        return _group(await call.read(groups.get_group, id_of(request.name, "groups")))

    @called
    async def ListGroups(self, request: pb.ListGroupsRequest, call: Call) -> pb.ListGroupsResponse:
        page = page_of(request, MAX_PAGE)
        (start,) = page.after_of([int]) or (0,)
        found = await call.read(db.list_groups, int(start), page.limit + 1)
        token = page.token_after((found[page.limit - 1].group_num,)) if len(found) > page.limit else ""
        return pb.ListGroupsResponse(groups=map(_group, found[: page.limit]), next_page_token=token)

    @called
    async def UpdateGroup(self, request: pb.UpdateGroupRequest, call: Call) -> pb.Group:
        given, group_id = request.group, id_of(request.group.name, "groups", "group.name")
        fields = _updated(request.update_mask.paths, given, groups.UPDATABLE)
        name = given.display_name if "display_name" in fields else None
        description = given.description if "description" in fields else None
        return await call.change(_group, groups.update_group, group_id, name, description, given.etag)

    @called
    async def DeleteGroup(self, request: pb.DeleteGroupRequest, call: Call) -> pb.DeleteGroupResponse:
        group_id = id_of(request.name, "groups")
        return await call.change(lambda _: pb.DeleteGroupResponse(), groups.delete_group, group_id, request.etag)

    @called
    async def ModifyGroupMembers(self, request: pb.ModifyGroupMembersRequest, call: Call) -> pb.Group:
        added = [id_of(name, "devices", f"add_devices[{at}]") for at, name in enumerate(request.add_devices)]
        removed = [id_of(name, "devices", f"remove_devices[{at}]") for at, name in enumerate(request.remove_devices)]
        group_id = id_of(request.name, "groups")
        return await call.change(_group, groups.modify_members, group_id, added, removed, request.etag)

    @called
    async def CreateSavedQuery(self, request: pb.CreateSavedQueryRequest, call: Call) -> pb.SavedQuery:
        given = request.saved_query
        query_id = created_id(request.saved_query_id, given.name, "savedQueries", "saved_query_id")
        return await call.change(_query, queries.create_query, query_id, given.display_name, given.filter)

    @called
    async def GetSavedQuery(self, request: pb.GetSavedQueryRequest, call: Call) -> pb.SavedQuery:
        return _query(await call.read(queries.get_query, id_of(request.name, "savedQueries")))

    @called
    async def ListSavedQueries(self, request: pb.ListSavedQueriesRequest, call: Call) -> pb.ListSavedQueriesResponse:
        page = page_of(request, MAX_PAGE)
        (start,) = page.after_of([str]) or ("",)
        found = await call.read(db.list_queries, str(start), page.limit + 1)
        token = page.token_after((found[page.limit - 1].saved_query_id,)) if len(found) > page.limit else ""
        return pb.ListSavedQueriesResponse(saved_queries=map(_query, found[: page.limit]), next_page_token=token)

    @called
    async def UpdateSavedQuery(self, request: pb.UpdateSavedQueryRequest, call: Call) -> pb.SavedQuery:
        given, query_id = request.saved_query, id_of(request.saved_query.name, "savedQueries", "saved_query.name")
        fields = _updated(request.update_mask.paths, given, queries.UPDATABLE)
        name = given.display_name if "display_name" in fields else None
        filter_text = given.filter if "filter" in fields else None
        return await call.change(_query, queries.update_query, query_id, name, filter_text, given.etag)

    @called
    async def DeleteSavedQuery(self, request: pb.DeleteSavedQueryRequest, call: Call) -> pb.DeleteSavedQueryResponse:
        query_id = id_of(request.name, "savedQueries")
        return await call.change(lambda _: pb.DeleteSavedQueryResponse(), queries.delete_query, query_id, request.etag)


def _updated(paths: Iterable[str], given: pb.Group | pb.SavedQuery, updatable: tuple[str, ...]) -> set[str]:
    """The fields that an update mask names. Raises: InvalidError."""
    named = set(paths)
    if unknown := named - {*updatable, "*"}:
        text = f"`{min(unknown)[:80]}` cannot be updated; fields are {', '.join(updatable)}, * for all"
        raise InvalidError([Violation("update_mask", "FIELD_NOT_UPDATABLE", text)])
    if "*" in named:
        return set(updatable)
    return named or {field.name for field, _ in given.ListFields()}


def _group(group: Group) -> pb.Group:
    return pb.Group(
        name=f"groups/{group.group_id}",
        display_name=group.display_name,
        description=group.description,
        member_count=group.member_count,
        etag=etag(group.revision),
        create_time=timestamp(group.create_time_ms),
        update_time=timestamp(group.update_time_ms),
    )


def _query(query: SavedQuery) -> pb.SavedQuery:
    return pb.SavedQuery(
        name=f"savedQueries/{query.saved_query_id}",
        display_name=query.display_name,
        filter=query.filter,
        etag=etag(query.revision),
        create_time=timestamp(query.create_time_ms),
        update_time=timestamp(query.update_time_ms),
    )
