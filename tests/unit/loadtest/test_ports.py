import socket
import subprocess
import sys

import pytest

from loadtest import platform
from loadtest.platform import free_ports

# Ports that no other test asks for.
_OURS = range(30_000, 30_100)
_OTHER = f"""
from loadtest import platform
platform._PORTS, platform._last_port = {_OURS}, 0
print(*platform.free_ports(3))
"""


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    monkeypatch.setattr(platform, "_PORTS", _OURS)
    monkeypatch.setattr(platform, "_last_port", 0)


def another() -> list[int]:
    """The ports of a process that begins where we begin, and ends."""
    return [int(port) for port in subprocess.check_output([sys.executable, "-c", _OTHER], text=True).split()]


def test_a_port_belongs_to_one_process_until_it_ends():
    theirs = another()
    assert free_ports(3) == theirs
    assert not set(another()) & set(theirs)


def test_a_port_that_somebody_listens_on_is_not_free(monkeypatch):
    (first,) = free_ports(1)
    monkeypatch.setattr(platform, "_last_port", 0)
    with socket.create_server(("127.0.0.1", first)):
        assert first not in free_ports(1)
