"""What a payload of quarantine would become now: decode and resolve as ever, into blocks that are thrown away."""

from collections.abc import Iterator

import msgspec

from ext.clickhouse.quarantine_block import QuarantineBlock
from ext.clickhouse.readings_block import ReadingsBlock
from ext.clickhouse.text_block import TextBlock
from ext.telemetry.batch import BatchDecoder
from ext.telemetry.decode import decode_chunk
from ext.telemetry.frames import ENCODING_NAMES, REASON_NAMES, SCOPES, FrameChunk
from ext.telemetry.index import DeviceIndex
from ext.telemetry.readings import Readings, StageCounters
from ext.telemetry.resolve import resolve_readings
from ext.telemetry.sparkplug import SparkplugDecoder
from ext.telemetry.sparkplug_births import Births
from ext.telemetry.topic import foreign, parse

NO_READINGS = "no_readings"
_UNKNOWN = 255
_SPARKPLUG = ENCODING_NAMES["sparkplug"]
_ENCODINGS = {number: name for name, number in ENCODING_NAMES.items()}
_UNSUPPORTED_TOPIC = REASON_NAMES.index("unsupported_topic")
_TOO_LARGE = REASON_NAMES.index("payload_too_large")


class Message(msgspec.Struct, frozen=True):
    """As it came in; fields as in cityfleet.quarantine."""

    topic: bytes
    payload: bytes
    device_id: str
    transport: str
    encoding: str
    reason: str
    received_ms: int


class Placed(msgspec.Struct, frozen=True):
    """Whose readings a message has and how they are written, as its transport would say: fields of a frame."""

    sender: int
    scope: int
    encoding: int
    reason: int = 0
    is_trusted: bool = False

    def add_to(self, chunk: FrameChunk, message: Message) -> None:
        chunk.add(
            message.topic,
            message.payload,
            sender=self.sender,
            encoding=self.encoding,
            scope=self.scope,
            reason=self.reason,
            received_ms=message.received_ms,
            is_trusted=self.is_trusted,
        )


class Verdict(msgspec.Struct, frozen=True):
    """`reason` is empty if every reading of the message is good; then there are `readings` of them."""

    placed: Placed
    readings: int
    reason: str
    detail: str

    @property
    def encoding(self) -> str:
        return _ENCODINGS.get(self.placed.encoding, "")


class ReplayChunk(FrameChunk):
    """Messages of long ago."""


class Judge:
    """Judges against the device index of this moment; changes nothing."""

    def __init__(self, index: DeviceIndex, earliest_ms: int, max_ahead_ms: int) -> None:
        """Times as for `resolve_readings`."""
        self._index = index
        self._earliest_ms = earliest_ms
        self._max_ahead_ms = max_ahead_ms
        self._batches = BatchDecoder()
        self._readings = Readings()
        self._rows = ReadingsBlock()
        self._texts = TextBlock()
        self._refused = QuarantineBlock()

    def judge(self, message: Message) -> Verdict:
        """The first way to read the message in which all of it is good; else what is wrong with the first."""
        first = None
        for placed in places(message, self._index):
            verdict = self._try(message, placed)
            if not verdict.reason:
                return verdict
            first = first or verdict
        assert first is not None
        return first

    def _try(self, message: Message, placed: Placed) -> Verdict:
        chunk = FrameChunk(message.transport)
        placed.add_to(chunk, message)
        counters = StageCounters()
        sparkplug = SparkplugDecoder(Births()) if placed.encoding in (0, _SPARKPLUG) else None
        try:
            decode_chunk(chunk, self._index, self._batches, self._readings, counters, sparkplug)
            resolve_readings(
                self._readings,
                self._index,
                self._earliest_ms,
                self._max_ahead_ms,
                self._rows,
                self._texts,
                self._refused,
                counters,
            )
            readings = len(self._rows) + len(self._texts)
            refusals = self._refused.refusals()
        finally:
            for block in (self._rows, self._texts, self._refused):
                block.clear()
        if refusals:
            return Verdict(placed, 0, *refusals[0])
        return Verdict(placed, readings, "" if readings else NO_READINGS, "")


def places(message: Message, index: DeviceIndex) -> Iterator[Placed]:
    """The ways to read a message, the likeliest first. What only its transport knew is what quarantine has of it."""
    sender = index.find_device(message.device_id) if message.device_id else -1
    reason = _TOO_LARGE if message.reason == "payload_too_large" else 0
    recorded = _UNKNOWN if message.encoding == "unknown" else ENCODING_NAMES.get(message.encoding, 0)
    if message.transport == "grpc":
        yield Placed(sender, SCOPES["gateway"], ENCODING_NAMES["batch"], reason)
        return
    parts = parse(message.topic)
    if parts is None:
        family = foreign(message.topic)
        is_trusted = message.transport == "broker"
        encoding = recorded or (family if is_trusted else 0)
        reason = reason or (_UNSUPPORTED_TOPIC if family == _UNKNOWN else 0)
        yield Placed(-1 if is_trusted else sender, SCOPES["gateway"], encoding, reason, is_trusted)
        return
    scope, _, is_telemetry, named = parts
    if not is_telemetry:
        yield Placed(sender, scope, recorded, _UNSUPPORTED_TOPIC)
        return
    yield Placed(sender, scope, named or recorded, reason)
    if not named and recorded and recorded != _UNKNOWN:
        yield Placed(sender, scope, 0, reason)  # the type's default may have been corrected
