"""Queries past SQLAlchemy: the same answers, its errors, and nothing left open behind them."""

import pytest
from sqlalchemy import BigInteger, bindparam, create_engine, select, text
from sqlalchemy.exc import OperationalError

from registry.db.prepared import Prepared
from registry.db.schema import label_keys

_MORE = (
    select(label_keys.c.key, (label_keys.c.devices + 1).label("more"))
    .where(label_keys.c.devices > bindparam("least", type_=BigInteger()))
    .order_by(label_keys.c.key)
)


@pytest.fixture
def connection(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/registry.db")
    label_keys.create(engine)
    with engine.connect() as connection:
        connection.execute(label_keys.insert(), [{"key": f"k-{count}", "devices": count} for count in (0, 60, 3600)])
        connection.commit()
        yield connection


def test_answers_are_those_of_sqlalchemy(connection):
    prepared = Prepared(_MORE)
    for least in (-1, 0, 60, 3600):
        told = [tuple(row) for row in connection.execute(_MORE, {"least": least})]
        assert prepared.rows(connection, least=least) == told
        assert prepared.row(connection, least=least) == (told[0] if told else None)


def test_a_query_alone_leaves_no_transaction_behind(connection):
    assert Prepared(_MORE).row(connection, least=0) == ("k-3600", 3601)
    assert not connection.in_transaction()
    assert not connection.connection.dbapi_connection.in_transaction


def test_within_a_transaction_it_sees_what_that_has_written(connection):
    with connection.begin():
        connection.execute(label_keys.update().values(devices=7))
        assert len(Prepared(_MORE).rows(connection, least=6)) == 3


def test_errors_are_those_of_sqlalchemy(connection):
    prepared = Prepared(_MORE)
    prepared.rows(connection, least=0)
    connection.execute(text("DROP TABLE label_keys"))
    with pytest.raises(OperationalError, match="no such table"):
        prepared.rows(connection, least=0)
