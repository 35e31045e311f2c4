"""Every scenario of `make fault`: the module that has it, how often it runs, and what it breaks."""

from typing import NamedTuple


class Entry(NamedTuple):
    """`module`: below `loadtest.fault`, with `def run(trial: Trial) -> Outcome`, sync or async.

    `runs`: how often in `make fault`, each with a seed of its own; `quick_runs`: with QUICK=1. `limit_s`: of one run.
    """

    id: str
    module: str
    runs: int
    quick_runs: int
    summary: str
    limit_s: float = 900.0


ENTRIES = (
    Entry("kill_ingest", "kill_ingest", 1, 1, "kill -9 of ingest, 200 times at random points", 1800.0),
    Entry("kill_workers", "kill_workers", 1, 1, "kill -9 of one of two workers of ingest, 40 times"),
    Entry("kill_store", "kill_store", 1, 1, "kill -9 of the store, 30 times, while readings come in"),
    Entry("kill_all", "kill_all", 1, 1, "kill -9 of store, registry and ingest at once, 20 times"),
    Entry("chaos", "chaos", 3, 1, "roles killed and stopped, the way to the store broken, in any order, four minutes"),
    Entry("store_500", "store_link", 1, 1, "the store commits and answers 500"),
    Entry(
        "store_cut", "store_link", 1, 1, "the connection to the store is cut in the body, after it, before the answer"
    ),
    Entry("store_stopped", "store_stopped", 1, 1, "the store's process is stopped for 60 s, twice"),
    Entry("store_slow", "store_slow", 1, 1, "the store takes a tenth of the full rate for two minutes"),
    Entry("registry_away", "registry_away", 1, 1, "the registry is away for the whole run, ingest starts without it"),
    Entry(
        "power_ingest", "power_loss", 1, 1, "power loss of ingest, 40 times: unsynced writes are gone, or half there"
    ),
    Entry("power_registry", "power_loss", 1, 1, "power loss of the registry, 15 times, while devices are created"),
    Entry("power_machine", "power_loss", 1, 1, "power loss of the machine with store, registry and ingest, 15 times"),
    Entry("broker_restarted", "brokers", 1, 1, "mosquitto restarted 20 times, ingest killed meanwhile now and then"),
    Entry("broker_wiped", "brokers", 1, 1, "mosquitto killed and wiped, 10 times: lost is what only its queue had"),
    Entry("broker_consumer_killed", "brokers", 1, 1, "kill -9 of one of two shared-subscription consumers, 30 times"),
    Entry("spool_damaged", "damage", 1, 1, "segments truncated, overwritten, with bits turned, 20 rounds"),
    Entry(
        "disk_full",
        "disk_full",
        1,
        1,
        "the spool's disk, a small tmpfs, is full: by the backlog, by others, at a start",
    ),
    Entry("poison", "poison", 1, 1, "a million undecodable payloads among good ones"),
    Entry("clock_of_devices", "clocks", 1, 1, "devices in 1970, in 2106, minutes ahead, a year behind"),
    Entry("clock_of_host", "clocks", 1, 1, "ingest's clock steps 40 times, by minutes to 300 days; kills meanwhile"),
    Entry("reconnect_storm", "rush", 1, 1, "20,000 reconnects in 5 s"),
    Entry("slow_loris", "rush", 1, 1, "thousands of clients that send nothing, or a CONNECT byte by byte"),
    Entry("over_quota", "over_quota", 1, 1, "a device faster than its quota, in MQTT 5 and 3.1.1"),
)


def chosen(only: str) -> list[Entry]:
    """The entries of these ids, with commas or spaces between; all for an empty text. Raises: ValueError."""
    names = only.replace(",", " ").split()
    unknown = set(names) - {entry.id for entry in ENTRIES}
    if unknown:
        known = ", ".join(entry.id for entry in ENTRIES)
        raise ValueError(f"no scenario {', '.join(sorted(unknown))}; there are {known}")
    return [entry for entry in ENTRIES if not names or entry.id in names]


def entry(id_: str) -> Entry:
    """Raises: ValueError."""
    return chosen(id_)[0]
