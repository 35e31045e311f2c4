"""Types and devices for tests, created through the registry's public API."""

import socket
import struct
import time

import grpc

from cityfleet.registry.v1 import device_pb2, device_pb2_grpc, device_type_pb2, device_type_pb2_grpc
from cityfleet.registry.v1.device_pb2 import Device
from cityfleet.registry.v1.device_type_pb2 import DeviceType, DeviceTypeMetric


class Provisioner:
    """`with Provisioner(platform.registry_channel()) as fleet: token = fleet.device("wl-1", "gauge")`."""

    def __init__(self, channel: grpc.Channel, mqtt_port: int = 0) -> None:
        """The channel is closed in the end. With `mqtt_port`, a device is given out when ingest accepts its token."""
        self._mqtt_port = mqtt_port
        self._channel = channel
        self._types = device_type_pb2_grpc.DeviceTypeServiceStub(self._channel)
        self.devices = device_pb2_grpc.DeviceServiceStub(self._channel)

    def __enter__(self) -> "Provisioner":
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def type(
        self, name: str, metrics: dict[str, tuple[float, float] | None], *, is_gateway: bool = False, encoding: str = ""
    ) -> None:
        """Apply a device type; a metric's value is its gross range or None."""
        described = [
            DeviceTypeMetric(metric=metric, min_value=span[0], max_value=span[1])
            if span
            else DeviceTypeMetric(metric=metric)
            for metric, span in metrics.items()
        ]
        self._types.ApplyDeviceType(
            device_type_pb2.ApplyDeviceTypeRequest(
                device_type=DeviceType(
                    name=f"deviceTypes/{name}",
                    is_gateway=is_gateway,
                    default_encoding=encoding,
                    expected_interval_s=60,
                    metrics=described,
                )
            )
        )

    def device(self, device_id: str, device_type: str, *, gateway: str = "", ward: str = "") -> str:
        """Create a device; returns its token."""
        answer = self.devices.CreateDevice(
            device_pb2.CreateDeviceRequest(
                device_id=device_id, device=Device(device_type=device_type, gateway=gateway, ward_code=ward)
            )
        )
        if self._mqtt_port:
            self._wait_accepted(device_id, answer.token)
        return str(answer.token)

    def _wait_accepted(self, device_id: str, token: str) -> None:
        connect = b"".join(
            struct.pack(">H", len(part)) + part for part in (b"probe", device_id.encode(), token.encode())
        )
        connect = struct.pack(">H", 4) + b"MQTT\x04\xc2\x00\x00" + connect
        deadline = time.monotonic() + 60
        while True:
            with socket.create_connection(("127.0.0.1", self._mqtt_port), timeout=10) as link:
                link.sendall(bytes([0x10, len(connect)]) + connect)
                if link.recv(4) == b"\x20\x02\x00\x00":
                    return
            assert time.monotonic() < deadline, f"ingest does not know {device_id}"
            time.sleep(0.02)
