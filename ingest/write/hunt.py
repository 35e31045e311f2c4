"""The hunt for the rows that the store does not take: a refused body is cut in halves until single rows are left."""

from collections import deque
from collections.abc import Awaitable, Callable

from ingest.errors import IngestError, RefusedError
from ingest.write.native_rows import NativeRows

# Refusals without one row taken, after which it looks like the store and not like the rows; doubled each time.
_PATIENCE = 64

Insert = Callable[[bytes, str], Awaitable[None]]


class NothingTakenError(IngestError):
    """Not one row was taken: it may be the store. `reason` is what it said last."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Hunt:
    """One body of one table. May be broken off at any insert and run again: what is known is kept.

    Parts are what the rows' numbers say, and so are their tokens: after a crash the same cuts are made again, and what
    was taken before is dropped as a duplicate.
    """

    def __init__(self, body: bytes, token: str) -> None:
        """Raises: ValueError if the body's rows cannot be told apart."""
        self.rows = NativeRows(body)
        self._token = token
        self._patience = _PATIENCE
        self._halves: deque[tuple[int, int]] = deque()
        self._taken: list[tuple[int, int]] = []
        self._alone: dict[int, str] = {}
        self._begin_again()

    def _begin_again(self) -> None:
        self._halves = deque([(0, len(self.rows))])
        self._alone.clear()

    @property
    def refused(self) -> dict[int, str]:
        """The store's words by number of row, in the order of the rows."""
        return dict(sorted(self._alone.items()))

    @property
    def is_anything_taken(self) -> bool:
        return bool(self._taken)

    def taken(self) -> list[bytes]:
        """The rows that the store has, as Native blocks in their order."""
        return [self.rows.cut(first, end) for first, end in sorted(self._taken)]

    async def run(self, insert: Insert, *, is_store_fine: bool = False) -> None:
        """Until every row is taken or `refused`.

        Halves of all the body are tried before quarters of one half, so that a row that is good is found soon.

        Args:
            is_store_fine: others' rows of this table are taken at this time, so none being taken is proof enough.
        Raises: NothingTakenError after a while without a row being taken, ever later each time; UnavailableError.
        """
        refusals = 0
        if is_store_fine and not self._taken:
            self._begin_again()
        while self._halves:
            first, end = self._halves[0]
            try:
                await insert(self.rows.cut(first, end), f"{self._token}:{first}-{end}")
            except RefusedError as exc:
                self._halves.popleft()
                refusals += 1
                reason = str(exc)
                if end - first == 1:
                    self._alone[first] = reason
                else:
                    middle = (first + end) // 2
                    self._halves += [(first, middle), (middle, end)]
                if not self._taken and not is_store_fine and (refusals >= self._patience or not self._halves):
                    # Next time begins with the whole again: if it was the store, one insert tells.
                    self._patience *= 2
                    self._begin_again()
                    raise NothingTakenError(reason) from exc
            else:
                self._halves.popleft()
                self._taken.append((first, end))
