"""How much a sender may send: messages and bytes a second, with a burst, by device slot."""

from ext.telemetry.index import DeviceIndex

class Quota:
    """One per process. Each rate is (messages a second, bytes a second, burst in seconds); 0: no limit."""

    def __init__(
        self, index: DeviceIndex, devices: tuple[float, float, float], gateways: tuple[float, float, float]
    ) -> None: ...
    def take(self, slot: int, size_bytes: int) -> float:
        """Count a message if its sender is within its quota.

        Args:
            slot: of the sender in the device index.
        Returns: 0; or, not counted, the seconds until the sender is within its quota again.
        """

    def charge_at(self, slot: int, size_bytes: int, now_s: float, is_taken: bool) -> float:
        """charge() of a device at a time of the caller's choice, for tests."""
