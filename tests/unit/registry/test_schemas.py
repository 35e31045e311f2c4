"""Schemas of configurations and commands: which are refused and why, and what they say of documents."""

import socket

import pytest

from registry.devices.model import CommandSchema, TypeSpec
from registry.devices.schemas import MAX_SCHEMA_BYTES, check_document, check_schemas, compact

PERIOD = (
    '{"type":"object","properties":{"period_s":{"$ref":"#/$defs/period"}},'
    '"$defs":{"period":{"type":"integer","minimum":1}}}'
)


def found(spec: TypeSpec) -> list[tuple[str, str]]:
    return [(violation.field, violation.reason) for violation in check_schemas(spec)]


def test_a_type_without_schemas_passes():
    assert found(TypeSpec("gauge")) == []


@pytest.mark.parametrize(
    "schema",
    [
        "{}",
        PERIOD,
        '{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object"}',
        '{"$id":"https://example.org/gauge","$ref":"#/$defs/whole","$defs":{"whole":{"type":"object"}}}',
        '{"properties":{"$ref":{"type":"string"}},"default":{"$ref":"a value, no reference"}}',
        '{"$defs":{"node":{"properties":{"next":{"$ref":"#/$defs/node"}}}},"$ref":"#/$defs/node"}',
        '{"properties":{"mode":{"enum":["[","{","\\"["]}}}',
    ],
)
def test_schemas_pass(schema):
    assert found(TypeSpec("gauge", config_schema=schema)) == []


@pytest.mark.parametrize(
    ("schema", "reason", "says"),
    [
        ("{", "SCHEMA_NOT_JSON", "line 1, column 2"),
        ('{"a":1,"a":2}', "SCHEMA_NOT_JSON", "`a` is there twice"),
        ('{"minimum":NaN}', "SCHEMA_NOT_JSON", "NaN"),
        ('{"minimum":1e400}', "SCHEMA_NOT_JSON", "not JSON compliant"),
        ('{"const":"\\ud800"}', "SCHEMA_NOT_JSON", "surrogate"),
        ("[" * 40, "SCHEMA_NOT_JSON", "more than 32"),
        ('{"const":"' + "x" * MAX_SCHEMA_BYTES + '"}', "SCHEMA_TOO_LONG", "at most 65536 bytes"),
        ("[1]", "SCHEMA_INVALID", "a JSON object"),
        ('{"properties":{"period_s":{"type":"whole"}}}', "SCHEMA_INVALID", "properties.period_s.type"),
        ('{"pattern":"("}', "SCHEMA_INVALID", "regex"),
        ('{"$schema":"http://json-schema.org/draft-07/schema#"}', "SCHEMA_INVALID", "2020-12"),
        ('{"items":{"$ref":"#/$defs/nothing"}}', "SCHEMA_INVALID", "`#/$defs/nothing` leads nowhere"),
        ('{"$ref":"#"}', "SCHEMA_INVALID", "back to itself"),
    ],
)
def test_a_wrong_schema_says_what_is_wrong(schema, reason, says):
    violations = list(check_schemas(TypeSpec("gauge", config_schema=schema)))
    assert [(violation.field, violation.reason) for violation in violations] == [("config_schema", reason)]
    assert says in violations[0].description


def test_a_reference_to_elsewhere_is_refused_without_a_connection(monkeypatch):
    def connect(*_):
        raise AssertionError("it was looked for in the network")

    monkeypatch.setattr(socket.socket, "connect", connect)
    schema = '{"properties":{"a":{"$ref":"http://127.0.0.1:9/schema.json"}}}'
    assert found(TypeSpec("gauge", config_schema=schema)) == [("config_schema", "SCHEMA_INVALID")]
    assert check_document("config", '{"a":1}', "{}") == []


def test_each_wrong_field_of_a_command_is_named():
    commands = (
        CommandSchema("reboot", parameters_schema=PERIOD, result_schema="{}"),
        CommandSchema("Reboot"),
        CommandSchema("reboot", description="x" * 5000),
        CommandSchema("set_period", parameters_schema="[]", result_schema='{"type":1}'),
    )
    assert found(TypeSpec("gauge", commands=commands)) == [
        ("commands[1].command", "COMMAND_INVALID"),
        ("commands[2].command", "COMMAND_TWICE"),
        ("commands[2].description", "TEXT_TOO_LONG"),
        ("commands[3].parameters_schema", "SCHEMA_INVALID"),
        ("commands[3].result_schema", "SCHEMA_INVALID"),
    ]
    many = tuple(CommandSchema(f"command_{at}") for at in range(65))
    assert found(TypeSpec("gauge", commands=many)) == [("commands", "TOO_MANY_COMMANDS")]


def test_the_same_schema_is_the_same_text():
    assert compact('{ "title": "M\\u1ef1c",\n "type" : "object" }') == '{"title":"Mực","type":"object"}'
    assert compact(compact(PERIOD)) == PERIOD
    assert compact("{no json") == "{no json"
    assert compact("") == ""


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ('{"period_s":0}', "period_s: 0 is less than the minimum of 1"),
        ('{"period_s":"1"}', "period_s: '1' is not of type 'integer'"),
        ("[]", "[] is not of type 'object'"),
        ("{", "not JSON"),
        ('{"period_s":1,"period_s":2}', "twice"),
        ("[" * 100_000, "at most"),
    ],
)
def test_a_wrong_document_says_what_is_wrong(document, says):
    assert check_document("config", '{"period_s":300}', PERIOD) == []
    violations = check_document("config", document, PERIOD)
    assert violations[0].field == "config"
    assert says in violations[0].description


def test_a_schema_that_goes_round_in_circles_ends():
    schema = '{"properties":{"a":{"$ref":"#/properties/a"}}}'
    assert found(TypeSpec("gauge", config_schema=schema)) == []  # no document without `a` is touched by it
    assert check_document("config", '{"a":1}', schema)[0].reason == "DOCUMENT_INVALID"
