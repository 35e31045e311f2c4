"""Settings of the share role."""

from urllib.parse import urlsplit

import msgspec

from runtime.settings import ListenSettings


class ShareSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Open formats over HTTP. `cityfleet up` starts the role when it is enabled."""

    enabled: bool = False
    listen: ListenSettings = ListenSettings(port=8085)
    http: ListenSettings = ListenSettings(port=9104)
    # What links in answers begin with, as https://open.example.vn; empty: what the client asked for.
    public_url: str = ""
    # Requests at once that ask the store; others wait so long and are then told to come back.
    queries: int = 8
    queue_wait_s: float = 5.0
    # Of one request.
    deadline_s: float = 20.0
    # Entities of a page: unless the client asks otherwise, and at most.
    page: int = 100
    max_page: int = 1000
    # Of history that one request may span.
    history_days: int = 31

    def __post_init__(self) -> None:
        if self.queries < 1:
            raise ValueError("queries must be at least 1")
        if not 0 <= self.queue_wait_s <= 300:
            raise ValueError(f"queue_wait_s must be 0 to 300, not {self.queue_wait_s:g}")
        if not 0.1 <= self.deadline_s <= 600:
            raise ValueError(f"deadline_s must be 0.1 to 600, not {self.deadline_s:g}")
        if not 1 <= self.page <= self.max_page <= 10_000:
            raise ValueError("page must be 1 to max_page, and max_page at most 10000")
        if not 1 <= self.history_days <= 3660:
            raise ValueError(f"history_days must be 1 to 3660, not {self.history_days}")
        if self.public_url and urlsplit(self.public_url).scheme not in ("http", "https"):
            raise ValueError("public_url must be an http or https address, or empty")
