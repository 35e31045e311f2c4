"""Memory of an idle connection: connect, hold, see by how much ingest and the kernel's socket buffers have grown."""

import argparse
import contextlib
import resource
import tempfile
import time
from pathlib import Path

from loadtest.bench import traffic
from loadtest.bench.endtoend import settings, sources
from loadtest.bench.main_job import provision
from loadtest.bench.processes import family, memory_bytes, socket_bytes
from loadtest.bench.result import figure, say
from loadtest.bench.traffic import Load
from loadtest.platform import running_platform

# As many workers as hold these, each below its limit of open files although the kernel deals them out unevenly.
_PER_WORKER = 15_000
_PER_GENERATOR = 17_000  # connections of one process, below its limit of open files
_HOLD_S = 3.0
# The first fifth is not counted: it fills what provisioning has left of free memory.
_FIRST_SHARE = 5


def run(connections: int) -> dict[str, float]:
    workers = -(-connections // _PER_WORKER)
    extra = settings() + f"ingest.workers = {workers}\n"
    with tempfile.TemporaryDirectory() as folder, running_platform(Path(folder), extra) as platform:
        tokens = provision(platform, connections, workers)
        templates = traffic.single_batch(tokens, connections)
        pids = family(platform.pid("ingest"))
        first = min(connections // _FIRST_SHARE, _PER_GENERATOR)
        groups = [templates[:first]]
        groups += [templates[at : at + _PER_GENERATOR] for at in range(first, connections, _PER_GENERATOR)]
        with contextlib.ExitStack() as stack:
            for number, group in enumerate(groups):
                # Every generator has addresses of its own, each good for some 28,000 ports.
                addresses = [f"127.0.{1 + number}.{2 + n}" for n in range(len(sources(len(group))))]
                stack.enter_context(Load(platform.mqtt_port, group, sources=addresses))
                if number == 0:
                    time.sleep(_HOLD_S)
                    before, sockets_before = memory_bytes(pids), socket_bytes()
                    began = time.perf_counter()
            connect_s = time.perf_counter() - began
            time.sleep(_HOLD_S)
            held = platform.metric("ingest", 'cityfleet_ingest_transport_open{kind="connections"}')
            grown, sockets = memory_bytes(family(platform.pid("ingest"))) - before, socket_bytes() - sockets_before
    counted = connections - first
    return {
        "connections": connections,
        "held": held,
        "bytes": grown / counted,
        "kernel_buffer_bytes": sockets / counted / 2,  # both ends are here
        "connects_per_s": counted / connect_s,
        "processes": len(pids),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=100_000)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    found = run(options.connections)
    print(
        f"{found['held']:,.0f} of {options.connections:,} idle connections held in {found['processes']:.0f} processes, "
        f"{found['bytes']:,.0f} bytes each, and {found['kernel_buffer_bytes']:,.0f} of socket buffers; "
        f"{found['connects_per_s']:,.0f} connected a second"
    )
    say(figure("idle_connection_bytes", [found["bytes"]], "bytes", None, less_is_better=True, **found))


if __name__ == "__main__":
    main()
