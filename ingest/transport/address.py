"""Addresses to listen on: a host of the settings to bound sockets."""

import asyncio
import errno
import os
import socket

from ingest.errors import ConfigError


async def bind(host: str, port: int, setting: str, *, shares_port: bool) -> list[socket.socket]:
    """A socket for every address of the host. Raises: ConfigError for a host that is none; OSError."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as exc:
        raise ConfigError(f"{setting}.host: {host!r} is no address of this machine ({exc.strerror})") from exc
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            one = socket.socket(family, kind, protocol)
            sockets.append(one)
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shares_port:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if port == 0 and len(sockets) > 1:
                address = (address[0], sockets[0].getsockname()[1], *address[2:])
            try:
                one.bind(address)
            except OSError as exc:
                code = exc.errno or errno.EADDRINUSE
                raise OSError(code, f"{setting}: cannot listen on {host}:{port}: {os.strerror(code)}") from exc
    except BaseException:
        for one in sockets:
            one.close()
        raise
    return sockets
