"""WatchDeviceIndexResponse, applied to a device index from its bytes."""

from ext.telemetry.index import DeviceIndex

class DeviceStream:
    rest: bytes
    refused: int
    problem: str
    def __init__(self, response: bytes) -> None: ...
    def __len__(self) -> int: ...
    def apply(self, index: DeviceIndex, limit: int) -> list[str]: ...
