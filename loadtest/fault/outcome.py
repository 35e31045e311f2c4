"""What a run of a scenario found, and whether it passed."""

import msgspec


class Outcome(msgspec.Struct, kw_only=True):
    """Counts are readings. Built by the checker; a scenario adds `recovery_s`, `notes` and, if it must, `problems`.

    `missing`, `doubled`, `wrong_values`, `unexpected` name places, a line each, at most a few; the numbers beside them
    count all.
    """

    acknowledged: int = 0
    stored: int = 0
    missing: list[str] = []
    missing_readings: int = 0
    # Seen twice through `ioc`, or with more copies in the table than were ever sent.
    doubled: list[str] = []
    doubled_readings: int = 0
    wrong_values: list[str] = []
    wrong_readings: int = 0
    # Stored though never sent, series that nobody has, readings in quarantine that should not be.
    unexpected: list[str] = []
    ledger_imbalance: int = 0
    # Highest resident memory of each role, megabytes.
    peak_rss_mb: dict[str, float] = {}
    # From the end of the worst fault until the platform acknowledged again, or had stored everything.
    recovery_s: float = 0.0
    seconds: float = 0.0
    notes: list[str] = []
    # Anything else that must not be.
    problems: list[str] = []

    @property
    def failed(self) -> str:
        """Why the run did not pass; empty if it did."""
        found = []
        if self.missing:
            found.append(f"{self.missing_readings:,} acknowledged readings missing: {_some(self.missing)}")
        if self.doubled:
            found.append(f"{self.doubled_readings:,} readings doubled: {_some(self.doubled)}")
        if self.wrong_values:
            found.append(f"{self.wrong_readings:,} wrong values: {_some(self.wrong_values)}")
        if self.unexpected:
            found.append(f"unexpected: {_some(self.unexpected)}")
        if self.ledger_imbalance:
            found.append(f"ledger out of balance by {self.ledger_imbalance:,}")
        return "; ".join(found + self.problems)


def _some(lines: list[str]) -> str:
    return ", ".join(lines[:3]) + (", ..." if len(lines) > 3 else "")
