"""A filter finds in SQLite and in PostgreSQL what it finds in memory, whatever texts, gaps and signs there are."""

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    create_engine,
    delete,
    insert,
    select,
)

from registry.db import conditions
from registry.filter.check import condition_of
from registry.filter.evaluate import holds
from registry.filter.fields import Field, Resource, Type
from tests.support.postgresql import running_postgresql

metadata = MetaData()
owners = Table("owners", metadata, Column("num", Integer, primary_key=True), Column("id", String(63), nullable=False))
things = Table(
    "things",
    metadata,
    Column("num", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("nick", Text),
    Column("owner_num", Integer, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("size", Integer),
    Column("at_ms", BigInteger),
)
labels = Table(
    "labels",
    metadata,
    Column("key", String(63), primary_key=True),
    Column("value", String(255), primary_key=True),
    Column("num", Integer, primary_key=True),
)
FIELDS = [
    Field("name", Type.TEXT),
    Field("nick", Type.TEXT),
    Field("owner", Type.TEXT),
    Field("kind", Type.ENUM, ("red", "green")),
    Field("size", Type.NUMBER),
    Field("at", Type.TIME),
    Field("labels", Type.MAP),
]
THINGS = Resource({field.name: field for field in FIELDS}, {}, ("name", "nick"))
BINDINGS = {
    "name": conditions.Text(things.c.name),
    "nick": conditions.Text(things.c.nick),
    "owner": conditions.Reference(things.c.owner_num, owners.c.num, owners.c.id),
    "kind": conditions.Word(things.c.kind, {"red": 1, "green": 2}),
    "size": conditions.Point(things.c.size),
    "at": conditions.Point(things.c.at_ms),
    "labels": conditions.Labels(labels, "num", things.c.num),
}
OWNERS = ["", "an", "An", "bi*h", "đỗ"]
# Whatever means something to LIKE, GLOB, a filter's strings or a collation.
texts = st.text("aA%_*", max_size=2) | st.text("a[]", max_size=3) | st.text("aAbBzđĐâ%_*?[]^\\\"'- .0", max_size=3)
rows = st.fixed_dictionaries(
    {
        "name": texts,
        "nick": texts,
        "owner": st.sampled_from(OWNERS),
        "kind": st.sampled_from(["red", "green"]),
        "size": st.none() | st.integers(-3, 3) | st.just(2**31 - 1),
        "at": st.none() | st.sampled_from([0, 1000, 1_800_000_000_000]),
        "labels": st.dictionaries(st.sampled_from(["a", "b.c", "A"]), texts, max_size=2),
    }
)


def quoted(text: str) -> str:
    return '"' + "".join(f"\\{char}" if char in '"\\*' else char for char in text) + '"'


patterns = st.lists(texts, min_size=2, max_size=3).map(
    lambda parts: '"' + "*".join(quoted(p)[1:-1] for p in parts) + '"'
)
orders = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
equals = st.sampled_from(["=", "!="])
text_fields = st.sampled_from(["name", "nick", "owner", "labels.a", "labels.b.c"])
terms = st.one_of(
    st.builds("{} {} {}".format, text_fields, orders, texts.map(quoted) | st.sampled_from(OWNERS).map(quoted)),
    st.builds("{} {} {}".format, text_fields, equals, patterns),
    st.builds("{}:{}".format, text_fields, (texts.filter(bool).map(quoted)) | patterns),
    st.builds("{}:*".format, text_fields | st.sampled_from(["size", "at", "kind"])),
    st.builds("labels:{}".format, st.sampled_from(["a", "b.c", "A", "x"]).map(quoted)),
    st.builds("kind {} {}".format, equals, st.sampled_from(["red", "green"])),
    st.builds("size {} {}".format, orders, st.integers(-3, 3) | st.sampled_from([2**31, -(2**63), 2**63 - 1])),
    st.builds(
        "at {} {}".format, orders, st.sampled_from(["1970-01-01", '"1970-01-01T00:00:01Z"', "ago(0s)", "ago(1w)"])
    ),
    (texts.filter(bool).map(quoted)),
)
filters = st.recursive(
    terms,
    lambda inner: st.one_of(
        st.builds("NOT ({})".format, inner),
        st.builds("({}) AND {}".format, inner, inner),
        st.builds("({}) OR ({})".format, inner, inner),
        st.builds("({}) ({})".format, inner, inner),
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def engines() -> Iterator[list[Engine]]:
    with running_postgresql() as url:
        with create_engine(f"{url}/postgres", isolation_level="AUTOCOMMIT").connect() as connection:
            # Where capitals and accents have another order than their numbers.
            locale = "LOCALE_PROVIDER icu ICU_LOCALE 'vi-VN' LOCALE 'C'"
            connection.exec_driver_sql(f"CREATE DATABASE things TEMPLATE template0 ENCODING utf8 {locale}")
        made = [create_engine("sqlite://"), create_engine(f"{url}/things")]
        for engine in made:
            metadata.create_all(engine)
            with engine.begin() as connection:
                connection.execute(insert(owners), [{"num": at, "id": name} for at, name in enumerate(OWNERS) if name])
        yield made
        for engine in made:
            engine.dispose()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(rows, min_size=1, max_size=6), st.lists(filters, min_size=1, max_size=8))
def test_sql_finds_what_memory_finds(engines, given_rows, given_filters):
    found = [condition_of(text, THINGS, 1_800_000_000_000) for text in given_filters]
    expected = [
        [at for at, row in enumerate(given_rows) if holds(condition, row, lambda *_: False)] for condition in found
    ]
    for engine in engines:
        with engine.connect() as connection:
            _fill(connection, given_rows)
            for condition, nums, text in zip(found, expected, given_filters, strict=True):
                clause = conditions.clause_of(condition, BINDINGS, {}, engine.dialect.name)
                query = select(things.c.num).where(clause).order_by(things.c.num)
                assert list(connection.scalars(query)) == nums, (engine.dialect.name, text)
            connection.rollback()


def _fill(connection, given_rows) -> None:
    connection.execute(delete(labels))
    connection.execute(delete(things))
    connection.execute(
        insert(things),
        [
            {
                "num": at,
                "name": row["name"],
                "nick": row["nick"] or None,
                "owner_num": OWNERS.index(row["owner"]),
                "kind": 1 if row["kind"] == "red" else 2,
                "size": row["size"],
                "at_ms": row["at"],
            }
            for at, row in enumerate(given_rows)
        ],
    )
    own = [
        {"num": at, "key": key, "value": value}
        for at, row in enumerate(given_rows)
        for key, value in row["labels"].items()
    ]
    if own:
        connection.execute(insert(labels), own)


def test_signs_of_patterns_are_plain_characters(engines):
    signs = ["", *"a%_*?[]^\\"]
    names = ["".join(pair) for pair in itertools.product(signs, signs)]
    blank = {"nick": "", "owner": "", "kind": "red", "size": None, "at": None, "labels": {}}
    given_rows = [{"name": name, **blank} for name in names]
    for engine in engines:
        with engine.connect() as connection:
            _fill(connection, given_rows)
            for name in names:
                for text in (
                    f'name = "{quoted(name)[1:-1]}*"',
                    f'name = "*{quoted(name)[1:-1]}"',
                    f"name:{quoted(name)}",
                ):
                    if text == 'name:""':
                        continue
                    condition = condition_of(text, THINGS, 0)
                    clause = conditions.clause_of(condition, BINDINGS, {}, engine.dialect.name)
                    found = set(connection.scalars(select(things.c.num).where(clause)))
                    expected = {at for at, row in enumerate(given_rows) if holds(condition, row, lambda *_: False)}
                    assert found == expected, (engine.dialect.name, text)
            connection.rollback()
