"""What the consumer of an external broker asks for: subscriptions, password, TLS, and what is stale."""

import ssl
from pathlib import Path

import msgspec
import structlog

from ingest.disk import write_file
from ingest.errors import ConfigError
from ingest.settings import BrokerSettings

log = structlog.get_logger()

# SUBSCRIBE options, MQTT 5.0 section 3.8.3.1: Retain Handling 2, so that a subscription brings no retained messages.
_NO_RETAINED = 0x20
_SPARKPLUG = "spBv1.0/"


class Plan(msgspec.Struct, frozen=True):
    """`shared` is for every connection, `single` for the first only; without a share group everything is single."""

    shared: tuple[str, ...]
    single: tuple[str, ...]
    connections: int

    @classmethod
    def of(cls, settings: BrokerSettings) -> "Plan":
        """Sparkplug topics are never shared: their sequence numbers and aliases hold for one reader of all."""
        group = settings.share_group
        if not group:
            if settings.connections > 1:
                log.warning("broker_one_connection", reason="without share_group each would get every message")
            return cls((), settings.filters, 1)
        shared = tuple(one for one in settings.filters if not one.startswith(_SPARKPLUG))
        for one in shared:
            if one[0] in "+#":
                log.warning("broker_filter_too_wide", filter=one, reason="it would share Sparkplug topics too")
        single = tuple(one for one in settings.filters if one.startswith(_SPARKPLUG))
        return cls(tuple(f"$share/{group}/{one}" for one in shared), single, settings.connections if shared else 1)

    def filters(self, number: int) -> tuple[str, ...]:
        """Of connection `number`, from 0."""
        return (*self.single, *self.shared) if number == 0 else self.shared


def options(version: int, qos: int) -> int:
    """The options byte of a filter: No Local off (it must be for shared ones), Retain As Published off."""
    return qos | _NO_RETAINED if version == 5 else qos


def password_of(settings: BrokerSettings) -> str:
    """Raises: ConfigError if the file cannot be read."""
    if not settings.password_file:
        return settings.password
    try:
        return Path(settings.password_file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"ingest.broker.password_file: cannot read {settings.password_file}: {exc}") from exc


def tls_of(settings: BrokerSettings) -> ssl.SSLContext | None:
    """Raises: ConfigError if a certificate or key cannot be used."""
    if not settings.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
        if settings.cert_file:
            context.load_cert_chain(settings.cert_file, settings.key_file or None)
    except (OSError, ValueError) as exc:
        raise ConfigError(f"ingest.broker: cannot use ca_file, cert_file or key_file: {exc}") from exc
    return context


class Remembered:
    """What each client id last subscribed to, kept in a file: a session at the broker outlives us and our settings."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._filters: dict[str, list[str]] = {}
        if path is not None and path.exists():
            try:
                self._filters = msgspec.json.decode(path.read_bytes(), type=dict[str, list[str]])
            except (OSError, msgspec.DecodeError) as exc:
                log.warning("broker_filters_forgotten", reason=str(exc))

    def stale(self, client_id: str, wanted: tuple[str, ...]) -> list[bytes]:
        return [one.encode() for one in self._filters.get(client_id, []) if one not in wanted]

    def keep(self, client_id: str, filters: tuple[str, ...]) -> None:
        """Durable on return; blocks for a sync, once after the filters of the settings have changed.

        A file that cannot be written is told in the log, and tried again with the next connection.
        """
        if self._path is None or self._filters.get(client_id) == list(filters):
            return
        changed = {**self._filters, client_id: list(filters)}
        try:
            write_file(self._path, msgspec.json.encode(changed))
        except OSError as exc:
            log.warning("broker_filters_not_kept", reason=str(exc))
        else:
            self._filters = changed
