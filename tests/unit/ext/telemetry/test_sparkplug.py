"""Sparkplug payloads: what becomes a reading, a text, a refusal or nothing; aliases, deaths, gaps."""

import pytest

from ext.telemetry.index import DeviceIndex
from tests.support.sparkplug_host import NOW_MS, DecodingHost
from tests.support.sparkplug_twin import (
    BOOLEAN,
    BYTES,
    DATASET,
    DATETIME,
    DOUBLE,
    FLOAT,
    INT8,
    INT16,
    INT32,
    INT64,
    STRING,
    TEMPLATE,
    TEXT,
    UINT8,
    UINT16,
    UINT32,
    UINT64,
    UUID,
    Outcome,
    Refused,
    metric,
    payload,
    properties,
)  # fmt: skip

NODE = b"spBv1.0/G/%s/E"
DEVICE = b"spBv1.0/G/%s/E/D"
NBIRTH, NDATA, NDEATH = NODE % b"NBIRTH", NODE % b"NDATA", NODE % b"NDEATH"
DBIRTH, DDATA, DDEATH = DEVICE % b"DBIRTH", DEVICE % b"DDATA", DEVICE % b"DDEATH"
NOTHING = Outcome([], [])


@pytest.fixture
def host() -> DecodingHost:
    return DecodingHost()


def bd_seq(number: int):
    return metric(number, "long_value", name="bdSeq", datatype=INT64)


def birth(*metrics, seq: int = 0, bd: int = 0) -> bytes:
    return payload(bd_seq(bd), *metrics, timestamp=NOW_MS, seq=seq)


def data(*metrics, seq: int = 1) -> bytes:
    return payload(*metrics, timestamp=NOW_MS + 1, seq=seq)


LEVEL = {"name": "level", "alias": 7, "datatype": DOUBLE}


def test_an_alias_stands_for_the_name_of_the_birth(host):
    born = host.take(NBIRTH, birth(metric(1.5, **LEVEL, timestamp=5)))
    assert born == Outcome([(b"G/E", b"level", b"", 5, 1.5, "")], [])
    assert host.take(NDATA, data(metric(2.5, alias=7))) == Outcome([(b"G/E", b"level", b"", NOW_MS + 1, 2.5, "")], [])


def test_devices_of_one_node_have_aliases_of_their_own(host):
    host.take(NBIRTH, birth(metric(1.0, **LEVEL)))
    host.take(DBIRTH, payload(metric(1.0, name="rain", alias=8, datatype=DOUBLE), seq=1))
    assert host.take(DDATA, data(metric(2.0, alias=8), seq=2)).numbers[0][:2] == (b"G/E/D", b"rain")
    assert host.take(DDATA, data(metric(2.0, alias=7), seq=3)).numbers[0][5] == "unknown_alias"


def test_the_unit_of_the_birth_holds_for_data_by_alias_and_by_name(host):
    unit = properties(engLow="0", engUnit="cm")
    assert host.take(NBIRTH, birth(metric(1.0, **LEVEL, properties=unit))).numbers[0][2] == b"cm"
    assert host.take(NDATA, data(metric(2.0, alias=7))).numbers[0][2] == b"cm"
    assert host.take(NDATA, data(metric(2.0, name="level"), seq=2)).numbers[0][2] == b"cm"


