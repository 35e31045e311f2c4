"""The demo's ledger: every acknowledged reading is stored or in quarantine, by identity and by count."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from loadtest.answers import Stored
from loadtest.fleet.devices import METRICS, CityDevice
from loadtest.fleet.runner import FleetTally
from loadtest.ledger import SentLedger, SeriesDifference

SHOWN = 12


@dataclass(frozen=True, slots=True)
class Balance:
    """Readings by device type; `faults` says in words what does not fit."""

    sent: Counter[str]
    stored: Counter[str]
    quarantined: Counter[str]
    faults: tuple[str, ...]

    @property
    def is_even(self) -> bool:
        return not self.faults

    def table(self) -> Table:
        table = Table("device type", box=None, pad_edge=False, header_style="bold")
        for name in ("sent", "stored", "in quarantine", "lost"):
            table.add_column(name, justify="right")
        for kind in METRICS:
            table.add_row(kind, *self._cells(self.sent[kind], self.stored[kind], self.quarantined[kind]))
        totals = self._cells(self.sent.total(), self.stored.total(), self.quarantined.total())
        table.add_row("all", *totals, style="bold")
        return table

    def say(self, console: Console) -> None:
        if self.is_even:
            text = f"The ledger balances: {self.sent.total():,} readings acknowledged, each is stored or in quarantine."
            console.print(text, style="bold green", highlight=False, soft_wrap=True)
            return
        console.print(f"The ledger does NOT balance, {len(self.faults)} differences:", style="bold red")
        for fault in self.faults[:SHOWN]:
            console.print(f"  {fault}", style="red")

    @staticmethod
    def _cells(sent: int, stored: int, quarantined: int) -> tuple[str, ...]:
        return f"{sent:,}", f"{stored:,}", f"{quarantined:,}", f"{sent - stored - quarantined:,}"


def balance(
    devices: Sequence[CityDevice],
    ledger: SentLedger,
    tally: FleetTally,
    stored: Stored,
    differences: Sequence[SeriesDifference],
) -> Balance:
    """Set what was acknowledged against what the store holds."""
    kinds = {device.device_id: device.device_type for device in devices}
    sent: Counter[str] = Counter()
    for (device_id, _), print_ in ledger.fingerprints():
        sent[kinds[device_id]] += print_.readings
    for device_id, count in tally.bad_acked.items():
        sent[kinds[device_id]] += count
    found: Counter[str] = Counter()
    for (device_id, _), print_ in stored.series.items():
        found[kinds[device_id]] += print_.readings
    quarantined: Counter[str] = Counter()
    for device_id, count in stored.quarantined.items():
        quarantined[kinds[device_id]] += count
    return Balance(sent, found, quarantined, tuple(_faults(tally, stored, differences)))


def _faults(tally: FleetTally, stored: Stored, differences: Sequence[SeriesDifference]) -> list[str]:
    faults = []
    for one in differences:
        what = f"sent {one.sent.readings} readings, stored {one.stored.readings}"
        others = " with other times" if one.sent.readings == one.stored.readings else ""
        faults.append(f"{one.device_id} {one.metric}: {what}{others}")
    for device_id in sorted(tally.bad_acked.keys() | stored.quarantined.keys()):
        due, there = tally.bad_acked.get(device_id, 0), stored.quarantined.get(device_id, 0)
        if due != there:
            faults.append(f"{device_id}: {due} readings belong into quarantine, {there} are there")
    faults += [f"{count} readings were refused: {reason}" for reason, count in sorted(tally.refused.items())]
    if tally.unacked:
        faults.append(f"{tally.unacked} readings were not acknowledged")
    return faults
