"""A quota in plain Python: what was taken is a list, and what is not paid for yet is counted anew each time."""


class QuotaTwin:
    """Of one sender. A debt beyond the burst is at most 60 s."""

    DEBT_S = 60.0

    def __init__(self, messages_per_s: float, bytes_per_s: float, burst_s: float) -> None:
        self._costs = (
            1 / messages_per_s if messages_per_s else 0.0,
            1 / bytes_per_s if bytes_per_s else 0.0,
        )
        self._burst_s = burst_s
        self._unpaid_s = [0.0, 0.0]
        self._at_s = 0.0

    def charge(self, size_bytes: int, now_s: float, is_taken: bool) -> float:
        passed_s, self._at_s = now_s - self._at_s, now_s
        self._unpaid_s = [max(0.0, unpaid_s - passed_s) for unpaid_s in self._unpaid_s]
        over_s = max(0.0, max(self._unpaid_s) - self._burst_s)
        if over_s and not is_taken:
            return over_s
        for which, units in enumerate((1, size_bytes)):
            most_s = self._burst_s + self.DEBT_S
            self._unpaid_s[which] = min(self._unpaid_s[which] + self._costs[which] * units, most_s)
        return over_s
