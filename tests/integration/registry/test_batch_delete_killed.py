"""kill -9 of the registry in the middle of a batch of deletions: all are there or none, asked again it is done once,
and the audit log holds together."""

import contextlib
import threading
from collections.abc import Iterator

import grpc
from sqlalchemy import create_engine, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from cityfleet.registry.v1 import access_pb2
from cityfleet.registry.v1 import device_pb2 as pb
from cityfleet.registry.v1.access_pb2_grpc import AuditServiceStub
from registry.db.schema import devices
from tests.integration.registry.conftest import Stubs
from tests.support.registry import running_registry, wait_until

NAMES = [f"devices/m-{at}" for at in range(300)]
REQUEST = pb.BatchDeleteDevicesRequest(
    requests=[{"name": name} for name in NAMES], request_id="0d1f4a52-7c55-4d7c-8a54-5b3b1c7e9a10"
)


def killed_half_way(registry, engine) -> None:
    """Ask for all to be deleted, and kill the registry while it does so."""

    def ask() -> None:
        with registry.channel() as channel, contextlib.suppress(grpc.RpcError):
            Stubs(channel).devices.BatchDeleteDevices(REQUEST, timeout=60)

    asking = threading.Thread(target=ask)
    with engine.connect() as watcher:
        if engine.dialect.name == "postgresql":
            # The last of them is held fast: the others are deleted, and nothing is committed.
            last = select(devices.c.device_num).where(devices.c.device_id == NAMES[-1].removeprefix("devices/"))
            watcher.execute(last.with_for_update())
            asking.start()
            waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ '^UPDATE'")
            for _ in wait_until("the registry waits for the last device", 60):
                with engine.connect() as other:
                    if other.execute(waiting).scalar():
                        break
        else:
            asking.start()
            for _ in wait_until("the registry writes", 60):
                try:
                    watcher.exec_driver_sql("BEGIN IMMEDIATE")
                except OperationalError:
                    break
                watcher.rollback()
        registry.kill()
    asking.join(60)
    assert not asking.is_alive()


def states(stubs) -> set[int]:
    found = stubs.devices.BatchGetDevices(pb.BatchGetDevicesRequest(names=NAMES), timeout=60).devices
    return {device.state for device in found}


def deleted(audit) -> Iterator[str]:
    """What the audit log says was deleted."""
    request = access_pb2.ListAuditEventsRequest(filter='method:"BatchDeleteDevices"', page_size=1000)
    for _ in wait_until("the log is read to its end", 60):
        page = audit.ListAuditEvents(request, timeout=60)
        yield from (event.resource for event in page.audit_events)
        request.page_token = page.next_page_token
        if not request.page_token:
            break


def test_a_batch_of_deletions_that_was_killed_is_all_or_none(tmp_path, new_database):
    with running_registry(tmp_path, new_database()) as registry:
        with registry.channel() as channel:
            stubs = Stubs(channel)
            stubs.apply_type("gauge")
            new = [{"device_id": name.removeprefix("devices/"), "device": {"device_type": "gauge"}} for name in NAMES]
            stubs.devices.BatchCreateDevices(pb.BatchCreateDevicesRequest(requests=new), timeout=60)
        is_waiting = registry.database_url.startswith("sqlite")
        arguments = {"timeout": 0, "isolation_level": None} if is_waiting else {}
        engine = create_engine(registry.database_url, connect_args=arguments, poolclass=NullPool)
        killed_half_way(registry, engine)
        engine.dispose()
        registry.start()
        with registry.channel() as channel:
            stubs, audit = Stubs(channel), AuditServiceStub(channel)
            before = states(stubs)
            assert before in ({pb.Device.STATE_ACTIVE}, {pb.Device.STATE_DELETED})
            if engine.dialect.name == "postgresql":
                assert before == {pb.Device.STATE_ACTIVE}
            answer = stubs.devices.BatchDeleteDevices(REQUEST, timeout=60)
            assert [device.name for device in answer.devices] == NAMES
            assert states(stubs) == {pb.Device.STATE_DELETED}
            assert sorted(deleted(audit)) == sorted(NAMES)
            assert audit.VerifyAuditLog(access_pb2.VerifyAuditLogRequest(), timeout=60).first_broken == 0
