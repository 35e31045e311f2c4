"""The registry's plain data types. Times are UTC milliseconds since the epoch, by the registry's clock."""

import enum

import msgspec

from registry.devices.decoder import Decoder, TestVector
from registry.devices.quality import QualityTests


class State(enum.IntEnum):
    """Of a device, as the database has it. Who watches the device index learns only whether it is ACTIVE."""

    ACTIVE = 1
    DECOMMISSIONED = 2
    DELETED = 3


class Metric(msgspec.Struct, frozen=True):
    metric_num: int
    metric_id: str
    unit: str
    description: str
    revision: int
    create_time_ms: int
    update_time_ms: int


class TypeMetric(msgspec.Struct, frozen=True, omit_defaults=True):
    """`resolution` 0: not known; `expected_interval_s` 0: the type's."""

    metric: str
    min_value: float | None = None
    max_value: float | None = None
    # What payloads call it and the unit it comes in; empty: as the metric.
    source: str = ""
    source_unit: str = ""
    resolution: float = 0.0
    expected_interval_s: int = 0
    tests: QualityTests = QualityTests()


class CommandSchema(msgspec.Struct, frozen=True, omit_defaults=True):
    """Schemas are JSON Schema as compact JSON; empty: anything."""

    command: str
    description: str = ""
    parameters_schema: str = ""
    result_schema: str = ""
    is_idempotent: bool = False


class TypeSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a person decides about a device type.

    Kept as JSON for each of its versions: fields may be added, not renamed.
    """

    type_id: str
    display_name: str = ""
    description: str = ""
    is_gateway: bool = False
    default_encoding: str = "senml-json"
    expected_interval_s: int = 0
    metrics: tuple[TypeMetric, ...] = ()
    decoder: Decoder = Decoder()
    vectors: tuple[TestVector, ...] = ()
    config_schema: str = ""
    commands: tuple[CommandSchema, ...] = ()
    hardware_revisions: tuple[str, ...] = ()


class DeviceType(msgspec.Struct, frozen=True):
    type_num: int
    spec: TypeSpec
    version: int
    # Revision at which a column that the device dimension copies from the type changed last.
    dimension_revision: int
    revision: int
    create_time_ms: int
    update_time_ms: int


# `gc=False`, here and below: made by the million and never part of a cycle, so the collector need not walk over them.
class DeviceSpec(msgspec.Struct, frozen=True, gc=False):
    """What a person decides about a device; `gateway` and `site_id` are ids, empty for none. Without a ward or a place
    of its own it has that of its site, or the ward is found by the place."""

    device_id: str
    device_type: str
    display_name: str = ""
    gateway: str = ""
    ward_code: str = ""
    site: str = ""
    latitude: float | None = None
    longitude: float | None = None
    labels: dict[str, str] = {}
    external_id: str = ""
    site_id: str = ""
    hardware_revision: str = ""


class Placed(msgspec.Struct, frozen=True, gc=False):
    """Ward and place in force; derived: not the device's own."""

    ward_code: str = ""
    is_ward_derived: bool = False
    latitude: float | None = None
    longitude: float | None = None
    is_place_derived: bool = False


class Placement(msgspec.Struct, frozen=True):
    """Where a device was; `end_time_ms` None: still is."""

    start_time_ms: int
    end_time_ms: int | None
    gateway: str
    site_id: str
    ward_code: str
    latitude: float | None
    longitude: float | None


class Device(msgspec.Struct, frozen=True):
    device_num: int
    spec: DeviceSpec
    type_num: int
    gateway_num: int
    site_num: int
    placed: Placed
    # Since when it is where it is: gateway, site, ward and place.
    placed_time_ms: int
    state: State
    revision: int
    create_time_ms: int
    update_time_ms: int
    delete_time_ms: int | None = None
    purge_time_ms: int | None = None

    @property
    def is_active(self) -> bool:
        return self.state == State.ACTIVE


class OperatorSpec(msgspec.Struct, frozen=True):
    """What a person decides about an operator: an account for a live view over MQTT. Filters are MQTT topic filters."""

    operator_id: str
    display_name: str = ""
    subscribe_filters: tuple[str, ...] = ()
    publish_filters: tuple[str, ...] = ()
    disabled: bool = False


class Operator(msgspec.Struct, frozen=True):
    """`is_active`: neither disabled nor deleted."""

    operator_num: int
    spec: OperatorSpec
    token_sha256: bytes
    is_active: bool
    revision: int
    create_time_ms: int
    update_time_ms: int
