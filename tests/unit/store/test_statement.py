"""Where a statement ends, what its format is, and where its data begins."""

import pytest

from store.embedded.statement import parse


@pytest.mark.parametrize(
    ("text", "sql", "output_format", "tail"),
    [
        ("SELECT 1", "SELECT 1", "", ""),
        ("SELECT 1;", "SELECT 1", "", ""),
        ("SELECT 1 -- end\n ; /* x */", "SELECT 1", "", ""),
        ("SELECT 1 FORMAT JSON", "SELECT 1", "JSON", ""),
        ("select 1 format JSON;;", "select 1", "JSON", ""),
        ("SELECT 1 FORMAT JSON SETTINGS a = 1", "SELECT 1", "JSON", "SETTINGS a = 1"),
        ("SELECT 1 SETTINGS a = 1 FORMAT JSON", "SELECT 1 SETTINGS a = 1", "JSON", ""),
        ("SELECT 1 /* FORMAT CSV */", "SELECT 1", "", ""),
        ("SELECT 'FORMAT CSV'", "SELECT 'FORMAT CSV'", "", ""),
        ("SELECT 'it''s \\' FORMAT CSV'", "SELECT 'it''s \\' FORMAT CSV'", "", ""),
        ("SELECT $x$ FORMAT CSV $x$", "SELECT $x$ FORMAT CSV $x$", "", ""),
        ("SELECT 1 AS format", "SELECT 1 AS format", "", ""),
        ("SELECT format FROM t", "SELECT format FROM t", "", ""),
        ("SELECT x FROM format t", "SELECT x FROM format t", "", ""),
        ("SELECT format('{}', 1)", "SELECT format('{}', 1)", "", ""),
    ],
)
def test_the_format_clause_is_found(text: str, sql: str, output_format: str, tail: str) -> None:
    found = parse(text.encode())
    assert (found.sql, found.format, found.tail, found.takes_data) == (sql, output_format, tail, False)


@pytest.mark.parametrize(
    ("text", "sql", "input_format", "data"),
    [
        ("INSERT INTO t FORMAT CSV\n1,2\n", "INSERT INTO t", "CSV", "1,2\n"),
        ("INSERT INTO t FORMAT CSV 1,2", "INSERT INTO t", "CSV", "1,2"),
        ("INSERT INTO t FORMAT TSV\r\n1", "INSERT INTO t", "TSV", "1"),
        ("INSERT INTO t FORMAT TSV", "INSERT INTO t", "TSV", ""),
        ("insert into t values (1), ('FORMAT CSV')", "insert into t", "Values", " (1), ('FORMAT CSV')"),
        (
            "INSERT INTO t (a, `values`) SETTINGS x = 1 VALUES(1)",
            "INSERT INTO t (a, `values`) SETTINGS x = 1",
            "Values",
            "(1)",
        ),
        ("INSERT INTO values VALUES (1)", "INSERT INTO values", "Values", " (1)"),
        ("INSERT INTO db.format FORMAT CSV\n1", "INSERT INTO db.format", "CSV", "1"),
        ("/* c */ INSERT INTO t FORMAT Native\n\x00\x01", "/* c */ INSERT INTO t", "Native", "\x00\x01"),
    ],
)
def test_data_begins_where_clickhouse_lets_it_begin(text: str, sql: str, input_format: str, data: str) -> None:
    found = parse(text.encode())
    assert (found.verb, found.sql, found.format) == ("INSERT", sql, input_format)
    assert text.encode()[found.data_at :] == data.encode()


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO t SELECT 1",
        "INSERT INTO t SELECT 1 FORMAT TSV",
        "INSERT INTO t WITH 1 AS x SELECT x",
        "INSERT INTO t SELECT * FROM values('a Int8', (1))",
    ],
)
def test_an_insert_from_a_select_takes_no_data(text: str) -> None:
    assert not parse(text.encode()).takes_data


@pytest.mark.parametrize(
    ("text", "verb", "is_query"),
    [
        ("select 1", "SELECT", True),
        ("(SELECT 1)", "(", True),
        ("WITH 1 AS x SELECT x", "WITH", True),
        ("-- c\n#! c\n/* c */ SHOW TABLES", "SHOW", False),
        ("EXPLAIN SELECT 1", "EXPLAIN", False),
        ("", "", False),
        (";", ";", False),
    ],
)
def test_the_verb_is_the_first_word(text: str, verb: str, is_query: bool) -> None:
    found = parse(text.encode())
    assert (found.verb, found.is_query) == (verb, is_query)


def test_what_is_not_utf8_is_kept() -> None:
    text = b"SELECT '\xff\xfe' FORMAT CSV"
    assert parse(text).sql.encode(errors="surrogateescape") == b"SELECT '\xff\xfe'"


def test_a_long_text_is_read_in_linear_time() -> None:
    for text in (b"'" * 300_001, b"/*" * 200_000, b'"\\' * 200_000, b"$a" * 100_000, b"(" * 300_000):
        parse(b"SELECT " + text)
