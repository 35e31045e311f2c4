"""Lists, page by page: no more is asked for than will be shown, and no more is held than a page."""

from collections.abc import Callable, Iterator
from typing import Any

from cli.registry_client import CALL_S

PAGE = 1000


def pages(call: Callable[..., Any], request: Any, field: str, limit: int = 0) -> Iterator[Any]:
    """What `call` lists in `field`, at most `limit` (0: all); sets page_size and page_token of `request`."""
    left = limit
    while True:
        request.page_size = min(left, PAGE) if limit else PAGE
        page = call(request, timeout=CALL_S)
        found = getattr(page, field)
        yield from found[:left] if limit else found
        left -= len(found)
        if not page.next_page_token or (limit and left <= 0):
            return
        request.page_token = page.next_page_token
