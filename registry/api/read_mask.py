"""Read masks (AIP-157): only the fields that the caller wants."""

from typing import TypeVar

from google.protobuf.descriptor import Descriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from registry.errors import InvalidError, Violation

M = TypeVar("M", bound=Message)


class ReadMask:
    """Of messages of one type; empty or `*`: all their fields."""

    def __init__(self, mask: FieldMask, descriptor: Descriptor) -> None:
        """Raises: InvalidError if it names a field that there is not."""
        paths = list(mask.paths)
        for path in paths:
            if path != "*" and not FieldMask(paths=[path]).IsValidForDescriptor(descriptor):
                known = ", ".join(field.name for field in descriptor.fields)
                text = f"`{path[:80]}` is no field; there are {known}, and * for all"
                raise InvalidError([Violation("read_mask", "READ_MASK_INVALID", text)])
        self._mask = None if not paths or "*" in paths else FieldMask(paths=paths)

    def applied(self, message: M) -> M:
        """The message with only these fields; itself if that is all."""
        if self._mask is None:
            return message
        shown = type(message)()
        self._mask.MergeMessage(message, shown)
        return shown
