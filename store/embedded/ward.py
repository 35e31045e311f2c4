"""Accounts of wards in the embedded store: which statements they may send, and the session that they run in.

The engine has no row policies. Three things stand for them, each alone enough against most of what one can think of:
the statement's syntax tree names only tables that are declared to be seen; the session filters the rows of each of
them, those of hidden tables altogether; and it is locked, so that no SQL changes the filters. The settings below keep
the caller's own expressions above these filters: evaluated below, their errors would tell of rows filtered out.
"""

from collections.abc import Callable, Iterable, Mapping

from store.access.conditions import PublicRows, conditions
from store.access.declared import Rule, Visibility
from store.embedded import errors, parsed
from store.embedded.engine import Session, quote
from store.embedded.known import Known
from store.embedded.statement import Statement, tokens

# Where a ward's questions begin; clients that name none send `default`.
DATABASE = "ioc"

VERBS = frozenset({"SELECT", "WITH", "(", "FROM", "SHOW", "DESCRIBE", "DESC", "EXISTS", "USE"})

# Of what a reader may set, nothing that lifts a limit, counts rows that were read, or keeps answers for others.
_NOT_SETTABLE = frozenset(
    {
        "extremes", "final", "log_queries", "max_block_size", "max_bytes_to_read", "max_rows_to_read",
        "optimize_read_in_order", "priority", "read_overflow_mode", "use_query_cache", "use_skip_indexes",
    }
)  # fmt: skip

LOCKED = {
    # Counts and extremes from metadata know no filter.
    "optimize_trivial_count_query": "0",
    "optimize_use_projections": "0",
    "optimize_use_implicit_projections": "0",
    # What a query found out about granules or answered must not answer another account's.
    "use_query_cache": "0",
    "use_query_condition_cache": "0",
    # The caller's expressions stay above the filters.
    "optimize_move_to_prewhere": "0",
    "query_plan_optimize_prewhere": "0",
    "optimize_prewhere_after_pushdown": "0",
    "allow_reorder_prewhere_conditions": "0",
    "query_plan_merge_filters": "0",
    "enable_join_runtime_filters": "0",
    "use_top_k_dynamic_filtering": "0",
    "query_plan_propagate_predicate_across_join": "0",
    "query_plan_push_down_volume_reducing_functions": "0",
    "query_plan_fuse_filter_into_array_join": "0",
    # How many rows were read.
    "output_format_write_statistics": "0",
    "max_rows_to_read": "0",
    "max_bytes_to_read": "0",
}
_LIMITS = ("max_execution_time", "max_memory_usage", "max_result_rows", "max_threads")

# Tables of the engine that say nothing of data; a condition for those that list tables.
_SYSTEM: Mapping[str, str] = {
    "aggregate_function_combinators": "",
    "collations": "",
    "columns": "database = 'ioc'",
    "data_type_families": "",
    "databases": "name IN ('cityfleet', 'ioc')",
    "formats": "",
    "functions": "",
    "keywords": "",
    "numbers": "",
    "one": "",
    "settings": "",
    "tables": "database = 'ioc'",
    "time_zones": "",
}
_TABLE_FUNCTIONS = frozenset({"generate_series", "generateseries", "numbers", "numbers_mt", "zeros"})

# Functions that read tables by a name in a string, tell of the host, or only make others wait.
_FUNCTIONS = (
    "catboost", "dict", "displayname", "filesystem", "fqdn", "generateserialid", "getmacro", "getmergetreesetting",
    "getserver", "hascolumnintable", "hostname", "joinget", "logtrace", "serveruuid", "showcertificate", "sleep",
    "tcpport", "zookeeper",
)  # fmt: skip
# Columns that every table has and that tell how many other rows lie between one's own.
_COLUMNS = ("_block", "_disk", "_part", "_row_exists", "_sample_factor")
_SHOWN = frozenset({b"TABLES", b"DATABASES"})


class Sight:
    """What accounts of wards may name, and by which conditions they see it; `public` is renewed from time to time.

    Attributes:
        known: statements that name nothing but what is declared.
    """

    def __init__(self, visibility: Visibility, public: PublicRows) -> None:
        self._visibility = visibility
        self._public = public
        self._filters: dict[tuple[str, ...], str] = {}
        self.known = Known()
        self.tables = frozenset(visibility.shown()) | {f"system.{name}" for name in _SYSTEM}
        self.filtered = frozenset(conditions(visibility, (), public)) | {f"system.{name}" for name in _SYSTEM}
        self.views = frozenset(name for name, rule in visibility.rules.items() if rule is Rule.VIEW)

    @property
    def visibility(self) -> Visibility:
        return self._visibility

    def renew(self, public: PublicRows) -> None:
        if public != self._public:
            self._public, self._filters = public, {}

    def filters(self, wards: tuple[str, ...]) -> str:
        """The value of additional_table_filters, as a literal."""
        found = self._filters.get(wards)
        if found is None:
            by_table = dict(conditions(self._visibility, wards, self._public))
            by_table |= {f"system.{name}": text for name, text in _SYSTEM.items() if text}
            found = "{" + ", ".join(f"{quote(name)}: {quote(text)}" for name, text in by_table.items()) + "}"
            self._filters[wards] = found
        return found


