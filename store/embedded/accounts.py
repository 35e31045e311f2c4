"""Who may do what: the accounts, and what each session is told before it runs anything."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import structlog

from store.access import accounts as file
from store.embedded import config, errors, ward
from store.embedded.engine import Session
from store.embedded.known import Known
from store.embedded.statement import Statement, tokens

log = structlog.get_logger()
Role = Literal["writer", "admin", "reader", "ward"]

# FINAL looks for copies of a reading within its partition only: the identity holds the time that partitions are cut by.
# Conditions on columns of the key go before FINAL, so that what they leave out is neither read whole nor merged.
_BASE = {"do_not_merge_across_partitions_select_final": "1", "optimize_move_to_prewhere_if_final": "1"}
# Whoever asks goes before who inserts, whose data is in a spool, and both before merges (store/embedded/config.py): a
# thread that wakes waits for those of its own value until their slices are over, not for nicer ones.
_BEHIND = {"os_thread_priority": "8"}

# Views of one device. It is in many small parts, in each of which there is little to read: a second thread would make
# that a little slower, for half as much CPU time again. The key of a part says where its readings are; the index by
# ward, statistics of columns and threads that load marks cost more than they save, of parts not read before above all.
# Boards ask for the same series again and again: its blocks stay decompressed.
_OF_ONE_DEVICE = ("series_of", "readings_of")
_FOR_ONE_DEVICE = {
    "max_threads": "1",
    "ignore_data_skipping_indices": "ward",
    "use_statistics": "0",
    "load_marks_asynchronously": "0",
    "use_uncompressed_cache": "1",
}

# What a reader may set: nothing here can widen access or change what another query sees.
_READER_SETTINGS = frozenset(
    {
        "cancel_http_readonly_queries_on_client_close",
        "connect_timeout",
        "count_distinct_implementation",
        "date_time_input_format",
        "date_time_output_format",
        "do_not_merge_across_partitions_select_final",
        "enable_http_compression",
        "extremes",
        "final",
        "group_by_use_nulls",
        "http_headers_progress_interval_ms",
        "http_zlib_compression_level",
        "input_format_null_as_default",
        "join_use_nulls",
        "limit",
        "log_comment",
        "log_queries",
        "max_block_size",
        "max_bytes_to_read",
        "max_execution_time",
        "max_result_bytes",
        "max_result_rows",
        "max_rows_to_read",
        "max_threads",
        "offset",
        "optimize_read_in_order",
        "output_format_json_named_tuples_as_objects",
        "priority",
        "read_overflow_mode",
        "receive_timeout",
        "result_overflow_mode",
        "send_progress_in_http_headers",
        "send_timeout",
        "session_timezone",
        "timeout_overflow_mode",
        "transform_null_in",
        "use_query_cache",
        "use_skip_indexes",
    }
)
_READER_PREFIXES = ("output_format_", "input_format_", "format_csv_", "format_custom_", "format_tsv_", "bool_")
_READER_VERBS = frozenset(
    {"SELECT", "WITH", "(", "FROM", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "SET", "USE"}
)
_WRITER_VERBS = _READER_VERBS | {"INSERT"}

# Functions of the embedded engine that reach the host whatever is granted: `file()` reads any path the process can.
_FORBIDDEN_NAMES = frozenset(
    {"file", "executable", "executablepool", "catboostevaluate", "reversednsquery", "python", "eval"}
)
# Their column declarations are strings, and a string can hold a DEFAULT with any of those functions. For readers the
# engine refuses them itself.
_FORBIDDEN_CALLS = frozenset({"format", "input", "null", "fuzzjson"})
_SUSPECT = (
    "file",
    "execut",
    "catboost",
    "python",
    "eval",
    "dns",
    "format",
    "input",
    "null",
    "fuzz",
    "function",
    "engine",
    "\\",
)


@dataclass(frozen=True, slots=True)
class Account:
    """`sha256` is of password and salt, in hex; an account of the role `ward` sees `wards`."""

    role: Role
    user: str
    sha256: str
    max_queries: int
    salt: str = ""
    # What its sessions begin with.
    own_settings: Mapping[str, str] = field(default_factory=dict)
    wards: tuple[str, ...] = ()

    def is_password(self, given: str) -> bool:
        return hmac.compare_digest(self.sha256, file.hashed(given, self.salt))


class WardAccounts:
    """Those of the accounts file, read again when it has changed; a broken one changes nothing, and is said once."""

    def __init__(self, path: Path, max_queries: int, own_settings: Mapping[str, str]) -> None:
        self._path = path
        self._max_queries = max_queries
        self._own_settings = own_settings
        self._read: tuple[int, int, int] | None = None
        self._by_user: dict[str, Account] = {}

    def get(self, user: str) -> Account | None:
        try:
            found = self._path.stat()
            state = (found.st_mtime_ns, found.st_ino, found.st_size)
        except OSError:
            state = (0, 0, 0)
        if state != self._read:
            self._read = state
            self._load()
        return self._by_user.get(user)

    def _load(self) -> None:
        try:
            accounts = file.load(self._path)
        except (file.AccessError, OSError) as exc:
            log.error("accounts_unreadable", file=str(self._path), reason=str(exc))
            return
        self._by_user = {
            user: Account(
                "ward", user, account.sha256, self._max_queries, account.salt, self._own_settings, account.wards
            )
            for user, account in accounts.items()
        }
        log.info("accounts_read", accounts=len(accounts))


class Accounts:
    """The accounts by user name; one of the three names is never a ward's."""

    def __init__(self, accounts: list[Account], of_wards: WardAccounts) -> None:
        self._by_user = {account.user: account for account in accounts}
        self._of_wards = of_wards

    def authenticate(self, user: str, password: str) -> Account:
        """Raises StoreError: 194 without any user, 516 for an unknown one or a wrong password."""
        if not user:
            raise errors.refused(194, "Give a user and a password (writer, reader or admin)", "REQUIRED_PASSWORD")
        account = self._by_user.get(user) or self._of_wards.get(user)
        known = account or next(iter(self._by_user.values()))  # an unknown user takes as long as a known one
        if not known.is_password(password) or account is None:
            raise errors.refused(
                516,
                f"{user}: Authentication failed: password is incorrect, or there is no user with such name",
                "AUTHENTICATION_FAILED",
            )
        return account


