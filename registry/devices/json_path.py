"""Paths into JSON documents: `data.temp`, `values[0].v`; a backslash before a dot, bracket or backslash of a label."""

from typing import Any, TypeAlias

Steps: TypeAlias = tuple[str | int, ...]

MISSING = object()


def steps_of(path: str) -> Steps:
    """The labels and array positions of a path; an empty one has none. Raises: ValueError that says what is wrong."""
    steps: list[str | int] = []
    at = 0
    while at < len(path):
        if path[at] == "[":
            end = path.find("]", at)
            digits = path[at + 1 : end]
            if end < 0 or not (digits.isascii() and digits.isdecimal()) or len(digits) > 4:
                raise ValueError(f"`{path}` has a `[` without a position and `]` behind it, as in values[0]")
            steps.append(int(digits))
            at = end + 1
            continue
        if path[at] == "." and at > 0:
            at += 1
        label = ""
        while at < len(path) and path[at] not in ".[":
            if path[at] == "\\":
                at += 1
                if at == len(path) or path[at] not in ".[]\\":
                    raise ValueError(f"`{path}` has a backslash that is not before a dot, bracket or backslash")
            label += path[at]
            at += 1
        if not label:
            raise ValueError(f"`{path}` has an empty label")
        steps.append(label)
    if path.endswith(".") and not path.endswith("\\."):
        raise ValueError(f"`{path}` has an empty label")
    return tuple(steps)


def look_up(value: Any, steps: Steps) -> Any:
    """What lies at the path; MISSING: nothing."""
    for step in steps:
        if isinstance(step, int):
            if not isinstance(value, list) or step >= len(value):
                return MISSING
            value = value[step]
        else:
            if not isinstance(value, dict) or step not in value:
                return MISSING
            value = value[step]
    return value
