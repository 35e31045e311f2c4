"""Devices between protobuf and the registry's own types."""

from cityfleet.registry.v1 import device_pb2 as pb
from registry.api.device_state import fill
from registry.api.masks import masked
from registry.api.names import id_of, optional_timestamp, timestamp
from registry.devices import fleet
from registry.devices.catalogue import etag
from registry.devices.model import Device, DeviceSpec
from registry.state.described import Described


def spec_of(device_id: str, given: pb.Device) -> DeviceSpec:
    """What was found by the place or taken from the site, and comes back from a Get, is not the caller's word."""
    has_place = not given.is_place_derived
    return DeviceSpec(
        device_id=device_id,
        device_type=given.device_type,
        display_name=given.display_name,
        gateway=given.gateway,
        ward_code="" if given.is_ward_derived else given.ward_code,
        site=given.site,
        latitude=given.latitude if has_place and given.HasField("latitude") else None,
        longitude=given.longitude if has_place and given.HasField("longitude") else None,
        labels=dict(given.labels),
        external_id=given.external_id,
        site_id=given.site_id,
        hardware_revision=given.hardware_revision,
    )


def change_of(request: pb.UpdateDeviceRequest) -> fleet.Change:
    """Raises: InvalidError."""
    given = request.device
    fields, label_keys = masked(given, request.update_mask.paths, fleet.UPDATABLE)
    spec = spec_of(id_of(given.name, "devices", "device.name"), given)
    return fleet.Change(spec, fields, label_keys, given.etag, request.allow_missing)


def shown(described: Described) -> pb.Device:
    """A device with what it is like now."""
    device = message(described.device)
    fill(device, described.known, described.now_ms, described.document)
    return device


def message(device: Device) -> pb.Device:
    """What the registry says of a device, without what it said itself."""
    spec, placed = device.spec, device.placed
    return pb.Device(
        name=f"devices/{spec.device_id}",
        device_num=device.device_num,
        display_name=spec.display_name,
        device_type=spec.device_type,
        gateway=spec.gateway,
        ward_code=placed.ward_code,
        is_ward_derived=placed.is_ward_derived,
        site=spec.site,
        site_id=spec.site_id,
        latitude=placed.latitude,
        longitude=placed.longitude,
        is_place_derived=placed.is_place_derived,
        hardware_revision=spec.hardware_revision,
        labels=spec.labels,
        external_id=spec.external_id,
        state=pb.Device.State.ValueType(device.state),
        etag=etag(device.revision) if device.revision else "",
        create_time=timestamp(device.create_time_ms),
        update_time=timestamp(device.update_time_ms),
        delete_time=optional_timestamp(device.delete_time_ms),
        purge_time=optional_timestamp(device.purge_time_ms),
    )
