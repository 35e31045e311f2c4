"""The engine's configuration: what its only user may touch at all. Everything not granted here is out of reach."""

from pathlib import Path

_ON_DATA = (
    "SELECT, INSERT, ALTER, CREATE DATABASE, CREATE TABLE, CREATE VIEW, DROP, TRUNCATE, OPTIMIZE, SHOW, dictGet, "
    "SYSTEM MERGES, SYSTEM TTL MERGES, SYSTEM VIEWS"
)
DATABASES = ("cityfleet", "ioc", "default")

# No FILE, URL, REMOTE, S3 and the like, no functions, users or backups; no dictionaries, whose source can be a command.
ENGINES = (
    *(
        f"{shared}{kind}MergeTree"
        for shared in ("", "Replicated")
        for kind in ("", "Replacing", "Aggregating", "Summing", "Collapsing", "VersionedCollapsing", "Coalescing")
    ),
    "Memory",
    "Null",
    "Log",
    "Join",
    "View",
    "MaterializedView",
)

# Settings that name files, hosts or code, with the value they keep: no account can change them, neither in the URL nor
# in `SETTINGS` nor in a table's definition. None: the engine's default.
FIXED_SETTINGS: dict[str, str | None] = {
    "ai_function_allow_insecure_endpoint": None,
    "allow_experimental_eval_table_function": "0",
    "allow_introspection_functions": "0",
    "allow_python_table_function": "0",
    "dynamic_disk_allow_from_env": "0",
    "dynamic_disk_allow_from_zk": "0",
    "dynamic_disk_allow_include": "0",
    "enable_time_series_table": "0",
    "filesystem_cache_name": None,
    "format_avro_schema_registry_url": None,
    "format_schema": None,
    "format_schema_message_name": None,
    "format_schema_source": None,
    "format_template_resultset": None,
    "format_template_resultset_format": None,
    "format_template_row": None,
    "format_template_row_format": None,
    "implicit_select": "0",
    "input_format_record_errors_file_path": None,
    # VALUES would evaluate expressions in the data, which nobody has looked at.
    "input_format_values_deduce_templates_of_expressions": "0",
    "input_format_values_interpret_expressions": "0",
    "merge_tree_disk": None,
    "merge_tree_storage_policy": None,
    "merge_tree_table_disk": None,
    "output_format_schema": None,
    "rename_files_after_processing": None,
    "storage_file_read_method": None,
    "url_base": None,
}

# Answers are formatted by the thread that makes them: with threads for it the smallest answer takes six times as many
# switches between threads. What is asked for the fourth time is not compiled either: that takes a tenth to a quarter of
# a second of whoever asks then, and no question was clearly quicker for it.
_ANSWERS = {
    "output_format_parallel_formatting": "0",
    "compile_expressions": "0",
    "compile_aggregate_expressions": "0",
    "compile_sort_description": "0",
}

# Marks of parts; blocks of what reads one device (store/embedded/accounts.py), of which a month of a series has 5 MB.
_MARKS_BYTES = 256 << 20
_BLOCKS_BYTES = 256 << 20

# What the engine does though nobody asks it anything. A merge begins with the insert that calls for it all the same.
_AT_REST = {
    "background_processing_pool_thread_sleep_seconds_if_nothing_to_do": "5",
    "background_streaming_processing_pool_thread_sleep_seconds_if_nothing_to_do": "300",
    "memory_worker_period_ms": "500",
}

# Whoever asks goes first, then who inserts (8), ingest and rollups (10) and merges; without the right to set it
# (CAP_SYS_NICE) the engine passes over it. The weight of merges is a third of that of inserts, so that they keep up.
_NICE = {"os_threads_nice_value_merge_mutate": "13"}

# A part up to this size, as almost every insert makes, is one file and not thirteen that are created, synced and
# deleted one by one. What merges write is synced, too: after a power loss a part of the right size with other contents
# is taken for whole, and what it was made from is dropped.
_PARTS = {"min_bytes_for_full_part_storage": str(10 << 20), "min_rows_to_fsync_after_merge": "1"}

# What the engine writes of its own work, each row with the CPU time that it took.
_LOGS = ("query_log", "query_views_log", "part_log")


def write(folder: Path, max_memory_bytes: int, log_days: int) -> Path:
    """Write config.xml and users.xml below `folder` and return the first; rewritten at every start.

    Args: log_days: how long statements, views and merges stay in the engine's logs; 0: nothing is logged.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    grants = [
        *(f"GRANT {_ON_DATA} ON {database}.*" for database in DATABASES),
        "GRANT SELECT ON system.*",
        "GRANT SHOW DATABASES ON *.*",
        "GRANT KILL QUERY ON *.*",
        "GRANT CREATE TEMPORARY TABLE ON *.*",
        *(f"GRANT TABLE ENGINE ON {engine}" for engine in ENGINES),
    ]
    users = folder / "users.xml"
    users.write_text(
        "<clickhouse>\n<profiles><default>\n"
        + "".join(
            f"<{name}>{value}</{name}>\n" for name, value in (FIXED_SETTINGS | _ANSWERS).items() if value is not None
        )
        + "<constraints>\n"
        + "".join(f"<{name}><const/></{name}>\n" for name in FIXED_SETTINGS)
        + "</constraints></default></profiles>\n<quotas><default/></quotas>\n"
        "<users><default><no_password/><profile>default</profile><quota>default</quota>"
        "<networks><ip>::1</ip><ip>127.0.0.1</ip></networks>\n<grants>\n"
        + "".join(f"<query>{grant}</query>\n" for grant in grants)
        + "</grants></default></users>\n</clickhouse>\n",
        encoding="utf-8",
    )
    config = folder / "config.xml"
    memory = f"<max_server_memory_usage>{max_memory_bytes}</max_server_memory_usage>" if max_memory_bytes else ""
    blocks_bytes = min(_BLOCKS_BYTES, max_memory_bytes // 16) if max_memory_bytes else _BLOCKS_BYTES
    caches = {"mark_cache_size": str(_MARKS_BYTES), "uncompressed_cache_size": str(blocks_bytes)}
    config.write_text(
        f"<clickhouse>\n<users_config>{users}</users_config>\n{memory}\n"
        + "".join(f"<{name}>{value}</{name}>\n" for name, value in (caches | _AT_REST | _NICE).items())
        + "".join(_log(name, log_days) for name in _LOGS if log_days)
        + "<merge_tree>\n"
        + "".join(f"<{name}>{value}</{name}>\n" for name, value in _PARTS.items())
        + "</merge_tree>\n</clickhouse>\n",
        encoding="utf-8",
    )
    return config


def _log(name: str, days: int) -> str:
    return (
        f"<{name}><database>system</database><table>{name}</table><flush_interval_milliseconds>5000"
        f"</flush_interval_milliseconds><ttl>event_date + INTERVAL {days} DAY DELETE</ttl></{name}>\n"
    )
