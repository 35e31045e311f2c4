"""The load beside the questions: each device behind one gateway, whose message has a reading of each of them."""

from cityfleet.telemetry.v1 import telemetry_pb2
from loadtest.bench.ioc_load import templates


def test_messages_of_all_gateways_have_each_device_once():
    tokens = {f"bench-gw-{number}": "0123456789abcdef" for number in range(4)}
    found = []
    for template, gateway in zip(templates(tokens, 1000), tokens, strict=True):
        topic = f"cf/v1/g/{gateway}/telemetry/batch".encode()
        payload = template.packet[template.packet.index(topic) + len(topic) + 2 :]
        batch = telemetry_pb2.ReadingBatch.FromString(payload)
        assert list(batch.device_index) == list(range(249))
        assert len(batch.value) == 249
        found += batch.devices
    assert sorted(found) == sorted(f"bench-{number}" for number in range(4, 1000))
