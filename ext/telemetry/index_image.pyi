"""The devices of an index as plain bytes, for a file, and back."""

from ext.telemetry.index import DeviceIndex

LAYOUT: str

def parts_of(index: DeviceIndex) -> list[memoryview | bytes]: ...
def restore(index: DeviceIndex, parts: list[memoryview]) -> None: ...