def check(
    session: Session,
    sight: Sight,
    statement: Statement,
    canonical: Callable[[str], bytes],
    database: str,
    params: Mapping[str, str],
) -> None:
    """Refuse what this account may not even ask. The session is not yet locked. Raises StoreError.

    Args:
        canonical: gives a statement as the engine's formatter prints it.
    """
    # All that the verdict rests on, but for tables that are not declared: what might name one is not learned.
    looked_at = (statement.verb, statement.sql, statement.tail, database, *map(str, sorted(params.items())))
    if looked_at in sight.known:
        return
    if statement.tail:
        raise _denied("SETTINGS")
    _check_words(sight, canonical(statement.sql), statement.verb)
    dump = session.query(f"EXPLAIN AST {statement.sql}", "TSVRaw", params).bytes().decode(errors="replace")
    try:
        found = parsed.named(dump.rstrip("\n"))
    except parsed.UnreadableError as exc:
        raise _denied(str(exc)) from exc
    for name in sorted(found.table_functions):
        if name.lower() not in _TABLE_FUNCTIONS and _full(name, database) not in sight.views:
            raise _denied(f"{name}()")
    unknown = []
    for name in sorted(found.tables):
        if _full(name, database) in sight.tables:
            continue
        if "." in name:
            raise _denied(name)
        unknown.append(name)
    if unknown:
        _check_no_table(session, unknown, database)
    else:
        sight.known.learn(looked_at)


def _full(name: str, database: str) -> str:
    return name if "." in name else f"{database}.{name}"


def _check_no_table(session: Session, names: list[str], database: str) -> None:
    """A name that is no table is that of a subquery in WITH, or of a column."""
    listed = "[" + ", ".join(map(quote, names)) + "]"
    sql = "SELECT count() FROM system.tables WHERE database = {database:String} AND has({names:Array(String)}, name)"
    if session.query(sql, "TSVRaw", {"database": database, "names": listed}).bytes().strip() != b"0":
        raise _denied(", ".join(names))


def _check_words(sight: Sight, canonical: bytes, verb: str) -> None:
    words = tokens(canonical, is_canonical=True)
    if verb == "SHOW" and (len(words) < 2 or words[1].upper not in _SHOWN):
        raise _denied("SHOW, but for TABLES and DATABASES,")
    for at, token in enumerate(words):
        if token.kind == "quoted":
            name = token.text[1:-1].decode(errors="replace").lower()
            # An alias that is a table's full name would take that table's filter.
            if "\\" in name or name in sight.filtered or not name.isprintable():
                raise _denied(f"the name {token.text.decode(errors='replace')}")
        elif token.kind == "word":
            name = token.text.decode().lower()
            following = words[at + 1] if at + 1 < len(words) else None
            is_clause = name == "settings" and following is not None and following.kind == "word"
            if name == "prewhere" or (is_clause and (at == 0 or words[at - 1].text != b".")):
                raise _denied(name.upper())
        else:
            continue
        if name.startswith(_COLUMNS) or name.startswith(_FUNCTIONS):
            raise _denied(name)


def prepare(
    session: Session,
    sight: Sight,
    wards: tuple[str, ...],
    limits: Mapping[str, str],
    settings: Mapping[str, str],
    lock: Mapping[str, str],
) -> None:
    """Give a new session its filters, limits and the caller's settings, and lock it. Raises StoreError.

    In one statement, since each costs its own time: of names that are there twice the last counts.
    """
    lowered = {name: _lower(settings.get(name), limits[name]) for name in _LIMITS}
    session.set({**settings, **LOCKED, **lowered, **lock}, sight.filters(wards))


def not_settable(names: Iterable[str]) -> str:
    """The first of these settings that an account of a ward may not set though a reader may; or ""."""
    return next((name for name in names if name in _NOT_SETTABLE), "")


def _lower(asked: str | None, limit: str) -> str:
    try:
        return asked if asked is not None and 0 < float(asked) < float(limit) else limit
    except ValueError:
        return limit


def _denied(what: str) -> errors.StoreError:
    return errors.refused(
        errors.ACCESS_DENIED, f"Not enough privileges: {what} is not for accounts of wards", "ACCESS_DENIED"
    )
