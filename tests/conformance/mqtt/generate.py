"""Writes the conformance cases below cases/: `python -m tests.conformance.mqtt.generate`. A reviewed change only.

A case is what one client sends in one go (input.bin) and what must come of it (expected.json): `replies` are
[packet, reason codes], `closed` whether the server ends the connection, `frames` the payloads that were taken.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from tests.support import mqtt_packets as mq

CASES = Path(__file__).parent / "cases"
TOPIC = b"cf/v1/d/wl-1/telemetry"
CONNACK, DISCONNECT, PUBACK, PINGRESP = "CONNACK", "DISCONNECT", "PUBACK", "PINGRESP"
IN = [CONNACK, [0]]
CONNECT_HEAD = mq.prefixed(b"MQTT")


def case(
    name: str, rule: str, version: int, data: bytes, replies: list[Any], *, closed: bool, frames: list[str]
) -> None:
    """Write one case. `rule`: the statement or section it is cut from."""
    folder = CASES / name
    folder.mkdir(parents=True)
    (folder / "input.bin").write_bytes(data)
    expected = {"rule": rule, "version": version, "replies": replies, "closed": closed, "frames": frames}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


def refused(name: str, rule: str, data: bytes, code: int, *, version: int = 5) -> None:
    """After a good CONNECT and one good message, something that ends the connection."""
    before = mq.connect(version) + mq.publish(TOPIC, b"good", version=version)
    replies: list[Any] = [IN, [DISCONNECT, [code]]] if version == 5 else [IN]
    case(name, rule, version, before + data + mq.publish(TOPIC, b"not read", version=version), replies, closed=True,
         frames=["good"])  # fmt: skip


def not_let_in(name: str, rule: str, data: bytes, code: int | None, *, version: int = 5) -> None:
    """A first packet that ends the connection, with or without a CONNACK."""
    replies = [] if code is None else [[CONNACK, [code]]]
    case(name, rule, version, data + mq.publish(TOPIC, b"not read"), replies, closed=True, frames=[])


def connect_cases() -> None:
    not_let_in("connect-wrong-token", "3.2.2.2", mq.connect(password=b"no"), 0x86)
    not_let_in("connect-wrong-token-311", "3.1.1 3.2.2.3", mq.connect(4, password=b"no"), 4, version=4)
    not_let_in("connect-version-3", "MQTT-3.1.2-2 of 3.1.1", mq.connect(3), 1, version=4)
    not_let_in("connect-version-6", "MQTT-3.1.2-2", mq.connect(6), 0x84)
    not_let_in("connect-reserved-flag", "MQTT-3.1.2-3", mq.packet(1, CONNECT_HEAD + b"\5\3\0\0\0\0\1c"), 0x81)
    not_let_in(
        "connect-reserved-flag-311", "MQTT-3.1.2-3", mq.packet(1, CONNECT_HEAD + b"\4\3\0\0\0\1c"), None, version=4
    )
    not_let_in("connect-property-twice", "3.1.2.11.3", mq.connect(props=[(33, 5), (33, 5)]), 0x82)
    not_let_in("connect-property-of-publish", "2.2.2.2", mq.connect(props=[(35, 5)]), 0x81)
    not_let_in("connect-authentication-method", "MQTT-4.12.0-1", mq.connect(props=[(21, b"SCRAM")]), 0x8C)
    connect5 = CONNECT_HEAD + b"\5"
    not_let_in("connect-other-protocol", "MQTT-3.1.2-1", mq.packet(1, mq.prefixed(b"MQXX") + b"\5\2\0\0\0\0\1c"), None)
    not_let_in("connect-will-without-fields", "MQTT-3.1.2-9", mq.packet(1, connect5 + b"\6\0\0\0\0\1c"), 0x81)
    not_let_in("connect-will-qos-without-will", "MQTT-3.1.2-11", mq.packet(1, connect5 + b"\x0a\0\0\0\0\1c"), 0x81)
    not_let_in("connect-will-qos-3", "MQTT-3.1.2-12", mq.connect(will=(TOPIC, b"", 3, False)), 0x81)
    not_let_in("connect-will-retain-without-will", "MQTT-3.1.2-13", mq.packet(1, connect5 + b"\x22\0\0\0\0\1c"), 0x81)
    not_let_in("connect-more-than-flags-say", "MQTT-3.1.2-16", mq.packet(1, connect5 + b"\2\0\0\0\0\1c\0\1u"), 0x81)
    not_let_in("connect-user-name-missing", "MQTT-3.1.2-17", mq.packet(1, connect5 + b"\x82\0\0\0\0\1c"), 0x81)
    not_let_in("connect-password-unannounced", "MQTT-3.1.2-18",
               mq.packet(1, connect5 + b"\x82\0\0\0\0\1c\0\1u\0\1p"), 0x81)  # fmt: skip
    not_let_in("connect-password-missing", "MQTT-3.1.2-19", mq.packet(1, connect5 + b"\xc2\0\0\0\0\1c\0\1u"), 0x81)
    not_let_in("connect-client-id-missing", "MQTT-3.1.3-3", mq.packet(1, connect5 + b"\2\0\0\0"), 0x81)
    not_let_in("connect-will-topic-not-utf-8", "MQTT-3.1.3-11", mq.connect(will=(b"\xff", b"", 0, False)), 0x81)
    not_let_in("connect-user-name-not-utf-8", "MQTT-3.1.3-12", mq.connect(username=b"\xff"), 0x81)
    not_let_in("connect-no-keep-alive", "MQTT-3.1.4-1", mq.packet(1, connect5 + b"\2"), 0x81)
    not_let_in("connect-client-id-not-utf-8", "MQTT-3.1.3-4", mq.connect(client_id=b"\xff"), 0x81)
    not_let_in("connect-will-topic-wildcard", "MQTT-3.1.3-11", mq.connect(will=(b"a/#", b"", 0, False)), 0x90)
    not_let_in("first-packet-is-not-connect", "MQTT-3.1.0-1", mq.publish(TOPIC, b"x"), None)
    not_let_in("first-packet-is-http", "MQTT-3.1.0-1", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", None)
    not_let_in("connect-larger-than-allowed", "4.13", mq.connect(will=(b"t", bytes(20_000), 0, False)), None)


def packet_cases() -> None:
    refused("connect-twice", "MQTT-3.1.0-2", mq.connect(), 0x82)
    refused("remaining-length-of-five-bytes", "1.5.5", b"\x30\xff\xff\xff\xff\x01", 0x81)
    refused("remaining-length-with-needless-byte", "MQTT-1.5.5-1", b"\xc0\x80\x00", 0x81)
    refused("packet-larger-than-maximum", "MQTT-3.2.2-15", b"\x30" + mq.varint(300_000), 0x95)
    refused("packet-type-0", "2.1.2", b"\x00\x00", 0x81)
    refused("packet-of-a-server", "2.1.2", b"\xd0\x00", 0x82)
    refused("pingreq-with-flags", "MQTT-2.1.3-1", b"\xc1\x00", 0x81)
    refused("subscribe-with-wrong-flags", "MQTT-3.8.1-1", mq.packet(8, b"\0\1\0\0\1a\0", 0), 0x81)
    refused("subscribe-without-filters", "MQTT-3.8.3-2", mq.subscribe(1, []), 0x82)
    refused("subscribe-packet-id-0", "MQTT-2.2.1-3", mq.subscribe(0, [(b"a", 0)]), 0x82)
    refused("subscribe-identifier-0", "3.8.2.1.2", mq.subscribe(1, [(b"a", 0)], props=[(11, 0)]), 0x82)
    refused("subscribe-identifier-twice", "3.8.2.1.2", mq.subscribe(1, [(b"a", 0)], props=[(11, 1), (11, 2)]), 0x82)
    refused("subscribe-reserved-option", "MQTT-3.8.3-5", mq.subscribe(1, [(b"a", 0x40)]), 0x81)
    refused("subscribe-reserved-option-311", "3.1.1 3.8.3-4", mq.subscribe(1, [(b"a", 4)], version=4), 0, version=4)
    refused("subscribe-qos-3", "3.8.3.1", mq.subscribe(1, [(b"a", 3)]), 0x82)
    refused("subscribe-retain-handling-3", "3.8.3.1", mq.subscribe(1, [(b"a", 0x30)]), 0x82)
    refused("subscribe-shared-no-local", "MQTT-3.8.3-4", mq.subscribe(1, [(b"$share/g/a", 4)]), 0x82)
    refused("subscribe-filter-not-utf-8", "MQTT-3.8.3-1", mq.subscribe(1, [(b"a\xff", 0)]), 0x81)
    refused("subscribe-filter-with-nul", "MQTT-4.7.3-2", mq.subscribe(1, [(b"a\0", 0)]), 0x81)
    refused("subscribe-filter-empty", "MQTT-4.7.3-1", mq.subscribe(1, [(b"", 0)]), 0x81)
    refused("unsubscribe-with-wrong-flags", "MQTT-3.10.1-1", mq.packet(10, b"\0\1\0\0\1a", 0), 0x81)
    refused("unsubscribe-without-filters", "MQTT-3.10.3-2", mq.unsubscribe(1, []), 0x82)
    refused("unsubscribe-filter-not-utf-8", "MQTT-3.10.3-1", mq.unsubscribe(1, [b"\xff"]), 0x81)
    refused("unsubscribe-packet-id-0", "MQTT-2.2.1-3", mq.unsubscribe(0, [b"a"]), 0x82)
    refused("pubrel-with-wrong-flags", "MQTT-3.6.1-1", mq.packet(6, b"\0\1", 0), 0x81)
    refused("puback-packet-id-0", "2.2.1", mq.ack(mq.PUBACK, 0), 0x82)
    refused("puback-unknown-reason", "MQTT-3.4.2-1", mq.ack(mq.PUBACK, 1, 0x42), 0x82)
    refused("pubrec-unknown-reason", "MQTT-3.5.2-1", mq.ack(mq.PUBREC, 1, 0x42), 0x82)
    refused("pubrel-unknown-reason", "MQTT-3.6.2-1", mq.ack(mq.PUBREL, 1, 0x80), 0x82)
    refused("pubcomp-unknown-reason", "MQTT-3.7.2-1", mq.ack(mq.PUBCOMP, 1, 0x10), 0x82)
    refused("pubrec-longer-in-311", "3.1.1 3.5", mq.ack(mq.PUBREC, 1, 0), 0, version=4)
    refused("disconnect-with-flags", "MQTT-3.14.1-1", b"\xe1\x00", 0x81)
    refused("disconnect-unknown-reason", "MQTT-3.14.2-1", mq.disconnect(0x42), 0x82)
    refused("remaining-length-of-four-bytes-too-many", "1.5.5", b"\x82\x80\x80\x80\x00", 0x81)
    refused("auth-with-flags", "MQTT-3.15.1-1", b"\xf1\x00", 0x81)
    refused("auth-without-method", "MQTT-4.12.0-6", mq.packet(15, b""), 0x82)
    refused("disconnect-makes-a-session", "3.14.2.2.2", mq.disconnect(0, [(17, 60)]), 0x82)
    refused("malformed-311-is-just-closed", "3.1.1 4.8", b"\xc1\x00", 0, version=4)


def publish_cases() -> None:
    refused("publish-qos-3", "MQTT-3.3.1-4", mq.publish(TOPIC, b"x", 1, qos=3), 0x81)
    refused("publish-qos-2-packet-id-0", "MQTT-2.2.1-3", mq.publish(TOPIC, b"x", 0, qos=2), 0x82)
    refused("publish-response-topic-wildcard", "MQTT-3.3.2-14", mq.publish(TOPIC, b"x", props=[(8, b"a/+")]), 0x82)
    refused("publish-response-topic-not-utf-8", "MQTT-3.3.2-13", mq.publish(TOPIC, b"x", props=[(8, b"\xff")]), 0x81)
    refused("publish-content-type-not-utf-8", "MQTT-3.3.2-19", mq.publish(TOPIC, b"x", props=[(3, b"\xff")]), 0x81)
    refused(
        "publish-user-property-not-utf-8", "MQTT-1.5.7-1", mq.publish(TOPIC, b"", props=[(38, (b"k", b"\xff"))]), 0x81
    )
    refused("publish-empty-topic", "MQTT-4.7.3-1", mq.publish(b"", b"x"), 0x82)
    refused("publish-empty-topic-311", "MQTT-4.7.3-1", mq.publish(b"", b"x", version=4), 0, version=4)
    refused("publish-packet-id-0", "MQTT-2.2.1-3", mq.publish(TOPIC, b"x", 0, qos=1), 0x82)
    refused("publish-dup-at-qos-0", "MQTT-3.3.1-2", mq.publish(TOPIC, b"x", dup=True), 0x81)
    refused("publish-topic-wildcard", "MQTT-3.3.2-2", mq.publish(b"cf/v1/d/wl-1/+", b"x"), 0x90)
    refused("publish-topic-not-utf-8", "MQTT-1.5.4-1", mq.publish(b"cf/v1/d/wl-1/\xed\xa0\x80", b"x"), 0x81)
    refused("publish-topic-with-nul", "MQTT-1.5.4-2", mq.publish(b"cf/v1/d/wl-1/a\0b", b"x"), 0x81)
    refused("publish-topic-longer-than-packet", "4.13", b"\x30\x04\x00\x30ab", 0x81)
    refused("publish-alias-0", "MQTT-3.3.2-8", mq.publish(TOPIC, b"x", props=[(35, 0)]), 0x94)
    refused("publish-alias-above-maximum", "MQTT-3.3.2-9", mq.publish(TOPIC, b"x", props=[(35, 17)]), 0x94)
    refused("publish-alias-never-defined", "3.3.2.3.4", mq.publish(b"", b"x", props=[(35, 1)]), 0x82)
    refused("publish-subscription-identifier", "MQTT-3.3.4-6", mq.publish(TOPIC, b"x", props=[(11, 1)]), 0x82)
    refused("publish-foreign-311", "3.1.1 3.3.5", mq.publish(b"cf/v1/d/wl-2/x", b"x", 1, version=4), 0, version=4)
    good = mq.connect() + mq.publish(b"cf/v1/d/wl-2/telemetry", b"x", 1) + mq.publish(TOPIC, b"mine", 2)
    case(
        "publish-foreign", "MQTT-3.3.5-2", 5, good, [IN, [PUBACK, [0x87]], [PUBACK, [0]]], closed=False, frames=["mine"]
    )
    text = mq.publish(TOPIC, b"\xff", 1, props=[(1, 1)])
    case(
        "publish-not-the-text-it-says",
        "3.3.2.3.2",
        5,
        mq.connect() + text,
        [IN, [PUBACK, [0x99]]],
        closed=False,
        frames=[],
    )
    again = mq.publish(TOPIC, b"again", 7, dup=True, version=4, retain=True)
    case(
        "publish-retained-311",
        "3.1.1 3.3.1.3",
        4,
        mq.connect(4) + again,
        [IN, [PUBACK, [0]]],
        closed=False,
        frames=["again"],
    )
    case(
        "publish-retained",
        "3.3.1.3",
        5,
        mq.connect() + mq.publish(TOPIC, b"kept", 7, retain=True),
        [IN, [PUBACK, [0]]],
        closed=False,
        frames=["kept"],
    )
    for version in (4, 5):
        twice = mq.publish(TOPIC, b"once", 3, qos=2, version=version)
        again = mq.publish(TOPIC, b"twice", 3, qos=2, dup=True, version=version)
        case(
            f"publish-qos-2-once-{version}",
            "MQTT-4.3.3-10",
            version,
            mq.connect(version) + twice + again,
            [IN, ["PUBREC", [0]], ["PUBREC", [0]]],
            closed=False,
            frames=["once"],
        )
        case(
            f"acks-of-nothing-{version}",
            "4.3.3",
            version,
            mq.connect(version)
            + b"".join(mq.ack(type_, 77) for type_ in (mq.PUBACK, mq.PUBCOMP, mq.PUBREC, mq.PUBREL)),
            [IN, *([name, [0x92 if version == 5 else 0]] for name in ("PUBREL", "PUBCOMP"))],
            closed=False,
            frames=[],
        )
    foreign = mq.connect() + mq.publish(b"cf/v1/d/wl-2/telemetry", b"x", 5, qos=2) + mq.ack(mq.PUBREL, 5)
    case(
        "publish-qos-2-foreign",
        "MQTT-4.3.3-9",
        5,
        foreign,
        [IN, ["PUBREC", [0x87]], ["PUBCOMP", [0x92]]],
        closed=False,
        frames=[],
    )
    empty = mq.connect() + mq.publish(TOPIC, b"", 1)
    case("publish-empty-payload", "3.3.3", 5, empty, [IN, [PUBACK, [0]]], closed=False, frames=[""])


def session_cases() -> None:
    case("ping", "MQTT-3.12.4-1", 5, mq.connect() + b"\xc0\x00", [IN, [PINGRESP, []]], closed=False, frames=[])
    bye = mq.connect() + mq.publish(TOPIC, b"last") + mq.disconnect() + mq.publish(TOPIC, b"after")
    case("nothing-after-disconnect", "MQTT-3.14.4-2", 5, bye, [IN], closed=True, frames=["last"])
    half = mq.connect() + mq.publish(TOPIC, b"whole", 1) + mq.publish(TOPIC, b"half", 2)[:-1]
    case("half-a-packet-is-waited-for", "4.2", 5, half, [IN, [PUBACK, [0]]], closed=False, frames=["whole"])


if __name__ == "__main__":
    shutil.rmtree(CASES, ignore_errors=True)
    connect_cases()
    packet_cases()
    publish_cases()
    session_cases()
