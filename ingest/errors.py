"""What can go wrong in ingest, named by what the caller should do next."""

from ingest.model import Segment


class IngestError(Exception):
    """Everything raised on purpose."""


class ConfigError(IngestError):
    """Stop; a person must fix the settings."""


class UnavailableError(IngestError):
    """Try again later with backoff; the data waits in the spool."""


class PoisonError(IngestError):
    """Nobody will ever read or take this segment; set it aside and go on."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class RefusedError(IngestError):
    """The store does not take these bytes: find the rows that it is about."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class DamagedSegmentError(IngestError):
    """A part of a segment is gone: insert `bodies`, which is what is left of it, as the segment `remaining`."""

    def __init__(self, message: str, remaining: Segment, bodies: list[tuple[str, bytes]]) -> None:
        super().__init__(message)
        self.remaining = remaining
        self.bodies = bodies
