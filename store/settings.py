"""Settings of the store role, and how every role reaches the store."""

from typing import Literal

import msgspec

from runtime.settings import ListenSettings


class EmbeddedSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of the embedded engine."""

    # Queries at once, per account; as many again wait up to `queue_wait_s`.
    writer_queries: int = 8
    admin_queries: int = 4
    reader_queries: int = 8
    queue_wait_s: float = 5.0
    # A request's body, as it comes over the wire.
    max_body_bytes: int = 1 << 30
    # An answer asked for with wait_end_of_query=1 is held back up to this size.
    buffered_answer_bytes: int = 64 << 20
    # A client that sends nothing of its body for so long is refused; one that takes no data is let go.
    receive_timeout_s: float = 60.0
    send_timeout_s: float = 120.0
    # Running queries get so long at shutdown.
    drain_s: float = 20.0
    # 0: nine tenths of the machine's memory.
    max_memory_bytes: int = 0
    # One query of the reader: memory, and seconds unless it asks for others.
    reader_memory_bytes: int = 4 << 30
    reader_max_execution_s: float = 300.0
    # Statements, views and merges, with the CPU time that each took, are kept so long, and no longer than this process
    # runs, in system.query_log, query_views_log and part_log, which admin and reader see. 0: there are none.
    log_days: int = 0
    # The kernel's fence round the process: where it is offered, never, or refuse to start without.
    sandbox: Literal["auto", "off", "require"] = "auto"

    def __post_init__(self) -> None:
        for name in ("writer_queries", "admin_queries", "reader_queries", "max_body_bytes", "buffered_answer_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if not 0 <= self.log_days <= 3650:
            raise ValueError(f"log_days must be 0 (no log) to 3650, not {self.log_days}")


class AccessSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of each account of a ward; a server gets them as quota and settings profile."""

    # At once: of one account, and (in the embedded store) of all of them.
    queries: int = 2
    all_queries: int = 8
    # One query.
    max_execution_s: float = 20.0
    max_memory_bytes: int = 2 << 30
    max_result_rows: int = 1_000_000
    max_threads: int = 2
    # In a minute.
    queries_per_minute: int = 300
    execution_s_per_minute: float = 60.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be more than 0")


class QuarantineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of cityfleet.quarantine; above them the oldest payloads are dropped, and counted."""

    # On disk; besides, the last insert is always kept.
    max_bytes: int = 2_000_000_000
    # 0: no limit.
    max_age_days: float = 30.0

    def __post_init__(self) -> None:
        if self.max_bytes < 1_000_000:
            raise ValueError(f"max_bytes must be at least 1000000, not {self.max_bytes}")
        if not 0 <= self.max_age_days <= 36_500:
            raise ValueError(f"max_age_days must be 0 (no limit) to 36500, not {self.max_age_days:g}")


class RollupSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rollups and what follows from them, computed from closed windows (docs/rollups.md)."""

    enabled: bool = True
    # Between two looks at what is due.
    every_s: float = 15.0
    # A window is closed so long after its end; what comes later has it computed again.
    grace_s: float = 45.0
    # Of a window that was computed, until it may be again: late readings come one after the other.
    late_s: float = 300.0
    # Of one query; the rest of the machine is for ingest and questions.
    threads: int = 1
    # Windows of a backlog that are computed at once.
    abreast: int = 2

    def __post_init__(self) -> None:
        if not 0.1 <= self.every_s <= 3600:
            raise ValueError(f"every_s must be 0.1 to 3600, not {self.every_s:g}")
        if not 0 <= self.grace_s <= 3600:
            raise ValueError(f"grace_s must be 0 to 3600, not {self.grace_s:g}")
        if not 0 <= self.late_s <= 86_400:
            raise ValueError(f"late_s must be 0 to 86400, not {self.late_s:g}")
        if self.threads < 1:
            raise ValueError("threads must be at least 1")
        if self.abreast not in (1, 2):
            raise ValueError(f"abreast must be 1 or 2, not {self.abreast}")


class RetentionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long data is kept, by event time, in days; 0: for ever.

    Whole partitions go: months; weeks of readings_10min, years of readings_1d.
    """

    readings_days: int = 0
    readings_text_days: int = 0
    readings_10min_days: int = 0
    readings_1h_days: int = 0
    readings_1d_days: int = 0
    # Parts of readings older than this are compressed harder when they are merged; 0: never.
    recompress_days: int = 35

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if not 0 <= getattr(self, name) <= 36_500:
                raise ValueError(f"{name} must be 0 (for ever) to 36500")
        if 0 < self.readings_days < 7:
            raise ValueError(
                "readings_days must be 0 (for ever) or at least 7: rollups are made from readings, late ones too"
            )


class StoreSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """With `url` empty the store is the embedded engine at `listen`; with a URL it is that ClickHouse server."""

    url: str = ""
    # Passwords; empty: a random one in `<data>/secrets/store-<account>`.
    writer_password: str = ""
    admin_password: str = ""
    reader_password: str = ""
    writer_user: str = "writer"
    admin_user: str = "admin"
    reader_user: str = "reader"
    listen: ListenSettings = ListenSettings(port=8123)
    http: ListenSettings = ListenSettings(port=9101)
    profile: Literal["single", "cluster"] = "single"
    embedded: EmbeddedSettings = EmbeddedSettings()
    access: AccessSettings = AccessSettings()
    quarantine: QuarantineSettings = QuarantineSettings()
    rollup: RollupSettings = RollupSettings()
    retention: RetentionSettings = RetentionSettings()
