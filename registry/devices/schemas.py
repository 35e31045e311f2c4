"""JSON Schemas (2020-12) of a device type: of its configuration, of the parameters and results of its commands."""

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012, EMPTY_REGISTRY

from registry.devices.model import TypeSpec
from registry.devices.rules import MAX_DESCRIPTION, check_text
from registry.errors import Violation

COMMAND = re.compile(r"[a-z][a-z0-9_]{0,62}")
MAX_COMMANDS = 64
MAX_SCHEMA_BYTES = 65_536
# Lists and objects inside each other. Python's parser and the validator both recurse.
MAX_DEPTH = 32
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def compact(text: str) -> str:
    """A schema as it is stored, so that the same schema is the same text; what is no JSON stays as it is."""
    try:
        return _dump(_load(text)) if text else ""
    except ValueError:
        return text


def check_schemas(spec: TypeSpec) -> Iterator[Violation]:
    """The configuration schema and all commands."""
    yield from _check_schema("config_schema", spec.config_schema)
    if len(spec.commands) > MAX_COMMANDS:
        yield Violation("commands", "TOO_MANY_COMMANDS", f"at most {MAX_COMMANDS}, not {len(spec.commands)}")
        return
    seen: set[str] = set()
    for at, entry in enumerate(spec.commands):
        field = f"commands[{at}]"
        if not COMMAND.fullmatch(entry.command):
            text = f"`{entry.command}` is not a command: lowercase letters, digits, `_`, first a letter, at most 63"
            yield Violation(f"{field}.command", "COMMAND_INVALID", text)
        if entry.command in seen:
            yield Violation(f"{field}.command", "COMMAND_TWICE", f"`{entry.command}` is named twice")
        seen.add(entry.command)
        yield from check_text(f"{field}.description", entry.description, MAX_DESCRIPTION)
        yield from _check_schema(f"{field}.parameters_schema", entry.parameters_schema)
        yield from _check_schema(f"{field}.result_schema", entry.result_schema)


def check_document(field: str, document: str, schema: str) -> list[Violation]:
    """What is wrong with a document that the schema is of: a configuration, parameters or a result.

    Args:
        document: JSON. schema: one that `check_schemas` has passed; empty: anything.
    """
    if len(document.encode()) > MAX_SCHEMA_BYTES:
        return [Violation(field, "DOCUMENT_TOO_LONG", f"at most {MAX_SCHEMA_BYTES} bytes")]
    try:
        value = _load(document)
    except ValueError as exc:
        return [Violation(field, "DOCUMENT_NOT_JSON", str(exc))]
    if not schema:
        return []
    try:
        error = best_match(_validator(json.loads(schema)).iter_errors(value))
    except RecursionError:
        return [Violation(field, "DOCUMENT_INVALID", "the schema goes round in circles for this document")]
    return [] if error is None else [Violation(field, "DOCUMENT_INVALID", _told(error))]


def _check_schema(field: str, text: str) -> Iterator[Violation]:
    if not text:
        return
    if len(text.encode()) > MAX_SCHEMA_BYTES:
        yield Violation(field, "SCHEMA_TOO_LONG", f"at most {MAX_SCHEMA_BYTES} bytes, not {len(text.encode())}")
        return
    try:
        schema = _load(text)
    except ValueError as exc:
        yield Violation(field, "SCHEMA_NOT_JSON", str(exc))
        return
    if problem := _problem(schema):
        yield Violation(field, "SCHEMA_INVALID", problem)


def _problem(schema: Any) -> str:
    """Why it is not a schema that documents can be checked by; empty: it is one."""
    if not isinstance(schema, dict):
        return 'a schema is a JSON object, as in {"type": "object"}'
    if schema.get("$schema", _DIALECT) not in (_DIALECT, f"{_DIALECT}#"):
        return f"$schema is {_DIALECT} or left out"
    try:
        Draft202012Validator.check_schema(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
        if ref := _lost_reference(schema):
            return f"`{ref}` leads nowhere: a $ref names a part of the same schema, as in #/$defs/period"
        # `{"$ref": "#"}` is a schema, but no document can be checked by it.
        next(_validator(schema).iter_errors({}), None)
    except SchemaError as exc:
        return _told(exc)
    except RecursionError:
        return "a $ref leads back to itself"
    return ""


def _lost_reference(schema: dict[str, Any]) -> str:
    """The first reference that leads nowhere or out of the schema; empty: all are found."""
    root = DRAFT202012.create_resource(schema)
    registry: Registry[Any] = EMPTY_REGISTRY.with_resource(root.id() or "", root).crawl()
    waiting: list[tuple[Resource[Any], Any]] = [(root, registry.resolver_with_root(root))]
    while waiting:
        resource, resolver = waiting.pop()
        if isinstance(resource.contents, dict):
            for keyword in ("$ref", "$dynamicRef"):
                if isinstance(ref := resource.contents.get(keyword), str):
                    try:
                        resolver.lookup(ref)
                    except Unresolvable:
                        return ref
        waiting += [(inner, resolver.in_subresource(inner)) for inner in resource.subresources()]
    return ""


def _validator(schema: Any) -> Draft202012Validator:
    # With a registry of its own: the default one fetches what a $ref names from the network.
    return Draft202012Validator(schema, registry=EMPTY_REGISTRY)


def _load(text: str) -> Any:
    """Raises: ValueError in words for a person."""
    if _depth(text) > MAX_DEPTH:
        raise ValueError(f"more than {MAX_DEPTH} objects and lists inside each other")
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique)
        _dump(value).encode()
    except json.JSONDecodeError as exc:
        raise ValueError(f"not JSON: {exc.msg} at line {exc.lineno}, column {exc.colno}") from exc
    except UnicodeEncodeError as exc:
        raise ValueError("half of a surrogate pair is no character") from exc
    return value


def _depth(text: str) -> int:
    """How deep brackets are inside each other, at most."""
    deepest = depth = 0
    # A string that does not end is taken to the end of the text: one pass, whatever the text.
    for bracket in re.findall(r'(?s)"(?:[^"\\]|\\.)*"?|[][{}]', text):
        if bracket in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif bracket in "]}":
            depth -= 1
    return deepest


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for at, (key, _) in enumerate(pairs) if key in dict(pairs[:at]))
        raise ValueError(f"the key `{twice}` is there twice")
    return found


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _told(error: SchemaError | ValidationError) -> str:
    where = error.json_path.removeprefix("$").lstrip(".")
    message = error.message if len(error.message) <= 300 else error.message[:300] + "…"
    return f"{where}: {message}" if where else message
