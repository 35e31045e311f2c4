"""What decode and resolve tell of devices: who was heard, whose readings were accepted, and the `state` documents."""

import pytest

from cityfleet.registry.v1.device_state_pb2 import DeviceStateReport, ReportDeviceStatesRequest
from ext.telemetry.device_states import ENDS, DeviceStates
from ext.telemetry.frames import REASON_NAMES, FrameChunk
from ext.telemetry.readings import Readings
from ingest.batch import Batch
from ingest.decode import Decoder
from ingest.resolve import Resolver, TimeWindow
from tests.support.native_twin import read_blocks
from tests.support.pipeline import Message, make_chunk
from tests.support.resolve_twin import AHEAD_MS, EARLIEST_MS, NOW_MS, make_index

UNSUPPORTED = REASON_NAMES.index("unsupported_topic")


class Flow:
    def __init__(self, **limits: int) -> None:
        self.index = make_index()
        self.states = DeviceStates(self.index, "node/0", 1, ENDS, 0, **limits)
        self.decoder = Decoder(self.index, states=self.states)
        self.resolver = Resolver(self.index, TimeWindow(EARLIEST_MS, AHEAD_MS), self.states)
        self.readings, self.batch = Readings(), Batch()

    def run(self, chunk: FrameChunk) -> None:
        self.decoder.decode(chunk, self.readings)
        self.resolver.resolve(self.readings, self.batch)

    def say(self, payload: bytes, topic: str = "cf/v1/d/wl-1/state", device: str = "wl-1") -> None:
        chunk = FrameChunk("mqtt")
        sender = self.index.find_device(device)
        chunk.add(topic.encode(), payload, sender=sender, reason=UNSUPPORTED, received_ms=NOW_MS)
        self.run(chunk)

    def told(self) -> dict[str, DeviceStateReport]:
        self.states.begin_round()
        request = ReportDeviceStatesRequest.FromString(self.states.next_request())
        ids = {self.index.device(slot)["device_num"]: self.index.device_id(slot) for slot in range(len(self.index))}
        return {ids[report.device_num]: report for report in request.reports}

    def quarantined(self) -> list[tuple[str, str]]:
        return [(row["reason"], row["detail"].decode()) for row in read_blocks(self.batch.seal().blocks[1])]


def test_a_sender_is_seen_and_has_a_reading_when_one_is_accepted() -> None:
    flow = Flow()
    flow.run(
        make_chunk(
            flow.index,
            [
                Message(b'[{"n":"rain_mm","v":1},{"n":"rain_mm","v":2,"t":-1}]', received_ms=NOW_MS),
                Message(b'[{"n":"nothing_like_it","v":1}]', "wl-2", received_ms=NOW_MS + 1),
                Message(b"rubbish", "gw-1", received_ms=NOW_MS + 2),
                Message(b'[{"n":"rain_mm","vs":"wet"}]', "gw-2", received_ms=NOW_MS + 3),
            ],
        )
    )
    told = flow.told()
    assert (told["wl-1"].last_seen_ms, told["wl-1"].last_reading_ms) == (NOW_MS, NOW_MS)
    assert (told["wl-2"].last_seen_ms, told["wl-2"].last_reading_ms) == (NOW_MS + 1, 0)
    assert (told["gw-1"].last_seen_ms, told["gw-1"].last_reading_ms) == (NOW_MS + 2, 0)
    assert told["gw-2"].last_seen_ms == NOW_MS + 3


def test_a_gateway_is_seen_and_so_are_the_devices_whose_readings_it_brings() -> None:
    flow = Flow()
    flow.run(
        make_chunk(flow.index, [Message(b'[{"n":"wl-1:rain_mm","v":1},{"n":"wl-2:rain_mm","v":1}]', "gw-1", "gateway")])
    )
    told = flow.told()
    assert (told["gw-1"].last_seen_ms, told["gw-1"].last_reading_ms) == (NOW_MS, 0)
    assert (told["wl-1"].last_seen_ms, told["wl-1"].last_reading_ms) == (NOW_MS, NOW_MS)
    assert "wl-2" not in told  # not behind this gateway


def test_nobody_and_the_decommissioned_are_not_seen() -> None:
    flow = Flow()
    flow.run(
        make_chunk(
            flow.index, [Message(b"x", None), Message(b'[{"n":"rain_mm","v":1}]', "wl-old"), Message(b"x", "wl-old")]
        )
    )
    assert flow.told() == {}


def test_a_state_document_is_told_and_is_no_reading() -> None:
    flow = Flow()
    flow.say(b' {"firmware_version": "1.2", "facts": {"cpu": [1, 2]}} \n')
    report = flow.told()["wl-1"]
    assert report.document == b' {"firmware_version": "1.2", "facts": {"cpu": [1, 2]}} \n'
    assert (report.document_ms, report.last_seen_ms, report.last_reading_ms) == (NOW_MS, NOW_MS, 0)
    assert flow.quarantined() == []
    counters = flow.decoder.counters
    assert (counters.items_in, counters.items_out, counters.refused) == (1, 0, {})


@pytest.mark.parametrize(
    ("payload", "topic", "reason", "detail"),
    [
        (b"", "cf/v1/d/wl-1/state", "empty_payload", ""),
        (b"[1]", "cf/v1/d/wl-1/state", "malformed_payload", "a state document is a JSON object"),
        (b'{"a":1', "cf/v1/d/wl-1/state", "malformed_payload", "comma missing, byte 6"),
        (b'{"a":1} {}', "cf/v1/d/wl-1/state", "malformed_payload", "something follows the JSON object, byte 8"),
        (b'{"a":"\xff"}', "cf/v1/d/wl-1/state", "malformed_payload", None),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "cf/v1/d/wl-1/state", "malformed_payload", "nested too deep"),
        (
            b'{"a":"' + b"x" * 16_384 + b'"}',
            "cf/v1/d/wl-1/state",
            "malformed_payload",
            "a state document of more than 16384 bytes",
        ),
        (b"{}", "cf/v1/d/wl-1/states", "unsupported_topic", ""),
        (b"{}", "cf/v1/d/wl-1/a/state", "unsupported_topic", ""),
        (b"{}", "cf/v1/g/wl-1/state", "unsupported_topic", ""),
    ],
)
def test_what_is_no_state_document_goes_to_quarantine(
    payload: bytes, topic: str, reason: str, detail: str | None
) -> None:
    flow = Flow()
    flow.say(payload, topic)
    ((found, text),) = flow.quarantined()
    assert found == reason
    assert detail is None or text.startswith(detail)
    assert flow.told()["wl-1"].document == b""


def test_documents_for_which_there_is_no_room_go_to_quarantine() -> None:
    flow = Flow(max_document_bytes=256 + 10)
    flow.say(b'{"a":1}')
    flow.say(b'{"a":1}', "cf/v1/d/wl-2/state", "wl-2")
    assert flow.quarantined() == [("unsupported_topic", "no room for state documents: the registry is away")]
    assert flow.told()["wl-1"].document == b'{"a":1}'


def test_a_state_document_of_a_decommissioned_device_is_refused() -> None:
    flow = Flow()
    flow.say(b"{}", "cf/v1/d/wl-old/state", "wl-old")
    assert [reason for reason, _ in flow.quarantined()] == ["unknown_device"]
    assert flow.told() == {}
