"""The device index: a read-only copy of the registry's devices, updated in place by the thread that also reads it."""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, TypedDict

from ext.telemetry.type_decoder import TypeDecoder

AUTH_UNKNOWN_DEVICE: Final = -1
AUTH_WRONG_TOKEN: Final = -2
AUTH_DECOMMISSIONED: Final = -3
AUTH_NOT_LOADED: Final = -4

class DeviceFacts(TypedDict):
    device_id: str
    device_num: int
    gateway_num: int
    type_num: int
    device_type: str
    external_id: str
    ward_code: str
    is_active: bool
    is_gateway: bool
    default_encoding: int

class Operator(NamedTuple):
    name: str
    subscribe_filters: tuple[bytes, ...]
    publish_filters: tuple[bytes, ...]

# Low and high bound, both within; None: open.
Span = tuple[float | None, float | None]

class DeviceIndex:
    awaits_snapshot: bool
    def __init__(self, conversions: Callable[[str], Iterable[tuple[str, float, float]]] | None = None) -> None: ...
    def __len__(self) -> int: ...
    def count_known(self, ids: bytes, grouped: bool) -> int: ...
    @property
    def memory_bytes(self) -> int: ...
    def authenticate(self, device_id: bytes, token: bytes) -> int: ...
    def authenticate_operator(self, name: bytes, token: bytes) -> Operator | None: ...
    def find_external_id(self, external_id: str | bytes) -> int: ...
    def find_device(self, device_id: str | bytes) -> int: ...
    def device_id(self, slot: int) -> str: ...
    def device(self, slot: int) -> DeviceFacts: ...
    def begin_snapshot(self) -> None: ...
    def end_snapshot(self) -> list[str]: ...
    def put_metric(self, metric_num: int, metric: str, unit: str) -> None: ...
    def put_unit(self, metric_num: int, unit: str, factor: float, offset: float) -> None: ...
    def put_type(
        self,
        type_num: int,
        device_type: str,
        is_gateway: bool,
        default_encoding: str,
        metrics: list[tuple[int, float | None, float | None]],
        decoder: TypeDecoder | None = None,
        spans: dict[int, tuple[Span, dict[int, tuple[Span, Span]]]] | None = None,
    ) -> None: ...
    def put_device(
        self,
        device_num: int,
        device_id: str,
        type_num: int,
        ward_code: str,
        gateway_num: int,
        token_sha256: list[bytes],
        is_active: bool,
        external_id: str = "",
    ) -> bool: ...
    def put_operator(
        self,
        operator: str,
        token_sha256: bytes,
        subscribe_filters: list[str],
        publish_filters: list[str],
        is_active: bool,
    ) -> bool: ...
