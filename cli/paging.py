"""Lists, page by page: no more is asked for than will be shown, and no more is held than a page and the next one, which
the registry makes while the one before is printed."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cli.registry_client import CALL_S

PAGE = 1000


def pages(call: Callable[..., Any], request: Any, field: str, limit: int = 0) -> Iterator[Any]:
    """What `call` lists in `field`, at most `limit` (0: all); sets page_size and page_token of `request`."""
    left = limit
    request.page_size = min(left, PAGE) if limit else PAGE
    page = call(request, timeout=CALL_S)
    with ThreadPoolExecutor(1) as ahead:
        while True:
            found = getattr(page, field)
            shown = found[:left] if limit else found
            left -= len(found)
            if not page.next_page_token or (limit and left <= 0):
                yield from shown
                return
            request.page_token = page.next_page_token
            request.page_size = min(left, PAGE) if limit else PAGE
            following = ahead.submit(call, request, timeout=CALL_S)
            yield from shown
            page = following.result()
