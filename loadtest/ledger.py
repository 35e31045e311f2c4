"""What was sent, by identity: enough to prove from the store's answer that every reading arrived, and which did not."""

from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

Series = tuple[str, str]  # device id, metric


class Fingerprint(NamedTuple):
    """Of the distinct event times (milliseconds) of one series: two sets that agree in all three are taken as equal."""

    readings: int
    sum_ms: int
    xor_ms: int


NOTHING = Fingerprint(0, 0, 0)


class SeriesDifference(NamedTuple):
    device_id: str
    metric: str
    sent: Fingerprint
    stored: Fingerprint


class SentLedger:
    """Event times of acknowledged readings, 8 bytes each; the same identity sent twice counts once."""

    def __init__(self) -> None:
        self._times: dict[Series, array[int]] = {}

    def __len__(self) -> int:
        """Series."""
        return len(self._times)

    def add(self, device_id: str, metric: str, ts_ms: int) -> None:
        times = self._times.get((device_id, metric))
        if times is None:
            times = self._times[device_id, metric] = array("q")
        times.append(ts_ms)

    @property
    def added(self) -> int:
        """Readings, repeated identities included."""
        return sum(len(times) for times in self._times.values())

    @property
    def devices(self) -> set[str]:
        return {device_id for device_id, _ in self._times}

    def span_ms(self) -> tuple[int, int]:
        """Earliest and latest event time. Raises ValueError when nothing was added."""
        return min(min(times) for times in self._times.values()), max(max(times) for times in self._times.values())

    def times(self, series: Series) -> set[int]:
        return set(self._times.get(series, ()))

    def fingerprints(self) -> Iterator[tuple[Series, Fingerprint]]:
        for series, times in self._times.items():
            yield series, fingerprint(set(times))

    def distinct(self) -> int:
        """Readings by identity."""
        return sum(print_.readings for _, print_ in self.fingerprints())

    def differences(self, stored: Mapping[Series, Fingerprint]) -> list[SeriesDifference]:
        """Every series whose stored identities are not exactly the sent ones, series unknown to us included."""
        sent = dict(self.fingerprints())
        return [
            SeriesDifference(*series, sent.get(series, NOTHING), stored.get(series, NOTHING))
            for series in sorted(sent.keys() | stored.keys())
            if sent.get(series, NOTHING) != stored.get(series, NOTHING)
        ]


def fingerprint(times_ms: Iterable[int]) -> Fingerprint:
    """Of distinct times; the same as ClickHouse's `count(), sum(ms), groupBitXor(ms)`."""
    count, total, xor = 0, 0, 0
    for ms in times_ms:
        count += 1
        total += ms
        xor ^= ms
    return Fingerprint(count, total, xor)
