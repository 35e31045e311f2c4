"""One connection to an external broker, for uvloop."""

import asyncio

from ext.mqtt.intake import Intake

class BrokerLink(asyncio.BufferedProtocol):
    client_id: bytes
    def __init__(
        self,
        intake: Intake,
        client_id: bytes,
        *,
        max_packet_bytes: int,
        connect_timeout_s: float,
        stall_s: float,
        ack_timeout_s: float,
    ) -> None: ...
    def begin(
        self,
        version: int,
        *,
        username: bytes | None,
        password: bytes | None,
        filters: list[tuple[bytes, int]],
        stale_filters: list[bytes],
        keep_alive_s: int,
        session_expiry_s: int,
        will: tuple[bytes, bytes, int, bool] | None = None,
    ) -> tuple[asyncio.Future[bytes], asyncio.Future[tuple[str, int, bytes]]]: ...
    def close(self) -> None: ...
    def publish(self, topic: bytes, payload: bytes, qos: int, retain: bool = False) -> None: ...
    @property
    def is_open(self) -> bool: ...
    @property
    def had_session(self) -> bool: ...
    def counters(self) -> dict[str, int]: ...
    def gauges(self) -> dict[str, float]: ...
