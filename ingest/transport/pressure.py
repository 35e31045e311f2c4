"""Pressure: looks at memory, spool and store several times a second, and tells the gate and the listeners."""

import asyncio
from collections.abc import Callable, Iterator

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ingest.metrics import SpoolState, WriteState
from ingest.transport.drain import Drain
from ingest.transport.gate import Gate, Traffic

log = structlog.get_logger()

_LOOK_S = 0.05
# While the store catches up, what is let in between two looks must be little.
_LOOK_DRAINING_S = 0.02


class Pressure:
    """One per process.

    Args:
        backlog_limit_bytes: what may wait in the spool for the store.
        received: name -> what it holds in memory of what senders sent, beside the frames, in bytes.
        work: name -> what it holds of what is made of the frames.
        refuse: called with the classes that are not let in, when they change.
    """

    def __init__(
        self,
        gate: Gate,
        drain: Drain,
        spool: SpoolState,
        write: WriteState,
        backlog_limit_bytes: int,
        received: dict[str, Callable[[], int]],
        work: dict[str, Callable[[], int]],
        refuse: Callable[[frozenset[Traffic]], None],
    ) -> None:
        self._gate = gate
        self._drain = drain
        self._spool = spool
        self._write = write
        self._limit = backlog_limit_bytes
        self._received = received
        self._work = work
        self._refuse = refuse
        self._refused: frozenset[Traffic] = frozenset()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            self.look()
            await asyncio.sleep(_LOOK_DRAINING_S if self._drain.is_on else _LOOK_S)

    def look(self) -> None:
        """Once."""
        gate, spool, write = self._gate, self._spool, self._write
        for name, held in self._received.items():
            gate.account(name, held())
        for name, held in self._work.items():
            gate.account_work(name, held())
        backlog = spool.closed_bytes - write.taken_bytes
        gate.disk(backlog, self._limit, spool.bytes)
        was_on = self._drain.is_on
        gate.drain(*self._drain.look(write.taken_bytes, backlog, is_away=bool(write.unavailable)))
        if self._drain.is_on != was_on:
            log.info("drain_begins" if self._drain.is_on else "drain_ends", backlog_bytes=backlog)
        refused = frozenset(traffic for traffic in Traffic if gate.refuses(traffic))
        if refused != self._refused:
            self._refused = refused
            log.warning("refusing" if refused else "refusing_ends", traffic=sorted(one.name.lower() for one in refused))
            self._refuse(refused)

    @property
    def waiting(self) -> str:
        """Who is not read now and why, for a person; empty: everybody is read."""
        gate = self._gate
        return ", ".join(
            f"{traffic.name.lower()} not read ({gate.why_shut(traffic)})"
            for traffic in Traffic
            if not gate.is_open_for(traffic)
        )

    @property
    def is_refusing_devices(self) -> bool:
        return Traffic.DEVICES in self._refused


class PressureCollector(Collector):
    """The gate's state as Prometheus families."""

    def __init__(self, gate: Gate, drain: Drain) -> None:
        self._gate = gate
        self._drain = drain

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        memory = GaugeMetricFamily(
            "cityfleet_ingest_memory_bytes",
            "Bytes between the sockets and the store, by what they are.",
            labels=["what"],
        )
        for what, size_bytes in self._gate.accounts.items():
            memory.add_metric([what], size_bytes)
        yield memory
        is_open = GaugeMetricFamily(
            "cityfleet_ingest_gate_open", "1 while this class of traffic is read.", labels=["traffic"]
        )
        shut = CounterMetricFamily(
            "cityfleet_ingest_gate_shut", "Times that this class of traffic was no longer read.", labels=["traffic"]
        )
        for traffic in Traffic:
            is_open.add_metric([traffic.name.lower()], int(self._gate.is_open_for(traffic)))
            shut.add_metric([traffic.name.lower()], self._gate.shut_count[traffic])
        yield is_open
        yield shut
        yield GaugeMetricFamily(
            "cityfleet_ingest_draining",
            "1 while intake is held to a part of what the store takes.",
            int(self._drain.is_on),
        )
