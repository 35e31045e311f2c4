"""Decode, resolve and batch as one call, and the same by the twins."""

from typing import Any, NamedTuple

from ext.telemetry.frames import ENCODING_NAMES, SCOPES, FrameChunk
from ext.telemetry.index import DeviceIndex
from ext.telemetry.readings import Readings
from ingest.batch import Batch
from ingest.decode import Decoder
from ingest.resolve import Resolver, TimeWindow
from tests.support import batch_twin, senml_cbor_twin, senml_twin
from tests.support.native_twin import read_blocks
from tests.support.resolve_twin import AHEAD_MS, EARLIEST_MS, NOW_MS, resolve_one


class Message(NamedTuple):
    payload: bytes
    sender: str | None = "wl-1"
    scope: str = "device"
    encoding: str = "senml-json"
    received_ms: int = NOW_MS
    reason: int = 0


class Outcome(NamedTuple):
    """Rows of the readings tables; of quarantine: (device_id, encoding, reason, readings, payload)."""

    rows: list[dict[str, Any]]
    quarantine: list[tuple[bytes, str, str, int, bytes]]
    texts: list[dict[str, Any]]


def make_chunk(index: DeviceIndex, messages: list[Message], transport: str = "mqtt") -> FrameChunk:
    chunk = FrameChunk(transport)
    for message in messages:
        chunk.add(
            b"cf/v1/" + message.scope[0].encode() + b"/telemetry",
            message.payload,
            sender=-1 if message.sender is None else index.find_device(message.sender),
            encoding=ENCODING_NAMES.get(message.encoding, 255) if message.encoding else 0,
            scope=SCOPES[message.scope],
            reason=message.reason,
            received_ms=message.received_ms,
        )
    return chunk


class Pipeline:
    """The three stages over one index; `run` checks that their counters and blocks agree."""

    def __init__(self, index: DeviceIndex) -> None:
        self.index = index
        self.decoder = Decoder(index)
        self.resolver = Resolver(index, TimeWindow(EARLIEST_MS, AHEAD_MS))
        self.readings = Readings()
        self.batch = Batch()
        self.texts: list[dict[str, Any]] = []  # rows of readings_text of the last run

    def fill(self, messages: list[Message], transport: str = "mqtt") -> None:
        self.decoder.decode(make_chunk(self.index, messages, transport), self.readings)
        self.resolver.resolve(self.readings, self.batch)

    def run(self, messages: list[Message]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        before = self.resolver.counters.items_in
        self.fill(messages)
        sealed = self.batch.seal()
        rows, quarantine, self.texts = (read_blocks(block) for block in sealed.blocks)
        assert sealed.rows == (len(rows), len(quarantine), len(self.texts))
        assert sealed.readings == (len(rows), sum(row["readings"] for row in quarantine), len(self.texts))
        assert self.resolver.counters.items_in - before == sum(sealed.readings)
        counters = self.resolver.counters
        assert counters.items_in == counters.items_out + counters.refused_total
        return rows, quarantine

    def outcome(self, messages: list[Message]) -> Outcome:
        rows, quarantine = self.run(messages)
        for row in quarantine:
            row["detail"].decode()
        columns = ("device_id", "encoding", "reason", "readings", "payload")
        return Outcome(rows, [tuple(row[column] for column in columns) for row in quarantine], self.texts)


def expected(messages: list[Message]) -> Outcome:
    """What the twins say; refused payloads come after those of which a part was refused."""
    rows: list[dict[str, Any]] = []
    texts: list[dict[str, Any]] = []
    parts, wholes = [], []
    for message in messages:
        head = ((message.sender or "").encode(), message.encoding)
        if not message.payload:
            wholes.append((*head, "empty_payload", 1, b""))
            continue
        try:
            if message.encoding == "batch":
                readings = batch_twin.decode(message.payload)
            elif message.encoding == "senml-cbor":
                readings = senml_cbor_twin.decode(message.payload, message.received_ms)
            else:
                readings = senml_twin.decode(message.payload, message.received_ms)
        except senml_twin.MalformedError:
            wholes.append((*head, "malformed_payload", 1, message.payload))
            continue
        # within a payload numbers come first
        readings.sort(key=lambda one: isinstance(one[4], senml_twin.Text))
        found = [resolve_one(message.sender, message.scope, one, message.received_ms) for one in readings]
        resolved = [one for one in found if not isinstance(one, str)]
        rows += [one for one in resolved if "kind" not in one]
        texts += [one for one in resolved if "kind" in one]
        reasons = [one for one in found if isinstance(one, str)]
        if reasons:
            parts.append((*head, reasons[0], len(reasons), message.payload))
    return Outcome(rows, parts + wholes, texts)
