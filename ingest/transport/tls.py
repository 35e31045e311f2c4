"""The certificate of the TLS listeners: checked at start, taken up again when its files change."""

import ssl
from collections import Counter
from pathlib import Path

import structlog

from ingest.errors import ConfigError
from ingest.settings import TlsSettings

log = structlog.get_logger()

_SETTING = "ingest.mqtt.tls"


class Certificate:
    """`context` is for the next handshake: connections that are open keep theirs.

    Args: counters: gets `tls_reloads` and `tls_reload_failures`.
    Raises: ConfigError that names the setting, if the files cannot be used.
    """

    def __init__(self, settings: TlsSettings, counters: Counter[str]) -> None:
        self._settings = settings
        self._counters = counters
        self._seen = self._stamp()
        self.context = _context(settings)

    def refresh(self) -> None:
        """Look whether the files have changed; files that cannot be used are logged, and the old ones stay in use."""
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self.context = _context(self._settings)
        except ConfigError as exc:
            self._counters["tls_reload_failures"] += 1
            log.error("tls_reload_failed", reason=str(exc), remedy="the certificate loaded before stays in use")
        else:
            self._counters["tls_reloads"] += 1
            log.info("tls_reloaded", cert_file=self._settings.cert_file)

    def _stamp(self) -> list[tuple[int, int, int] | None]:
        """What tells one version of the files from another, through symbolic links."""
        stamps: list[tuple[int, int, int] | None] = []
        for name in (self._settings.cert_file, self._settings.key_file, self._settings.client_ca_file):
            try:
                found = Path(name).expanduser().stat() if name else None
            except OSError:
                found = None
            stamps.append((found.st_mtime_ns, found.st_size, found.st_ino) if found else None)
        return stamps


def _context(settings: TlsSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    if not settings.cert_file:
        raise ConfigError(f"{_SETTING}.cert_file: TLS needs a certificate")
    certificate = _readable(settings.cert_file, "cert_file")
    key = _readable(settings.key_file, "key_file") if settings.key_file else certificate
    key_setting = "key_file" if settings.key_file else "cert_file"
    _check_certificates(certificate, "cert_file")
    try:
        context.load_cert_chain(certificate, key, password=_refuse_password)
    except _EncryptedKeyError:
        raise ConfigError(
            f"{_SETTING}.{key_setting}: the key in {key} is encrypted; give it without a password"
        ) from None
    except ssl.SSLError as exc:
        if exc.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"{_SETTING}.{key_setting}: {key} is not the key of {certificate}") from exc
        raise ConfigError(f"{_SETTING}.{key_setting}: no private key in {key} that can be used ({_why(exc)})") from exc
    if settings.client_ca_file:
        authorities = _readable(settings.client_ca_file, "client_ca_file")
        _check_certificates(authorities, "client_ca_file")
        context.load_verify_locations(authorities)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class _EncryptedKeyError(Exception):
    pass


def _refuse_password() -> str:
    """OpenSSL would ask on the terminal."""
    raise _EncryptedKeyError


def _readable(name: str, setting: str) -> Path:
    path = Path(name).expanduser()
    try:
        with path.open("rb"):
            return path
    except OSError as exc:
        raise ConfigError(f"{_SETTING}.{setting}: cannot read {path}: {exc.strerror}") from exc


def _check_certificates(path: Path, setting: str) -> None:
    """Tells a broken certificate from a broken key, which load_cert_chain does not."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(path)
    except ssl.SSLError as exc:
        raise ConfigError(f"{_SETTING}.{setting}: no certificate in {path} that can be used ({_why(exc)})") from exc


def _why(exc: ssl.SSLError) -> str:
    return exc.reason or exc.strerror or str(exc)
