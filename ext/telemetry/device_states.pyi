"""What devices were last heard to do, and what of it the registry is told."""

from ext.telemetry.index import DeviceIndex

# The reason for close() where a stream has ended.
STREAM_ENDED: int
# Names of how connections end that are not reason codes of MQTT, by number.
ENDS: dict[int, str]

class DeviceStates:
    """One per process, beside its device index; not thread-safe. Only the newest of each device is kept."""

    def __init__(
        self,
        index: DeviceIndex,
        node: str,
        run: int,
        reasons: dict[int, str],
        progress_s: int = 20,
        max_document_bytes: int = 64_000_000,
    ) -> None:
        """
        Args:
            node: name of this process at the registry, 1 to 63 bytes.
            run: another number for each start of it, below 2**64.
            reasons: names of reasons for which connections end, by number 0 to 255.
            progress_s: a device with no other news than that it talks is told at most so often.
            max_document_bytes: of all `state` documents that wait to be told.
        """

    def open(self, slot: int) -> None:
        """A stream of the device has begun. Raises: IndexError for a slot that the index does not have."""

    def close(self, slot: int, reason: int) -> None:
        """One of the device's streams has ended. Args: reason: of those given at the start."""

    def see(self, slot: int, at_ms: int) -> None:
        """A message of the device came then: UTC milliseconds."""

    def read(self, slot: int, at_ms: int) -> None:
        """A reading of the device came then: UTC milliseconds."""

    def document(self, slot: int, document: bytes, at_ms: int) -> bool:
        """A `state` document, a JSON object, came then. False: there is no room for it."""

    def recover(self, device_num: int, document: bytes, at_ms: int) -> None:
        """A `state` document that an earlier run had taken and not told, whether or not the index has its device."""

    def take_fresh(self) -> list[tuple[int, bytes, int]]:
        """Documents that came since the last call and that the registry has not: (device number, document, time)."""

    def untold(self) -> list[tuple[int, bytes, int]]:
        """All documents that the registry has not answered for: (device number, document, time)."""

    def begin_round(self) -> int:
        """Put those with news in line for next_request(); returns how many there are."""

    def next_request(self, look_at: int = 20_000) -> bytes:
        """A ReportDeviceStatesRequest for the next of the round that have something to tell.

        What is in it counts as told: keep the bytes until they are answered, and send them again until then.

        Args: look_at: so many of the round are looked at.
        Returns: empty if none of these has anything to tell now; then it may still be `left`.
        """

    def answered(self) -> None:
        """The registry has what was in the requests so far: their documents are forgotten."""

    def refused(self) -> None:
        """The registry would never take the last request. Its documents are told once more, each alone, for it need
        not be theirs what is wrong; one that is refused alone is forgotten."""

    def greeting(self) -> bytes:
        """A request that only says that this node is there."""

    def tell_connections_again(self) -> None:
        """The registry may have given up what we have connected: it is news once more."""

    @property
    def left(self) -> int:
        """Of the round, those not looked at yet, and documents of an earlier run."""

    def counters(self) -> dict[str, int]:
        """`waiting` devices with news and `document_bytes` now; `told`, `documents`, `documents_refused` ever."""
