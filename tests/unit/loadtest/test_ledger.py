"""The ledger finds what is missing, what is there twice under one identity, and what nobody sent."""

from loadtest.ledger import Fingerprint, SentLedger, fingerprint


def ledger(*times: int) -> SentLedger:
    made = SentLedger()
    for ts_ms in times:
        made.add("a", "rain_mm", ts_ms)
    return made


def test_an_identity_counts_once() -> None:
    made = ledger(1, 2, 2, 3)
    assert (made.added, made.distinct()) == (4, 3)
    assert not made.differences({("a", "rain_mm"): fingerprint([3, 2, 1])})


def test_a_missing_reading_shows() -> None:
    (difference,) = ledger(1, 2, 3).differences({("a", "rain_mm"): fingerprint([1, 3])})
    assert (difference.sent.readings, difference.stored.readings) == (3, 2)


def test_another_identity_in_its_place_shows() -> None:
    assert ledger(1, 2, 3).differences({("a", "rain_mm"): fingerprint([1, 2, 4])})
    # The same count and sum; the xor tells.
    assert ledger(1, 4).differences({("a", "rain_mm"): fingerprint([2, 3])})


def test_a_series_that_nobody_sent_shows() -> None:
    (difference,) = ledger(1).differences({("a", "rain_mm"): fingerprint([1]), ("b", "rain_mm"): fingerprint([1])})
    assert difference.device_id == "b"
    assert difference.sent == Fingerprint(0, 0, 0)


def test_span_covers_all_series() -> None:
    made = ledger(5, 9)
    made.add("b", "rain_mm", 2)
    assert made.span_ms() == (2, 9)
    assert made.devices == {"a", "b"}
