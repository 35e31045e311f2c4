"""`cityfleet device list --watch`: what matches now, then every change, over broken connections too."""

import time
from collections.abc import Iterator
from typing import Any

import grpc

from cityfleet.registry.v1 import device_pb2 as pb
from cli.record import enum_word, row_of
from cli.registry_client import RegistryClient

LONGEST_PAUSE_S = 10.0


def watch(client: RegistryClient, request: pb.WatchDevicesRequest) -> Iterator[dict[str, Any]]:
    """Rows of a device with `change`: snapshot, changed or removed. It has no end of its own.

    After a lost connection it goes on where it was; if the registry cannot, a fresh snapshot comes.
    Raises: grpc.RpcError for whatever waiting does not mend.
    """
    kinds = pb.WatchDevicesResponse.DESCRIPTOR.fields_by_name["kind"]
    pause_s, is_connected = 0.25, False
    while True:
        try:
            for response in client.devices.WatchDevices(request):
                pause_s, is_connected = 0.25, True
                word = enum_word(kinds, response.kind)
                for device in response.devices:
                    yield {"change": word} | row_of(device, "device_id")
                if response.resume_token:
                    request.resume_token = response.resume_token
        except grpc.RpcError as exc:
            code = exc.code() if isinstance(exc, grpc.Call) else None
            if code is grpc.StatusCode.OUT_OF_RANGE and request.resume_token:
                request.resume_token = ""
                continue
            if code is not grpc.StatusCode.UNAVAILABLE or not is_connected:
                raise
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
