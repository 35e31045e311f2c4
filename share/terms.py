"""Terms of a filter that are joined by one word or sign, as SensorThings' $filter and NGSI-LD's q have them."""

import re
from collections.abc import Iterator

from share.problem import Problem

MAX_TERMS = 20


def joined(text: str, term: re.Pattern[str], parameter: str, says: str) -> Iterator[re.Match[str]]:
    """Each term of the text, none of an empty one.

    Args:
        term: matches one, and as `more` what joins it to another; without it the text ends.
        says: what terms there are and how they are joined, for whoever sent something else.
    Raises: Problem 400, with the place.
    """
    at, has_more = 0, bool(text.strip())
    count = 0
    while has_more:
        found = term.match(text, at)
        count += 1
        if not found or count > MAX_TERMS:
            raise Problem(400, f"{says}, at most {MAX_TERMS}; not from {text[at : at + 40]!r} on", parameter)
        yield found
        at, has_more = found.end(), bool(found["more"])