VALUES = [
    (INT8, 255, "int_value", -1.0),
    (INT8, 0xFFFFFFFF, "int_value", -1.0),
    (INT8, (1 << 64) - 128, "long_value", -128.0),
    (INT8, 127, "int_value", 127.0),
    (INT16, 0xFFFF, "int_value", -1.0),
    (INT16, 0xFFFF8000, "int_value", -32768.0),
    (INT32, 0x80000000, "int_value", -2147483648.0),
    (INT32, 2147483647, "int_value", 2147483647.0),
    (INT64, (1 << 64) - 1, "long_value", -1.0),
    (INT64, 1 << 63, "long_value", -9223372036854775808.0),
    (UINT8, 255, "int_value", 255.0),
    (UINT16, 65535, "int_value", 65535.0),
    (UINT32, 0xFFFFFFFF, "int_value", 4294967295.0),
    (UINT32, 0xFFFFFFFF, "long_value", 4294967295.0),
    (UINT64, (1 << 53) + 1, "long_value", 9007199254740992.0),
    (UINT64, (1 << 64) - 1, "long_value", 18446744073709551616.0),
    (FLOAT, 0.1, "float_value", 0.10000000149011612),
    (DOUBLE, 0.1, "double_value", 0.1),
    (DOUBLE, 0.5, "float_value", 0.5),
    (DATETIME, NOW_MS, "long_value", float(NOW_MS)),
]


@pytest.mark.parametrize(("datatype", "raw", "field", "number"), VALUES)
@pytest.mark.parametrize("by_alias", [True, False], ids=["by-alias", "by-name"])
def test_numbers_have_the_sign_and_width_of_their_datatype(host, datatype, raw, field, number, by_alias):
    host.take(NBIRTH, birth(metric(raw, field, name="m", alias=1, datatype=datatype)))
    sent = metric(raw, field, alias=1) if by_alias else metric(raw, field, name="m")
    ((_, _, _, _, value, reason),) = host.take(NDATA, data(sent)).numbers
    assert (value, reason) == (number, "")


MISMATCHES = [
    (INT8, 128 + 256, "int_value"),
    (INT16, 0xFFFF0000, "int_value"),
    (INT32, 1 << 40, "long_value"),
    (UINT8, 256, "int_value"),
    (UINT32, 1 << 32, "long_value"),
    (DOUBLE, 3, "int_value"),
    (INT32, 3.0, "double_value"),
    (BOOLEAN, 1, "int_value"),
    (STRING, True, "boolean_value"),
    (DOUBLE, "3.0", "string_value"),
    (STRING, b"\xff", "string_value"),
    (STRING, b"3", "bytes_value"),
]


@pytest.mark.parametrize(("datatype", "raw", "field"), MISMATCHES)
def test_what_is_no_value_of_its_datatype_is_refused(host, datatype, raw, field):
    found = host.take(NDATA, data(metric(raw, field, name="m", datatype=datatype)))
    assert [row[5] for row in found.numbers + found.texts] == ["type_mismatch"]


TEXTS = [
    (BOOLEAN, True, "boolean_value", "boolean", b"true"),
    (BOOLEAN, False, "boolean_value", "boolean", b"false"),
    (STRING, "ngập", "string_value", "string", "ngập".encode()),
    (TEXT, "", "string_value", "string", b""),
    (UUID, "6f3f", "string_value", "string", b"6f3f"),
    (BYTES, b"\x00\xff", "bytes_value", "data", b"\x00\xff"),
]


@pytest.mark.parametrize(("datatype", "raw", "field", "kind", "text"), TEXTS)
def test_what_is_no_number_is_a_text(host, datatype, raw, field, kind, text):
    host.take(NBIRTH, birth(metric(raw, field, name="m", alias=1, datatype=datatype)))
    assert host.take(NDATA, data(metric(raw, field, alias=1))) == Outcome(
        [], [(b"G/E", b"m", NOW_MS + 1, kind, text, "")]
    )


@pytest.mark.parametrize("datatype", [DATASET, 18, TEMPLATE, 20, 21, *range(22, 35), 999])
def test_arrays_and_structures_are_refused_one_by_one(host, datatype):
    sent = data(metric(b"\0", "bytes_value", name="many", datatype=datatype), metric(1.0, name="one", datatype=DOUBLE))
    numbers = host.take(NDATA, sent).numbers
    assert [(row[1], row[5]) for row in numbers] == [(b"many", "unsupported_datatype"), (b"one", "")]


