"""The Sparkplug host beside the decoder: rebirth requests within limits, STATE, the file of births."""

import json

import pytest

from ingest.errors import UnavailableError
from ingest.settings import SparkplugSettings
from ingest.sparkplug.host import SparkplugHost
from ingest.sparkplug.messages import rebirth_request, rebirth_topic
from tests.support.sparkplug_host import NOW_MS, DecodingHost
from tests.support.sparkplug_twin import BOOLEAN, Payload, metric, payload

BIRTH = payload(metric(1.5, name="level", alias=7, datatype=10), seq=0)
UNKNOWN = payload(metric(1.0, alias=99), seq=1)


class World:
    """A host whose clock is `now_ms` and whose publications are `sent`."""

    def __init__(self, folder, **settings) -> None:
        self.now_ms = NOW_MS
        self.sent: list[tuple[bytes, bytes, int, bool]] = []
        self.decoding = DecodingHost()
        self.is_connected = True
        self.host = SparkplugHost(
            SparkplugSettings(**settings),
            self.decoding.decoder,
            folder,
            {"broker": self.publish},
            clock=lambda: self.now_ms / 1000,
        )

    def publish(self, *message) -> None:
        if not self.is_connected:
            raise UnavailableError("no connection")
        self.sent.append(message)

    def take(self, verb: str, data: bytes, edge: str = "E"):
        return self.decoding.take(f"spBv1.0/G/{verb}/{edge}".encode(), data, self.now_ms)

    def pass_time(self, seconds: float) -> int:
        """Tick every quarter of a second; how many messages were sent."""
        before = len(self.sent)
        for _ in range(round(seconds * 4)):
            self.now_ms += 250
            self.host.tick()
        return len(self.sent) - before


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path / "sparkplug")


def test_tck_operational_behavior_data_commands_ncmd_rebirth(world):
    """Verb, topic, QoS, name, datatype and value of the request; a host's command has no sequence number."""
    world.take("NDATA", UNKNOWN)
    world.pass_time(0.25)
    ((topic, data, qos, retain),) = world.sent
    assert (topic, qos, retain) == (b"spBv1.0/G/NCMD/E", 0, False)
    message = Payload.FromString(data)
    assert message.timestamp == message.metrics[0].timestamp == world.now_ms
    assert not message.HasField("seq")
    (asked,) = message.metrics
    assert (asked.name, asked.datatype, asked.boolean_value) == (b"Node Control/Rebirth", BOOLEAN, True)
    assert not asked.HasField("alias")


@pytest.mark.parametrize("now_ms", [1, 127, 128, 1 << 41])
def test_a_request_is_what_the_runtime_reads(now_ms):
    assert Payload.FromString(rebirth_request(now_ms)).timestamp == now_ms


def test_the_topic_of_a_request_has_the_edge_node_last():
    assert rebirth_topic("Nhà máy/cổng".encode()) == "spBv1.0/Nhà máy/NCMD/cổng".encode()


def test_a_gap_that_is_filled_in_time_asks_for_nothing(world):
    world.take("NBIRTH", BIRTH)
    world.take("NDATA", payload(seq=2))
    assert world.pass_time(4) == 0
    world.take("NDATA", payload(seq=1))
    assert world.pass_time(60) == 0


def test_a_gap_that_stays_asks_once(world):
    world.take("NBIRTH", BIRTH)
    world.take("NDATA", payload(seq=2))
    assert (world.pass_time(4.75), world.pass_time(0.5), world.pass_time(600)) == (0, 1, 0)


def test_all_nodes_together_are_asked_at_a_limited_rate(tmp_path):
    world = World(tmp_path, rebirths_per_s=2.0)
    for number in range(20):
        world.take("NDATA", UNKNOWN, f"E{number}")
    assert world.pass_time(1) <= 4
    assert world.pass_time(4) == 8
    world.pass_time(20)
    assert len({topic for topic, *_ in world.sent}) == len(world.sent) == 20


def test_a_rate_of_zero_asks_nobody(tmp_path):
    world = World(tmp_path, rebirths_per_s=0.0)
    world.take("NDATA", UNKNOWN)
    assert world.pass_time(100) == 0


def test_a_request_without_a_way_out_is_made_again_when_data_come(world):
    world.take("NDATA", UNKNOWN)
    world.is_connected = False
    assert world.pass_time(1) == 0
    assert world.host.counters()["unsent"] == 1
    world.is_connected = True
    world.take("NDATA", UNKNOWN)
    assert world.pass_time(31) == 1


