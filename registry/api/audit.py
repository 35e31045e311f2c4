"""AuditService."""

from sqlalchemy import Connection

from cityfleet.registry.v1 import access_pb2 as pb
from cityfleet.registry.v1 import access_pb2_grpc
from registry.api.call import Call, called
from registry.api.names import timestamp
from registry.api.paging import page_of
from registry.audit import verify
from registry.audit.event import Event
from registry.db import audit as db
from registry.db.audit_list import Page, list_events
from registry.errors import InvalidError, Violation
from registry.filter.check import condition_of
from registry.filter.fields import AUDIT_EVENTS

MAX_PAGE = 1000
# By order_by: whether the newest is first.
_ORDERS = {"": True, "event_time desc": True, "event_time": False, "event_time asc": False}


class AuditServicer(access_pb2_grpc.AuditServiceServicer):
    @called
    async def ListAuditEvents(self, request: pb.ListAuditEventsRequest, call: Call) -> pb.ListAuditEventsResponse:
        page = page_of(request, MAX_PAGE)
        newest_first = _ORDERS.get(" ".join(request.order_by.split()))
        if newest_first is None:
            text = "`event_time desc` (the default) or `event_time`"
            raise InvalidError([Violation("order_by", "ORDER_FIELD_UNKNOWN", text)])
        condition = condition_of(request.filter, AUDIT_EVENTS, page.now_ms)
        after = page.after_of([int])
        after_num = int(after[0]) if after else None

        def work(connection: Connection) -> Page:
            return list_events(connection, condition, after_num, page.limit + 1, newest_first=newest_first)

        found = await call.read(work)
        events = found.events[: page.limit]
        answer = pb.ListAuditEventsResponse(audit_events=[message(event) for event in events])
        if len(found.events) > page.limit:
            _go_on(answer, page.token_after((events[-1].event_num,)), events[-1].event_time_ms)
        elif found.end is not None:
            _go_on(answer, page.token_after((found.end.event_num,)), found.end.event_time_ms)
        return answer

    @called
    async def VerifyAuditLog(self, request: pb.VerifyAuditLogRequest, call: Call) -> pb.VerifyAuditLogResponse:
        if bool(request.known_event) != bool(request.known_chain_sha256):
            text = "known_event and known_chain_sha256 come together, as a verification told them"
            raise InvalidError([Violation("known_chain_sha256", "KNOWN_EVENT_INCOMPLETE", text)])
        walk = await call.read(verify.start)
        while not walk.is_over:
            # A transaction for each part: a long log must not hold back what PostgreSQL cleans up.
            walk = await call.read(verify.go_on, walk)
        walk = await call.read(verify.compare, walk, request.known_event, request.known_chain_sha256)
        last = await call.read(db.last_event) or walk.last
        return pb.VerifyAuditLogResponse(
            events=walk.events,
            first_broken=walk.first_broken,
            chain_sha256=(last if walk.first_broken else walk.last).chain_sha256,
            last_event=(last if walk.first_broken else walk.last).event_num,
            problem=walk.problem,
        )


def _go_on(answer: pb.ListAuditEventsResponse, token: str, searched_ms: int) -> None:
    answer.next_page_token = token
    answer.searched_time.CopyFrom(timestamp(searched_ms))


def message(event: Event) -> pb.AuditEvent:
    origin = event.origin
    return pb.AuditEvent(
        name=f"auditEvents/{event.event_num}",
        event_time=timestamp(event.event_time_ms),
        actor=origin.actor,
        peer=origin.peer,
        method=origin.method,
        request_id=origin.request_id,
        resource=event.resource,
        before=event.before,
        after=event.after,
        result=event.result,
        chain_sha256=event.chain_sha256,
    )
