"""What a role's metrics say, summed over labels."""

import urllib.request

from loadtest.platform import Deployment


def total(roles: Deployment, role: str, name: str, label: str = "") -> float:
    """Sum of the samples of this name; with `label` (`reason="quota"`) of those that have it. Raises: OSError."""
    url = f"http://127.0.0.1:{roles.metrics_ports[role]}/metrics"
    with urllib.request.urlopen(url, timeout=10) as response:
        lines = response.read().decode().splitlines()
    return sum(
        float(line.rpartition(" ")[2]) for line in lines if line.startswith((name + "{", name + " ")) and label in line
    )
