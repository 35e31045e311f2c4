"""Which files are whose: an upgrade keeps its data, and fewer workers drain what more workers left."""

import asyncio
from contextlib import ExitStack

import pytest

from ingest.settings import BrokerSettings, IngestSettings
from ingest.workers import place as module
from ingest.workers.place import Place
from runtime import runfile


def test_worker_0_has_the_folders_of_a_single_process(tmp_path):
    assert Place(tmp_path).path("spool") == tmp_path / "ingest" / "spool"
    assert Place(tmp_path, 0, 4).path("spool") == tmp_path / "ingest" / "spool"
    assert Place(tmp_path, 3, 4).path("spool") == tmp_path / "ingest" / "spool-3"
    assert Place(tmp_path, 3, 4).path("broker.json") == tmp_path / "ingest" / "broker-3.json"


def test_worker_0_takes_the_spools_that_no_worker_has_any_more(tmp_path):
    for name in ("spool", "spool-1", "spool-2", "spool-11", "spool-x", "spool-02"):
        (tmp_path / "ingest" / name).mkdir(parents=True)
    assert Place(tmp_path, 0, 2).left_over_spools() == [2, 11]
    assert Place(tmp_path, 1, 2).left_over_spools() == []
    assert Place(tmp_path).left_over_spools() == [1, 2, 11]


def test_worker_0_takes_the_files_that_no_worker_has_any_more(tmp_path):
    (tmp_path / "ingest").mkdir()
    for name in ("documents.log", "documents-1.log", "documents-2.log", "documents-x.log", "other-3.log"):
        (tmp_path / "ingest" / name).touch()
    found = [tmp_path / "ingest" / f"documents-{number}.log" for number in (1, 2)]
    assert Place(tmp_path).left_over_files("documents.log") == found
    assert Place(tmp_path, 0, 2).left_over_files("documents.log") == found[1:]
    assert Place(tmp_path, 1, 2).left_over_files("documents.log") == []


async def test_a_spool_has_one_process_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_WAIT_S", 0.2)
    (tmp_path / "ingest" / "spool-1").mkdir(parents=True)
    with ExitStack() as first:
        await Place(tmp_path, 1, 2).hold_spools(first)
        with ExitStack() as other, pytest.raises(runfile.AlreadyRunningError):
            await Place(tmp_path).hold_spools(other)
        with ExitStack() as other:
            await Place(tmp_path, 0, 2).hold_spools(other)
    with ExitStack() as other:
        await Place(tmp_path).hold_spools(other)


async def test_who_comes_next_waits_for_who_leaves(tmp_path):
    with ExitStack() as leaving:
        await Place(tmp_path).hold_spools(leaving)
        with ExitStack() as held:
            waiting = asyncio.create_task(Place(tmp_path).hold_spools(held))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            leaving.close()
            async with asyncio.timeout(60):
                await waiting


def test_workers_are_different_clients_of_a_broker():
    settings = IngestSettings(broker=BrokerSettings(host="b", client_id="node", share_group="g"))
    assert Place(None, 0, 2).settings(settings).broker.client_id == "node"
    assert Place(None, 1, 2).settings(settings).broker.client_id == "node-w1"


def test_only_worker_0_consumes_where_nothing_is_shared():
    settings = IngestSettings(broker=BrokerSettings(host="b", share_group=""))
    assert Place(None, 0, 2).settings(settings).broker.host == "b"
    assert Place(None, 1, 2).settings(settings).broker.host == ""


def test_sparkplug_of_a_broker_comes_to_one_worker():
    filters = ("cf/v1/d/+/telemetry/#", "spBv1.0/#")
    settings = IngestSettings(broker=BrokerSettings(host="b", share_group="g", filters=filters))
    assert Place(None, 0, 2).settings(settings).broker.filters == filters
    assert Place(None, 1, 2).settings(settings).broker.filters == filters[:1]
    only = IngestSettings(broker=BrokerSettings(host="b", share_group="g", filters=filters[1:]))
    assert Place(None, 1, 2).settings(only).broker.host == ""
