"""The listeners of the MQTT endpoint: plain, TLS, WebSocket and WebSocket over TLS, behind one door."""

import asyncio
import resource
import socket
import ssl
from collections import Counter

import structlog
import uvloop

from ext.mqtt.connection import Connection
from ext.mqtt.hub import Hub
from ext.mqtt.websocket import WebSocketConnection
from ingest.settings import MqttSettings
from ingest.transport.address import bind
from ingest.transport.admission import Admission, Serve
from ingest.transport.tls import Certificate

log = structlog.get_logger()

# Files and sockets of the process beside the devices' connections.
SPARE_FILES = 2048
# Of those, what accepting leaves free for the spool, the store and the bus.
_KEPT_FREE = 512
_LOOK_AT_FILES_S = 1.0
# How long a client may take to say good-bye in TLS.
_SHUTDOWN_S = 2.0


class Listeners:
    """Plain ints by event name in `counters`; `addresses` by kind (mqtt, mqtts, ws, wss) once started."""

    def __init__(self, settings: MqttSettings, *, shares_ports: bool = False) -> None:
        """`shares_ports`: other processes of ours listen on the same ports."""
        self._settings = settings
        self._shares_ports = shares_ports
        self._admission: Admission | None = None
        self._certificate: Certificate | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.counters: Counter[str] = Counter()
        self.addresses: dict[str, str] = {}

    async def start(self, hub: Hub) -> None:
        """Listen wherever the settings say. Raises: ConfigError (certificate, host), OSError (address)."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        if not isinstance(loop, uvloop.Loop):
            raise RuntimeError("the MQTT endpoint needs uvloop")  # others do not take its protocol class
        files = _allow_files(settings.max_connections + SPARE_FILES)
        if not any(one.enabled for one in (settings, settings.tls, settings.websocket, settings.websocket_tls)):
            log.warning("mqtt_listens_nowhere")
        if settings.tls.enabled or settings.websocket_tls.enabled:
            self._certificate = Certificate(settings.tls, self.counters)
        admission = self._admission = Admission(
            settings.max_connects_per_s,
            lambda: files - _KEPT_FREE - hub.sockets - admission.waiting - admission.serving,
            self.counters,
        )
        listeners = (
            ("mqtt", "", settings, self._plain(hub, Connection)),
            ("mqtts", ".tls", settings.tls, self._secure(hub, Connection)),
            ("ws", ".websocket", settings.websocket, self._plain(hub, WebSocketConnection)),
            ("wss", ".websocket_tls", settings.websocket_tls, self._secure(hub, WebSocketConnection)),
        )
        try:
            for kind, section, listen, serve in listeners:
                if listen.enabled:
                    host = listen.host or settings.host
                    bound = await bind(host, listen.port, f"ingest.mqtt{section}", shares_port=self._shares_ports)
                    for one in bound:
                        admission.listen(one, serve, _is_one_packet if kind == "mqtt" else _needs_answer)
                    self.addresses[kind] = f"{host}:{bound[0].getsockname()[1]}"
        except BaseException:
            admission.close()
            raise
        self._look_at_files()

    def stop(self) -> None:
        """Accept no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._admission is not None:
            self._admission.close()

    async def close(self) -> None:
        """Accept no more, and end handshakes that are under way."""
        self.stop()
        if self._admission is not None:
            await self._admission.join()

    @property
    def waiting(self) -> int:
        """Clients accepted and not served yet."""
        return self._admission.waiting if self._admission is not None else 0

    def _look_at_files(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_LOOK_AT_FILES_S, self._look_at_files)
        if self._certificate is not None:
            self._certificate.refresh()

    def _plain(self, hub: Hub, protocol: type[Connection]) -> Serve:
        loop = asyncio.get_running_loop()

        async def serve(client: socket.socket) -> None:
            try:
                await loop.connect_accepted_socket(lambda: protocol(hub), client)
            except OSError:
                self.counters["connects.lost"] += 1
                client.close()

        return serve

    def _secure(self, hub: Hub, protocol: type[Connection]) -> Serve:
        loop = asyncio.get_running_loop()
        timeout_s = self._settings.connect_timeout_s

        async def serve(client: socket.socket) -> None:
            assert self._certificate is not None
            try:
                await loop.connect_accepted_socket(
                    lambda: protocol(hub),
                    client,
                    ssl=self._certificate.context,
                    ssl_handshake_timeout=timeout_s,
                    ssl_shutdown_timeout=_SHUTDOWN_S,
                )
                self.counters["tls_handshakes"] += 1
            except ssl.SSLError as exc:
                self.counters["connects.tls_failed"] += 1
                log.debug("tls_handshake_failed", reason=exc.reason)
            except ConnectionAbortedError:  # what uvloop raises when the time is over
                self.counters["connects.tls_timeout"] += 1
            except OSError:
                self.counters["connects.tls_lost"] += 1

        return serve


def _needs_answer(_: bytes) -> bool:
    """No message comes before our first answer."""
    return True


def _is_one_packet(words: bytes) -> bool:
    """Nothing but a CONNECT, or a part of it: there may be messages behind it, which need no answer at QoS 0."""
    size, shift = 0, 0
    for at in range(1, min(len(words), 5)):
        size |= (words[at] & 0x7F) << shift
        shift += 7
        if words[at] < 0x80:
            return len(words) <= at + 1 + size
    return True


def _allow_files(wanted: int) -> int:
    """Raise this process's limit of open files, whose usual default of 1,024 is soon reached, as far as it may go."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    if allowed < wanted:
        log.warning("mqtt_open_files_limited", limit=allowed, wanted=wanted)
    return wanted if soft == resource.RLIM_INFINITY else soft