@pytest.mark.parametrize("field", ["dataset_value", "template_value", "extension_value"])
def test_nested_values_are_refused_whatever_their_datatype_says(host, field):
    ((*_, reason),) = host.take(NDATA, data(metric(b"", field, name="m", datatype=DOUBLE))).numbers
    assert reason == "unsupported_datatype"


def test_an_integer_without_a_datatype_may_be_anything_and_is_refused(host):
    ((*_, reason),) = host.take(NDATA, data(metric(255, "int_value", name="m"))).numbers
    assert reason == "unsupported_datatype"
    ((*_, value, reason),) = host.take(NDATA, data(metric(2.0, name="m"))).numbers
    assert (value, reason) == (2.0, "")


def test_numbers_that_are_none_are_refused(host):
    sent = data(metric(float("nan"), name="m", datatype=DOUBLE), metric(float("inf"), "float_value", name="n"))
    assert [row[5] for row in host.take(NDATA, sent).numbers] == ["value_not_finite"] * 2


def test_null_is_no_reading_and_transient_is_not_stored(host):
    sent = data(metric(is_null=True, **LEVEL), metric(**LEVEL), metric(1.0, is_transient=True, **LEVEL))
    assert host.take(NDATA, sent) == NOTHING
    counters = host.decoder.counters()
    assert (counters["readings.null"], counters["readings.transient"], host.decoder.transient) == (2, 1, 1)


def test_historical_is_stored_with_its_own_time(host):
    sent = data(metric(1.0, is_historical=True, timestamp=NOW_MS - 86_400_000, **LEVEL))
    assert host.take(NDATA, sent).numbers[0][3] == NOW_MS - 86_400_000
    assert host.decoder.counters()["readings.historical"] == 1


def test_time_is_the_metrics_else_the_payloads_else_when_it_came(host):
    late = payload(metric(1.0, **LEVEL)) + payload(timestamp=9)  # the payload's time may stand behind its metrics
    assert host.take(NDATA, late).numbers[0][3] == 9
    assert host.take(NDATA, payload(metric(1.0, timestamp=0, **LEVEL), timestamp=9)).numbers[0][3] == 0
    assert host.take(NDATA, payload(metric(1.0, **LEVEL)), received_ms=77).numbers[0][3] == 77
    assert host.take(NDATA, payload(metric(1.0, timestamp=1 << 63, **LEVEL))).numbers[0][3] == (1 << 63) - 1
    assert host.take(NDATA, payload(metric(True, "boolean_value", name="b"), timestamp=9)).texts[0][2] == 9


def test_controls_are_no_readings(host):
    control = metric(False, "boolean_value", name="Node Control/Rebirth", alias=3, datatype=BOOLEAN)
    assert host.take(NBIRTH, birth(control)) == NOTHING
    assert host.take(NDATA, data(metric(True, "boolean_value", alias=3))) == NOTHING
    assert host.take(DDATA, data(metric(1.0, name="Device Control/Reset"))) == NOTHING


@pytest.mark.parametrize("verb", [b"NCMD", b"DCMD"])
def test_commands_and_states_of_others_are_passed_over(host, verb):
    assert host.take(b"spBv1.0/G/%s/E" % verb, b"\xff\xff") == NOTHING
    assert host.take(b"spBv1.0/STATE/scada", b'{"online":true}') == NOTHING


@pytest.mark.parametrize(
    "topic", [b"spBv1.0/G", b"spBv1.0//NDATA/E", b"spBv1.0/G/NDATA", b"spBv1.0/G/NDATA/", b"spBv1.0/G/NDATA/E/D",
              b"spBv1.0/G/DDATA/E", b"spBv1.0/G/DDATA/E/", b"spBv1.0/G/DDATA/E/D/x", b"spBv1.0/G/SPAM/E"]
)  # fmt: skip
def test_other_topics_are_refused(host, topic):
    assert host.take(topic, data(metric(1.0, **LEVEL))) == Refused("unsupported_topic")