def _usual(statement: Statement) -> Mapping[str, str]:
    """Settings that suit what is asked, where the caller has none of his own."""
    return _FOR_ONE_DEVICE if any(name in statement.sql for name in _OF_ONE_DEVICE) else {}


def prepare(
    session: Session,
    account: Account,
    sight: ward.Sight,
    statement: Statement,
    settings: Mapping[str, str],
    tag: str,
    is_get: bool,
) -> None:
    """Tell a new session what its account may do and what suits the statement, then the caller's. Raises StoreError.

    Order matters: what locks a session comes last, and cannot be undone from SQL (the engine sees to that).
    """
    if account.role in ("reader", "ward"):
        refused = ward.not_settable(settings) if account.role == "ward" else ""
        for name in settings:
            if name == refused or (name not in _READER_SETTINGS and not name.startswith(_READER_PREFIXES)):
                raise errors.refused(
                    errors.READONLY, f"{account.user}: Cannot modify '{name}' setting in readonly mode", "READONLY"
                )
        lock = {"log_comment": tag, "allow_ddl": "0", "readonly": "1"}
        if account.role == "ward":
            ward.prepare(
                session, sight, account.wards, account.own_settings, {**_BASE, **_usual(statement), **settings}, lock
            )
            return
        session.set({**_BASE, **account.own_settings, **_usual(statement), **settings, **lock})
        return
    lock = {"log_comment": tag}
    if account.role == "writer":
        lock |= {**_BEHIND, "allow_ddl": "0"}
    if is_get and not {"readonly"} & settings.keys():
        lock["readonly"] = "2"  # as ClickHouse: GET changes nothing
    session.set({**_BASE, **account.own_settings, **_usual(statement), **settings, **lock})


