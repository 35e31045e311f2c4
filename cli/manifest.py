"""Documents of what there shall be: `cityfleet ... get -o yaml` writes them, `cityfleet apply -f` reads them.

A document says what it is about by its id: `device_id`, `site_id`, `group_id`, `saved_query_id`, `account_id`,
`metric`, or `device_type` alone. Keys that only the registry sets are read and let go, so that what was printed can be
applied.
"""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

# Kept by whoever prints a device with its token; a file of what there shall be is no place for one.
_SECRET = "token"  # noqa: S105 - a key


def message_of(document: Mapping[str, Any], message: Message, fields: tuple[str, ...], let_go: tuple[str, ...]) -> None:
    """Fill `message` from the document's keys among `fields`.

    Args: let_go: keys that are no mistake, but not the caller's to say.
    Raises: ValueError that names the key.
    """
    for key in document:
        if key == _SECRET:
            raise ValueError("token: not in such a file; `device create` and `import devices` take tokens")
        if key not in fields and key not in let_go:
            near = difflib.get_close_matches(str(key), fields, 1)
            hint = f"; do you mean `{near[0]}`?" if near else f"; there are {', '.join(fields)}"
            raise ValueError(f"`{key}` is not known here{hint}")
    given = {field: document[field] for field in fields if document.get(field) is not None}
    try:
        json_format.ParseDict(_enums_named(given, message.DESCRIPTOR), message)
    except json_format.ParseError as exc:
        raise ValueError(_said(str(exc), given)) from exc


def changes(before: Any, after: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two values of documents differ: path, before and after; None: not there.

    Lists of mappings are compared entry by entry if each entry has a first key that tells it from the others.
    """
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in [*before, *(key for key in after if key not in before)]:
            below = f"{path}.{key}" if path else str(key)
            yield from changes(before.get(key), after.get(key), below)
        return
    named_before, named_after = _named(before), _named(after)
    if named_before is not None and named_after is not None:
        for key in [*named_before, *(key for key in named_after if key not in named_before)]:
            yield from changes(named_before.get(key), named_after.get(key), f"{path}[{key}]")
    elif before != after:
        yield path, before, after


def _named(value: Any) -> dict[str, Any] | None:
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) and entry for entry in value):
        return None
    named = {str(next(iter(entry.values()))): entry for entry in value}
    return named if len(named) == len(value) else None


def _enums_named(given: Any, kind: Any) -> Any:
    """Words of enums, as they are printed (`viewer`), under their own names (`ROLE_VIEWER`)."""
    if not isinstance(given, dict):
        return given
    named = {}
    for key, value in given.items():
        field = kind.fields_by_name.get(key)
        if field is not None and field.enum_type is not None and isinstance(value, str):
            prefix = field.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
            value = f"{prefix}{value.upper()}"
        elif field is not None and field.message_type is not None and isinstance(value, list):
            value = [_enums_named(entry, field.message_type) for entry in value]
        named[key] = value
    return named


def _said(text: str, given: Mapping[str, Any]) -> str:
    """protobuf's sentence; and the trap of YAML, which takes 00070 for a number and yes for a truth."""
    for key, value in given.items():
        entries = value.values() if isinstance(value, Mapping) else [value]
        if key in ("ward_code", "labels", "ward_codes") and any(not isinstance(entry, str | list) for entry in entries):
            return f'{key}: texts are wanted; write them in quotes, as in "00070" or "yes"'
    return text
