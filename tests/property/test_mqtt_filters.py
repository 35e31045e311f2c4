"""Subscriptions, retained messages and the reach of filters agree with plain definitions, whatever comes and goes."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from ext.mqtt.access import covers_filter
from ext.mqtt.retained import RetainedTable
from ext.mqtt.subscriptions import FilterTable

LEVELS = [b"cf", b"v1", b"d", b"g", b"a", b"telemetry", b"", b"$SYS", b"x"]
levels = st.sampled_from(LEVELS)
topics = st.lists(levels, min_size=1, max_size=6).map(b"/".join).filter(bool)


@st.composite
def filters(draw: st.DrawFn) -> bytes:
    parts = draw(st.lists(levels | st.just(b"+"), max_size=6))
    if draw(st.booleans()) or not parts or parts == [b""]:
        parts.append(b"#")
    return b"/".join(parts)


def matches(filter_: bytes, topic: bytes) -> bool:
    """Section 4.7, level by level."""
    if topic.startswith(b"$") and filter_[:1] in (b"+", b"#"):
        return False
    wanted, given_ = filter_.split(b"/"), topic.split(b"/")
    for want, have in itertools.zip_longest(wanted, given_):
        if want == b"#":
            return True
        if want is None or have is None or (want not in (b"+", have)):
            return False
    return True


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([b"n1", b"n2", b"n3"]), filters()), max_size=12, unique=True), st.data())
def test_a_topic_finds_its_subscribers(wanted, data):
    table, there = FilterTable(), {}
    for number, (name, filter_) in enumerate(wanted, 1):
        qos = number % 3
        assert table.add(name, filter_, qos, number)
        there[name, filter_] = (qos, number)
        if len(there) > 3 and data.draw(st.booleans()):
            gone = data.draw(st.sampled_from(sorted(there)))
            table.remove(*gone)
            del there[gone]
        for topic in data.draw(st.lists(topics, max_size=3)):
            expected: dict[bytes, tuple[int, list[int]]] = {}
            for (who, text), (level, identifier) in there.items():
                if matches(text, topic):
                    before = expected.get(who, (0, []))
                    expected[who] = (max(before[0], level), sorted([*before[1], identifier]))
            found = {who: (level, sorted(ids)) for who, (level, ids) in table.match(topic).items()}
            assert found == expected
    for gone in there:
        table.remove(*gone)
    assert table.counts() == (0, 0, 0, 0)


TELEMETRY = [
    b"/".join([b"cf", b"v1", scope, name, b"telemetry", *rest])
    for scope in (b"d", b"g")
    for name in LEVELS
    for rest in ([], *([level] for level in LEVELS))
]


@given(filters())
def test_who_may_match_telemetry_is_counted(filter_):
    table = FilterTable()
    table.add(b"n", filter_)
    assert table.counts()[1] == any(matches(filter_, topic) for topic in TELEMETRY)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(topics, st.sampled_from([b"", b"1", b"2"])), max_size=20), filters())
def test_a_filter_finds_what_is_retained(puts, filter_):
    table, there = RetainedTable(), {}
    for topic, payload in puts:
        assert table.put(topic, payload)
        if payload:
            there[topic] = payload
        else:
            there.pop(topic, None)
        assert table.counts()[0] == len(there)
    assert table.match(filter_) == {topic: payload for topic, payload in there.items() if matches(filter_, topic)}
    for topic in there:
        table.put(topic, b"")
    assert table.counts() == (0, 0, 0)


@given(filters(), filters(), st.lists(topics, max_size=30))
def test_what_covers_a_filter_matches_all_that_it_matches(allowed, wanted, some):
    if covers_filter(allowed, wanted):
        assert all(matches(allowed, topic) for topic in some if matches(wanted, topic))


@given(filters(), topics)
def test_covering_a_topic_is_matching_it(allowed, topic):
    if not topic.startswith(b"$"):
        assert covers_filter(allowed, topic) is matches(allowed, topic)
