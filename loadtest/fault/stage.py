"""What nearly every scenario needs: the roles, devices, a fleet that publishes, and the verdict at the end."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping

from loadtest.fault import checker
from loadtest.fault.devices import provision
from loadtest.fault.outcome import Outcome
from loadtest.fault.processes import Roles
from loadtest.fault.proxy import Proxy
from loadtest.fault.publisher import Fleet
from loadtest.fault.trial import Trial

# What a role may hold at most, whatever happens; scenarios that press on memory say less or more.
MEMORY_MB = {"ingest": 900.0}


class Stage:
    """`async with staged(trial) as stage: ...; return await stage.finish(recovery_s=...)`."""

    def __init__(self, trial: Trial, roles: Roles, proxy: Proxy, fleet: Fleet, tokens: Mapping[str, str]) -> None:
        self.trial = trial
        self.roles = roles
        # Between ingest and the store, if the stage was made so.
        self.proxy = proxy
        self.fleet = fleet
        self.tokens = tokens

    async def stores(self, seconds: float = 60.0) -> float:
        """Wait until ingest has brought something more to the store; returns the seconds that took.

        Raises: TimeoutError.
        """
        began = time.monotonic()
        before = await self._stored()
        while (now := await self._stored()) == before or now < 0:
            if time.monotonic() - began > seconds:
                raise TimeoutError(f"nothing was stored for {seconds:g} s: {self.roles.log_end('ingest', 500)}")
            await asyncio.sleep(0.05)
        return time.monotonic() - began

    async def _stored(self) -> float:
        try:
            return (await asyncio.to_thread(checker.ledger_entries, self.roles)).get("stored", 0.0)
        except OSError:
            return -1.0

    async def quiet(self, seconds: float) -> bool:
        """End publishing, and wait until all is acknowledged; whether it was in time.

        Who has not had a turn yet, or was kept out by the faults, sends something before that.
        """
        await self.fleet.everybody(60)
        self.fleet.stop()
        return await self.fleet.drain(seconds)

    async def finish(
        self,
        *,
        recovery_s: float = 0.0,
        notes: tuple[str, ...] = (),
        problems: tuple[str, ...] = (),
        settle_s: float = 120.0,
        quarantined: Mapping[str, int] | None = None,
        memory_mb: Mapping[str, float] = MEMORY_MB,
    ) -> Outcome:
        """Stop publishing, wait until all is acknowledged and stored, compare, stop ingest and read its ledger.

        Args:
            quarantined: readings that may be in quarantine, by reason.
            memory_mb: by role, what its peak must stay below.
        """
        trial, roles = self.trial, self.roles
        trial.history.append("finish")
        found = list(problems)
        if not await self.quiet(settle_s):
            found.append("messages without acknowledgement at the end")
        silent = [device.id for device in self.fleet.devices if device.newest_acked < 0]
        if silent:
            found.append(f"nothing of {', '.join(silent[:3])} was ever acknowledged")
        settled_s = await checker.settle(roles, settle_s)
        ledger = await asyncio.to_thread(checker.ledger_entries, roles)
        outcome = await asyncio.to_thread(checker.check, roles, [self.fleet], quarantined)
        if ledger.get("set_aside"):
            found.append(f"{ledger['set_aside']:,.0f} readings set aside")
        status = await asyncio.to_thread(roles.terminate, "ingest")
        imbalance, broken = checker.ledger_of_log(roles)
        if status or imbalance is None:
            found.append(f"ingest left with {status}, its ledger said {imbalance}: {roles.log_end('ingest', 500)}")
        found += broken[:3]
        outcome.ledger_imbalance = imbalance or 0
        for role, limit in memory_mb.items():
            if roles.peak_rss_mb.get(role, 0) > limit:
                found.append(f"{role} used {roles.peak_rss_mb[role]:.0f} MB, at most {limit:.0f} were expected")
        outcome.recovery_s = round(recovery_s, 2)
        outcome.problems = found
        outcome.notes = [
            *notes,
            f"{self.fleet.sent_messages:,} messages sent, {self.fleet.repeats:,} of them again, "
            f"{self.fleet.connects} connections; settled in {settled_s:.1f} s{_refusals(self.fleet)}",
        ]
        return outcome


def _refusals(fleet: Fleet) -> str:
    """What the fleet was told instead of a yes, by reason code (MQTT) or status (gRPC)."""
    told = [("connections", fleet.connects_refused), ("messages", fleet.refusals)]
    return "".join(f"; refused {what}: {dict(counts)}" for what, counts in told if counts)


@contextlib.asynccontextmanager
async def staged(
    trial: Trial,
    settings: str = "",
    *,
    gateways: int = 6,
    gauges: int = 24,
    alone: int = 8,
    streams: int = 2,
    rate: float = 400.0,
    per_message: int = 20,
    window: int = 32,
    spare: int = 0,
    environment: Mapping[str, Mapping[str, str]] | None = None,
    port: int = 0,
    is_proxied: bool = False,
) -> AsyncIterator[Stage]:
    """A platform with devices that publish; ends everything.

    Args:
        gateways, gauges, alone, streams, rate, per_message, window: see `Fleet`.
        spare: devices beyond the fleet's, `wl-N` after its last, which speak for themselves if the scenario lets them.
        settings, environment: of the roles, beside the harness's own.
        port: where the fleet connects; 0: ingest's own MQTT port.
        is_proxied: ingest reaches the store through `stage.proxy`; the registry and the checker do not.
    """
    async with contextlib.AsyncExitStack() as stack:
        roles = stack.enter_context(Roles(trial.folder, settings))
        for role, variables in (environment or {}).items():
            roles.environment_of[role] = dict(variables)
        proxy = Proxy(("127.0.0.1", roles.ports["store"]))
        stack.push_async_callback(proxy.close)
        if is_proxied:
            await proxy.start()
            roles.environment_of.setdefault("ingest", {})["CITYFLEET_STORE__URL"] = proxy.url
        await roles.up()
        tokens = await provision(roles, gateways, gauges, alone + spare)
        async with Fleet(
            port or roles.mqtt_port,
            tokens,
            trial.seed,
            gateways=gateways,
            gauges=gauges,
            alone=alone,
            grpc=roles.grpc,
            streams=streams,
            rate=rate,
            per_message=per_message,
            window=window,
            history=trial.history,
        ) as fleet:
            await fleet.acknowledges(20)
            yield Stage(trial, roles, proxy, fleet, tokens)
