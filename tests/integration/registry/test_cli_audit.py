"""`cityfleet audit` against a real registry, and against one whose database somebody has written to."""

import json
import sqlite3

import pytest


@pytest.fixture(scope="module")
def database_kind():
    return "sqlite"


@pytest.fixture(scope="module")
def cf(registry, stubs):
    """Run `cityfleet ...`; gives exit code, standard output, standard error."""

    def run(*arguments):
        done = registry.run_cli(*arguments)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    assert run("metric", "create", "noise_db", "--unit", "dB")[0] == 0
    assert run("metric", "update", "noise_db", "--description", "of a street")[0] == 0
    return run


def tamper(registry, statement):
    with sqlite3.connect(registry.data_dir / "registry" / "registry.db", timeout=60) as connection:
        connection.execute(statement)
    connection.close()


def test_events_are_listed_as_they_are_asked_for(cf):
    code, out, err = cf("audit", "list", "--resource", "metrics/noise_db", "-o", "json")
    assert code == 0, err
    update, create = json.loads(out)
    assert (create["before"], create["after"]["unit"]) == (None, "dB")
    assert (update["before"]["description"], update["after"]["description"]) == ("", "of a street")
    assert update["actor"] == "accounts/admin"
    assert update["request_id"]
    _, out, _ = cf("audit", "list", "--actor", "admin", "--filter", "method:CreateMetric", "--oldest-first")
    assert " MetricService/CreateMetric " in out
    code, out, _ = cf("audit", "list", "--limit", "1", "-o", "name")
    assert (code, out.strip()) == (0, str(update["event"]))
    code, _, err = cf("audit", "list", "--filter", "colour = red")
    assert code == 2
    assert "event_time" in err


def test_a_log_that_was_cut_short_or_changed_is_broken(cf, registry, tmp_path):
    head = tmp_path / "head.json"
    code, out, err = cf("audit", "verify", "--head", str(head), "-o", "json")
    assert code == 0, err
    told = json.loads(out)
    assert json.loads(head.read_text()) == {key: told[key] for key in ("last_event", "chain_sha256")}
    assert cf("audit", "verify", "--head", str(head))[0] == 0
    last = told["last_event"]
    tamper(registry, f"DELETE FROM audit_events WHERE event_num = {last}")
    assert cf("audit", "verify")[0] == 0
    code, _, err = cf("audit", "verify", "--head", str(head))
    assert code == 1
    assert f"event {last} is missing: the log was cut short" in err
    tamper(registry, "UPDATE audit_events SET actor = 'accounts/another' WHERE event_num = 2")
    code, _, err = cf("audit", "verify")
    assert code == 1
    assert "event 2 does not follow from the one before it" in err


def test_a_head_that_is_none_is_refused(cf, tmp_path):
    head = tmp_path / "head.json"
    for text in ("", "{}", '{"last_event": 1, "chain_sha256": "zz"}'):
        head.write_text(text)
        assert cf("audit", "verify", "--head", str(head))[0] == 2
