"""Rows of an import and what becomes of them."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from registry.devices import tokens
from registry.devices.dry_run import DryRun
from registry.devices.fleet import UPDATABLE
from registry.devices.model import DeviceSpec
from registry.devices.rules import check_device
from registry.errors import InvalidError, Violation

Outcome = Literal["created", "updated", "unchanged", "failed"]


class Mask(msgspec.Struct, frozen=True):
    """What a row speaks of: fields of a device's specification, and single labels by their keys."""

    fields: tuple[str, ...]
    label_keys: tuple[str, ...] = ()


EVERYTHING = Mask(UPDATABLE)


class Row(msgspec.Struct, frozen=True, gc=False):
    """`token` is empty unless the device brings its own; `is_token_for_new`: one that exists keeps what it has.

    `mask`: what of an existing device is compared and changed. `violations`: what is wrong with the row by itself, if
    it is a new device.
    """

    row: int
    spec: DeviceSpec
    token: str
    is_token_for_new: bool
    mask: Mask
    token_sha256: bytes
    violations: tuple[Violation, ...]


class Result(msgspec.Struct, frozen=True, gc=False):
    row: int
    outcome: Outcome
    token: str = ""
    violations: tuple[Violation, ...] = ()


class Mode(msgspec.Struct, frozen=True):
    """Of a whole stream. `own_tokens_only`: a new device that brings no token is refused."""

    dry_run: DryRun | None = None
    update_existing: bool = False
    own_tokens_only: bool = False


def row_of(number: int, spec: DeviceSpec, token: str, is_token_for_new: bool, mask: Mask) -> Row:
    """Everything about a row that needs no database, so that it is done before the transaction."""
    found = check_device(spec)
    if token:
        found += tokens.check_token(token)
    return Row(
        number,
        spec,
        token,
        is_token_for_new,
        mask,
        tokens.digest(token) if token else b"",
        tuple(found) if found else (),
    )


def mask_of(paths: Iterable[str], field: str) -> Mask:
    """Args: field: what an error calls the mask. Raises: InvalidError for a path that cannot be updated."""
    names, keys = [], []
    for path in paths:
        if path.startswith("labels."):
            keys.append(path.removeprefix("labels."))
        elif path in UPDATABLE:
            names.append(path)
        else:
            text = f"`{path}` is not a field of an import; fields are {', '.join(UPDATABLE)}, labels.KEY"
            raise InvalidError([Violation(field, "FIELD_NOT_UPDATABLE", text)])
    return Mask(tuple(names), tuple(keys))