def test_an_unknown_alias_is_refused_with_its_number_and_its_node(host):
    host.take(NDATA, data(metric(1.0, alias=57), metric(1.0, alias=58)))
    assert [row[2] for row in host.readings.rows()] == ["alias 57 of G/E"] * 2
    assert host.decoder.counters()["readings.unknown_alias"] == 2


def test_malformed_properties_spoil_the_payload(host):
    one = metric(1.0, **LEVEL).SerializeToString() + b"\x4a\x03\x12\x05\x00"
    assert host.take(NDATA, b"\x12" + bytes([len(one)]) + one) == Refused("malformed_payload")


def test_payload_cut_short_is_refused_as_a_whole(host):
    whole = data(metric(1.0, **LEVEL), metric(2.0, **LEVEL))
    refused = sum(host.take(NDATA, whole[:size]) == Refused("malformed_payload") for size in range(1, len(whole)))
    assert refused >= len(whole) - 5


def test_a_new_birth_of_the_node_ends_the_aliases_of_its_devices(host):
    host.take(NBIRTH, birth())
    host.take(DBIRTH, payload(metric(1.0, **LEVEL), seq=1))
    host.take(NBIRTH, birth())
    assert host.take(DDATA, data(metric(2.0, alias=7), seq=1)).numbers[0][5] == "unknown_alias"
    assert host.births.known(0, b"G/E/D")["is_born"] is False


def test_gateways_cannot_change_each_others_births():
    index = DeviceIndex()
    index.put_type(1, "edge", True, "sparkplug", [])
    for num in (1, 2):
        index.put_device(num, f"edge-{num}", 1, "00070", 0, [], True)
    one = DecodingHost(index=index, sender=0)
    other = DecodingHost(births=one.births, index=index, sender=1)
    one.take(NBIRTH, birth(metric(1.0, **LEVEL)))
    other.take(NBIRTH, birth(metric(1.0, name="spoilt", alias=7, datatype=DOUBLE)))
    assert one.take(NDATA, data(metric(2.0, alias=7))).numbers[0][1] == b"level"


def test_frames_of_nobody_change_nothing(host):
    chunk = host.chunk()
    chunk.add(NBIRTH, birth(metric(1.0, **LEVEL)), sender=-1, encoding=7)
    host.decode(chunk)
    assert [refusal[1] for refusal in host.readings.refusals_list()] == ["unknown_device"]
    assert len(host.births) == 0


def test_readings_belong_to_the_external_id_or_to_the_device_behind_the_gateway():
    index = DeviceIndex()
    index.put_type(1, "edge", True, "sparkplug", [])
    index.put_type(2, "tank", False, "", [])
    index.put_device(1, "gw-1", 1, "00070", 0, [], True, "Plant/Edge1")
    index.put_device(2, "tank-a", 2, "00070", 1, [], True)
    index.put_device(3, "tank-b", 2, "00070", 0, [], True)
    sent = data(metric(1.0, **LEVEL))

    def device(host: DecodingHost, path: bytes) -> bytes:
        return host.take(b"spBv1.0/" + path, sent).numbers[0][0]

    broker = DecodingHost(index=index)
    gateway = DecodingHost(index=index, sender=0)
    for host in (broker, gateway):
        assert device(host, b"Plant/NDATA/Edge1") == b"Plant/Edge1"
        assert device(host, b"Plant/DDATA/Edge1/tank-a") == b"tank-a"
        assert device(host, b"Plant/DDATA/Edge1/tank-b") == b"Plant/Edge1/tank-b"  # not behind the gateway
        assert device(host, b"Plant/NDATA/gw-1") == b"gw-1"
    assert device(broker, b"Plant/DDATA/Edge2/tank-a") == b"Plant/Edge2/tank-a"


def test_of_a_name_given_twice_the_last_counts(host):
    host.take(NBIRTH, payload(metric(name="m", datatype=BOOLEAN), metric(name="m", datatype=INT8)))
    assert host.take(NDATA, data(metric(255, "int_value", name="m"))).numbers[0][4] == -1.0
