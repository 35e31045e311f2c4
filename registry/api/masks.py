"""Which fields an update is about (AIP-134): those of its mask, or without one those that are set."""

from collections.abc import Sequence

from google.protobuf.message import Message

from registry.errors import InvalidError, Violation


def masked(given: Message, paths: Sequence[str], updatable: Sequence[str]) -> tuple[frozenset[str], frozenset[str]]:
    """The fields and the single labels (`labels.KEY`) that an update names; `*` is all of `updatable`.

    Raises: InvalidError for a field that cannot be updated.
    """
    if not paths:
        set_fields = {field.name for field, _ in given.ListFields()}
        return frozenset(set_fields & set(updatable)), frozenset()
    if "*" in paths:
        return frozenset(updatable), frozenset()
    label_keys = frozenset(path.removeprefix("labels.") for path in paths if path.startswith("labels."))
    fields = frozenset(path for path in paths if not path.startswith("labels."))
    if unknown := fields - set(updatable):
        text = (
            f"`{min(unknown)}` cannot be updated; fields are {', '.join(updatable)}, labels.KEY, * for all; "
            "a state changes by its own method"
        )
        raise InvalidError([Violation("update_mask", "FIELD_NOT_UPDATABLE", text)])
    return fields, label_keys