def test_tck_host_topic_phid_birth_and_death_payloads(world):
    """The will and the birth of one connection have the same time; both are retained, at QoS 1."""
    will = world.host.will()
    world.now_ms += 40
    world.host.greet()
    (birth,) = world.sent
    assert birth[0] == will[0] == b"spBv1.0/STATE/cityfleet"
    assert birth[2:] == will[2:] == (1, True)
    assert json.loads(birth[1]) == {"online": True, "timestamp": NOW_MS}
    assert json.loads(will[1]) == {"online": False, "timestamp": NOW_MS}


def test_tck_operational_behavior_host_application_disconnect_intentional(world):
    world.host.will()
    world.now_ms += 1000
    world.host.take_leave(("broker",))
    ((topic, data, qos, retain),) = world.sent
    assert (topic, qos, retain) == (b"spBv1.0/STATE/cityfleet", 1, True)
    assert json.loads(data) == {"online": False, "timestamp": world.now_ms}


def test_births_of_before_a_lost_connection_hold_until_they_are_confirmed(world):
    """What a broker sent to nobody is lost, births too; neither a gap nor an alias would tell."""
    world.take("NBIRTH", BIRTH)
    world.host.greet()
    world.sent.clear()
    assert world.take("NDATA", payload(metric(2.5, alias=7), seq=99)).numbers[0][1] == b"level"
    assert world.host.counters()["gaps"] == 0
    assert world.pass_time(1) == 1
    world.take("NBIRTH", BIRTH)
    world.take("NDATA", payload(seq=1))
    assert world.pass_time(100) == 0


# --- the file


async def test_a_restart_keeps_the_aliases(tmp_path):
    before = World(tmp_path)
    before.take("NBIRTH", BIRTH)
    await before.host.keep()
    after = World(tmp_path)
    after.host.load()
    assert after.take("NDATA", payload(metric(2.5, alias=7), seq=9)).numbers[0][1] == b"level"


async def test_what_was_not_written_yet_is_asked_for_again(tmp_path):
    before = World(tmp_path)
    before.take("NBIRTH", BIRTH)
    after = World(tmp_path)
    after.host.load()
    assert after.take("NDATA", payload(metric(2.5, alias=7), seq=9)).numbers[0][5] == "unknown_alias"
    assert after.pass_time(0.25) == 1


async def test_a_damaged_file_costs_only_what_is_damaged_and_is_made_whole(tmp_path):
    before = World(tmp_path)
    for edge in ("A", "B", "C"):
        before.take("NBIRTH", BIRTH, edge)
        await before.host.keep()
    path = tmp_path / "births"
    size = path.stat().st_size // 3
    data = bytearray(path.read_bytes())
    data[size + size // 2] ^= 0xFF
    path.write_bytes(bytes(data) + b"SpB\x01torn")
    after = World(tmp_path)
    after.host.load()
    known = [after.decoding.births.known(0, b"G/" + edge) is not None for edge in (b"A", b"B", b"C")]
    assert known == [True, False, True]
    assert after.host.counters()["damaged"] == 2
    await after.host.keep()
    assert path.stat().st_size < size * 2.5
    last = World(tmp_path)
    last.host.load()
    assert last.host.counters()["damaged"] == 0


async def test_the_file_does_not_grow_with_every_birth(tmp_path):
    world = World(tmp_path)
    many = payload(*(metric(1.0, name=f"metric-{number}", alias=number, datatype=10) for number in range(2000)), seq=0)
    for _ in range(60):
        world.take("NBIRTH", many)
        await world.host.keep()
    assert world.host.gauges()["file_bytes"] == (tmp_path / "births").stat().st_size < 1_200_000
    after = World(tmp_path)
    after.host.load()
    assert len(after.decoding.births.known(0, b"G/E")["metrics"]) == 2000


async def test_a_disk_that_refuses_gets_everything_later(tmp_path):
    """A file where the folder should be."""
    folder = tmp_path / "state"
    folder.touch()
    world = World(folder)
    world.take("NBIRTH", BIRTH, "A")
    await world.host.keep()
    world.take("NBIRTH", BIRTH, "B")
    await world.host.keep()
    folder.unlink()
    await world.host.keep()
    after = World(folder)
    after.host.load()
    assert after.host.gauges()["nodes.online"] == 2


def test_a_host_id_is_one_level_of_a_topic():
    with pytest.raises(ValueError, match="host_id"):
        SparkplugSettings(host_id="a/b")