def check(session: Session, account: Account, statement: Statement, canonical: "Canonical", known: Known) -> None:
    """Refuse what the engine would let through; of wards' statements there is more to see to. Raises StoreError.

    Args: known: what was let through before; the engine's look at an INSERT takes 1.6 ms of CPU.
    """
    looked_at = (
        account.role, statement.verb, statement.text, statement.sql, statement.format, statement.tail,
        str(statement.takes_data),
    )  # fmt: skip
    if looked_at in known:
        return
    _check(session, account, statement, canonical)
    known.learn(looked_at)


def _check(session: Session, account: Account, statement: Statement, canonical: "Canonical") -> None:
    # Data is parsed as data; its statement is looked at with its FORMAT clause, without which it would be incomplete.
    text = f"{statement.text}\nFORMAT {statement.format}\n" if statement.takes_data else statement.text
    found = session.classify(text)
    if found["query_class"].name == "UNKNOWN":
        canonical(text)  # says what is wrong
        raise errors.refused(62, "Syntax error: this statement is not known here", "SYNTAX_ERROR")
    role = account.role
    if statement.verb not in (_READER_VERBS if role == "reader" else ward.VERBS) and role in ("reader", "ward"):
        raise errors.refused(errors.READONLY, f"{account.user}: Cannot execute query in readonly mode", "READONLY")
    if role == "writer" and statement.verb not in _WRITER_VERBS:
        raise errors.refused(
            errors.ACCESS_DENIED,
            f"{account.user}: Not enough privileges: the writer inserts and selects",
            "ACCESS_DENIED",
        )
    if found["statement_count"] > 1:
        raise errors.refused(62, "Syntax error: Multi-statements are not allowed", "SYNTAX_ERROR")
    if statement.is_query and found["query_class"].name != "READ_ONLY":
        raise _denied(account, "INTO OUTFILE")
    # The name in a FORMAT clause is one word and calls nothing; nearly all clients send one, and rendering costs time.
    lower = (text if statement.takes_data else f"{statement.sql}\n{statement.tail}").lower()
    if "outfile" in lower or "infile" in lower or any(part in lower for part in _SUSPECT):
        _check_words(account, canonical(text))


def _check_words(account: Account, text: bytes) -> None:
    """`text` is the engine's own rendering: comments gone, quoting and escapes plain."""
    words = tokens(text, is_canonical=True)
    for at, token in enumerate(words):
        if token.kind == "word":
            name = token.text.decode().lower()
        elif token.kind == "quoted":
            name = token.text[1:-1].decode(errors="replace").lower()
        else:
            continue
        following = words[at + 1].text if at + 1 < len(words) else b""
        before = words[at - 1].upper if at else b""
        if name in _FORBIDDEN_NAMES and before != b".":
            raise _denied(account, f"{name}()")
        if (
            name in _FORBIDDEN_CALLS
            and following == b"("
            and account.role not in ("reader", "ward")
            and before != b"NOT"
        ):
            raise _denied(account, f"{name}()")
        if token.text == b"ENGINE" and following == b"=" and at + 2 < len(words) and words[at + 2].kind == "word":
            engine = words[at + 2].text.decode()
            if engine not in (*config.ENGINES, "Atomic"):
                raise _denied(account, f"ENGINE = {engine}")
        if token.kind == "word" and name in ("outfile", "infile"):
            raise _denied(account, name.upper())
        if token.kind == "word" and name == "function" and before == b"INTO":
            raise _denied(account, "INSERT INTO FUNCTION")


def _denied(account: Account, what: str) -> errors.StoreError:
    return errors.refused(
        errors.ACCESS_DENIED, f"{account.user}: Not enough privileges: {what} is out of reach here", "ACCESS_DENIED"
    )


class Canonical:
    """Renders a statement with the engine's formatter, on a session of its own."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __call__(self, sql: str) -> bytes:
        rendered: bytes = self._session.query(
            "SELECT formatQuerySingleLine({statement:String})", "RawBLOB", {"statement": _escaped(sql)}
        ).bytes()
        return rendered


def _escaped(value: str) -> str:
    """A query parameter's text form: tab-separated escaping."""
    return (
        value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r").replace("\0", "\\0")
    )
