"""A segment that is in memory as a file of the spool, under its own name and so its own token."""

import os

from ingest.disk import sync_folder, write_all
from ingest.model import Segment
from ingest.spool.numbers import parse_name
from ingest.spool.record import RecordPlace, encode, name_seed


def save(segment: Segment) -> None:
    """Durable on return. Raises: OSError; then there is no such file."""
    place = RecordPlace(name_seed(segment.name), (parse_name(segment.name) or ("", 0))[1])
    draft = segment.path.with_suffix(".draft")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
    try:
        at = 0
        for window in segment.windows or ():
            buffers = encode(window, place)
            write_all(file, buffers, at)
            at += sum(map(len, buffers))
            place.number += 1
            place.readings_before += sum(window.readings)
        os.fsync(file)
    except OSError:
        draft.unlink()
        raise
    finally:
        os.close(file)
    draft.rename(segment.path)
    sync_folder(segment.path.parent)
