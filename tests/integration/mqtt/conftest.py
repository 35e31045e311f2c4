"""The endpoint needs uvloop: a plain loop does not take its protocol class. Clients of Node.js are installed once."""

import fcntl
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

JS = Path(__file__).parent / "js"


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Callable[[], Any]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def mqtt_js() -> Path:
    """The folder of the scripts, with their packages as the lock file says. Of several workers one installs them."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    with (JS / "package-lock.json").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # npm writes this file last.
        if not (JS / "node_modules" / ".package-lock.json").exists():
            subprocess.run(["npm", "ci"], cwd=JS, check=True, capture_output=True, timeout=100)
    return JS
