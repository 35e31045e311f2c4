"""Sparkplug B 3.0 as a host application: births, data and deaths of edge nodes to readings by name."""

from ext.telemetry.sparkplug_births import Births

class SparkplugDecoder:
    births: Births
    transient: int
    def __init__(self, births: Births) -> None: ...
    def counters(self) -> dict[str, int]: ...
