"""Sparkplug through decode, resolve and batch: names of the type's own, units, and counts that balance."""

import pytest

from ext.telemetry.readings import Readings
from ingest.batch import Batch
from ingest.decode import Decoder
from ingest.resolve import Resolver, TimeWindow
from registry.devices.model import TypeMetric, TypeSpec
from tests.support.declared import make_index
from tests.support.native_twin import read_blocks
from tests.support.resolve_twin import AHEAD_MS, EARLIEST_MS
from tests.support.sparkplug_host import NOW_MS, DecodingHost
from tests.support.sparkplug_twin import BOOLEAN, DOUBLE, INT32, metric, payload, properties

SPEC = TypeSpec(
    type_id="tank",
    default_encoding="sparkplug",
    metrics=(
        TypeMetric("water_level_m", None, None, "Line 1/Level [A].raw", "cm"),
        TypeMetric("temperature_cel", None, None),
        TypeMetric("status", None, None, "Pump/Running"),
    ),
)


class Flow:
    def __init__(self) -> None:
        self.index = make_index(SPEC)
        self.index.put_device(1, "lora-1", 1, "00070", 2, [bytes(32)], True, "G/E/D")
        self.host = DecodingHost(index=self.index)
        self.decoder = Decoder(self.index, self.host.births)
        self.resolver = Resolver(self.index, TimeWindow(EARLIEST_MS, AHEAD_MS))
        self.readings, self.batch = Readings(), Batch()

    def take(self, verb: bytes, data: bytes):
        """Rows of readings, of quarantine and of texts."""
        before = self.resolver.counters.items_in
        self.decoder.decode(self.host.chunk((b"spBv1.0/G/%s/E/D" % verb, data)), self.readings)
        self.resolver.resolve(self.readings, self.batch)
        sealed = self.batch.seal()
        assert self.resolver.counters.items_in - before == sum(sealed.readings)
        return [read_blocks(block) for block in sealed.blocks]


@pytest.fixture
def flow() -> Flow:
    flow = Flow()
    flow.take(
        b"DBIRTH",
        payload(
            metric(1.0, name="Line 1/Level [A].raw", alias=1, datatype=DOUBLE),
            metric(300.0, name="temperature_cel", alias=2, datatype=DOUBLE, properties=properties(engUnit="K")),
            metric(True, "boolean_value", name="Pump/Running", alias=3, datatype=BOOLEAN),
            metric(1, "int_value", name="nobody's", alias=4, datatype=INT32),
            timestamp=NOW_MS,
            seq=1,
        ),
    )
    return flow


def test_names_and_units_of_the_type_and_of_the_birth_hold_for_aliases(flow):
    data = payload(
        metric(962.0, alias=1),
        metric(300.15, alias=2),
        metric(False, "boolean_value", alias=3),
        metric(5, "int_value", alias=4),
        timestamp=NOW_MS,
        seq=2,
    )
    rows, quarantine, texts = flow.take(b"DDATA", data)
    assert [round(row["value"], 9) for row in rows] == [9.62, 27.0]
    assert {row["device_num"] for row in rows + texts} == {1}
    assert [row["value"] for row in texts] == [b"false"]
    assert [(row["reason"], row["detail"], row["readings"]) for row in quarantine] == [
        ("unknown_metric", b"metric nobody's, reading 3", 1)
    ]


def test_transient_readings_and_nulls_are_nowhere_in_the_counts(flow):
    data = payload(metric(1.0, alias=1, is_transient=True), metric(alias=2, is_null=True), metric(2.0, alias=1), seq=2)
    rows, quarantine, texts = flow.take(b"DDATA", data)
    assert (len(rows), quarantine, texts) == (1, [], [])
    assert flow.decoder.sparkplug.transient == 1


def test_a_message_without_readings_leaves_nothing_behind(flow):
    for verb, data in ((b"DDATA", payload(timestamp=NOW_MS, seq=2)), (b"DDEATH", payload(seq=3))):
        assert flow.take(verb, data) == [[], [], []]


def test_unknown_aliases_go_to_quarantine_with_the_payload(flow):
    data = payload(metric(1.0, alias=57), metric(1.0, alias=58), metric(962.0, alias=1), timestamp=NOW_MS, seq=2)
    rows, (quarantined,), _ = flow.take(b"DDATA", data)
    assert len(rows) == 1
    assert quarantined["reason"] == "unknown_alias"
    assert quarantined["detail"] == b"metric alias 57 of G/E/D, reading 1"
    assert (quarantined["readings"], quarantined["payload"], quarantined["encoding"]) == (2, data, "sparkplug")
