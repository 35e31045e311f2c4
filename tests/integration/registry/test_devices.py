"""Devices over gRPC: create, get, list, update, decommission, tokens, and the errors of each."""

import hashlib

import grpc
import pytest

from cityfleet.registry.v1 import (
    device_index_pb2,
    device_index_pb2_grpc,
    device_pb2,
    device_pb2_grpc,
    device_type_pb2,
    device_type_pb2_grpc,
)
from tests.support.registry import running_registry


def test_smoke(tmp_path):
    with running_registry(tmp_path) as registry, registry.channel() as channel:
        types = device_type_pb2_grpc.DeviceTypeServiceStub(channel)
        devices = device_pb2_grpc.DeviceServiceStub(channel)
        index = device_index_pb2_grpc.DeviceIndexServiceStub(channel)
        applied = types.ApplyDeviceType(
            device_type_pb2.ApplyDeviceTypeRequest(
                device_type=device_type_pb2.DeviceType(
                    name="deviceTypes/gauge", metrics=[{"metric": "rain_mm", "min_value": 0}]
                )
            )
        )
        print(applied)
        watch = index.WatchDeviceIndex(device_index_pb2.WatchDeviceIndexRequest(), metadata=registry.metadata)
        first = next(watch)
        print(first)
        print(next(watch))
        created = devices.CreateDevice(
            device_pb2.CreateDeviceRequest(
                device_id="wl-1", device=device_pb2.Device(device_type="gauge", ward_code="00070", labels={"a": "b"})
            )
        )
        change = next(watch)
        print(change)
        assert change.devices[0].token_sha256[0] == hashlib.sha256(created.token.encode()).digest()
        watch.cancel()
        print(devices.ListDevices(device_pb2.ListDevicesRequest(filter='labels.a=b AND ward_code="00070"')))
        with pytest.raises(grpc.RpcError) as e:
            devices.CreateDevice(
                device_pb2.CreateDeviceRequest(
                    device_id="wl-1", device=device_pb2.Device(device_type="gaug", ward_code="70", labels={"a": "b"})
                )
            )
        print(e.value)
        assert registry.stop() == 0
