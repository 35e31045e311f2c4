"""When an insert may be tried: at once, or after a pause and a sign of life."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

from ingest.errors import UnavailableError
from ingest.settings import WriteSettings
from ingest.write.metrics import BREAKER

log = structlog.get_logger()

_CLOSED, _TRYING, _OPEN = 0, 1, 2


class Breaker:
    """Closed: inserts go. Open, since one failed: pauses and probes. Once a probe is answered, one insert tells.

    The probe is cheap: a store that is coming up is not met by 96 MB time and again.
    """

    def __init__(self, settings: WriteSettings) -> None:
        self._settings = settings
        self._failures = 0
        self.reason = ""
        BREAKER.set(_CLOSED)

    def failed(self, reason: str) -> None:
        self._failures += 1
        self.reason = reason
        BREAKER.set(_OPEN)

    def succeeded(self) -> None:
        self._failures = 0
        self.reason = ""
        BREAKER.set(_CLOSED)

    @property
    def is_closed(self) -> bool:
        return self._failures == 0

    async def wait(self, probe: Callable[[], Awaitable[None]]) -> None:
        """Return when an insert may be tried. `probe` raises UnavailableError while the store is away."""
        while self._failures:
            await self.pause()
            try:
                await probe()
            except UnavailableError as exc:
                self.failed(str(exc))
            else:
                BREAKER.set(_TRYING)
                return

    async def pause(self) -> None:
        """As long as the failures so far ask for."""
        settings = self._settings
        longest_s = settings.retry_first_s * 2.0 ** min(max(0, self._failures - 1), 30)
        pause_s = min(longest_s, settings.retry_longest_s) * random.uniform(0.5, 1.5)  # noqa: S311 (jitter)
        log.warning("write_retry", failures=self._failures, retry_s=round(pause_s, 2), reason=self.reason)
        await asyncio.sleep(pause_s)
