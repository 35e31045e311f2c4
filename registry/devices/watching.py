"""One watch of devices: what matches now, then whatever changes; each step is one read of the database.

A watcher has no queue: what he has not heard he reads by revision, so several changes of one device come as one, and a
slow watcher costs nothing. What is kept of him is one bit for each device that he has.
"""

import base64
import binascii
import hashlib
from collections.abc import Collection

import msgspec
from sqlalchemy import Connection

from registry.access.caller import scope
from registry.db import changes, sequence
from registry.db.changes import LAST_NUM, Change
from registry.devices.selection import selected
from registry.errors import InvalidError, ResumeTokenError, Violation
from registry.filter.condition import Call, Condition, tests_of
from registry.state.described import Described, describe_numbers

# Read at once; with documents, which may be 16 kB each.
PART_DEVICES, PART_WITH_DOCUMENTS = 500, 100
# A token lives as long as its watcher is away, and bookmarks renew it.
KEPT_MS = 7 * 86_400_000
# They grow with each message, which is no change.
_NOT_WATCHED = ("reported.last_seen_time", "reported.last_reading_time")


class Step(msgspec.Struct, frozen=True):
    """What has changed. `removed`: ids of what the watcher had and has no more. `resume_token`: where to go on after
    it; empty: as before. `is_last`: there is no more now."""

    changed: list[Described]
    removed: list[str]
    resume_token: str
    is_last: bool


class _Token(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    registry_id: str
    revision: int
    device_num: int
    time_ms: int
    start_ms: int
    meaning: bytes


class Watch:
    """`begin` and parts of the snapshot until one is empty, or `resume`; then steps without end."""

    def __init__(self, filter_text: str, with_documents: bool) -> None:
        self._filter = filter_text
        self._with_documents = with_documents
        self._limit = PART_WITH_DOCUMENTS if with_documents else PART_DEVICES
        # Everything up to here is told, except for what changes by the clock alone after `_time_ms`.
        self._position = Change(0, 0)
        self._time_ms = 0
        # What `ago()` counts from.
        self._start_ms = 0
        self._registry_id = ""
        self._meaning = b""
        self._held = _Held(is_known=True)
        self._snapshot_num = 0
        self._types_revision = 0
        # Passes that take several steps: over what matches, over devices of types, over what fell silent.
        self._match_pass: int | None = None
        self._type_pass: tuple[Collection[int], int] | None = None
        self._silent_pass: tuple[int, int] | None = None

    @property
    def revision(self) -> int:
        """Up to which all is told."""
        return self._position.revision

    def begin(self, connection: Connection) -> None:
        """Raises: InvalidError for a filter that cannot be watched."""
        head = sequence.head(connection)
        self._start_ms = self._time_ms = sequence.now_ms()
        self._registry_id, self._types_revision = head.registry_id, head.revision
        self._position = Change(head.revision, LAST_NUM)
        self._meaning = self._meaning_of(connection, self._condition(connection))

    def snapshot_part(self, connection: Connection) -> list[Described]:
        """The next devices that match; none: that was all. What changes meanwhile comes again in steps."""
        condition = self._condition(connection)
        nums = changes.matching_after(connection, condition, self._snapshot_num, self._limit, self._time_ms)
        if nums:
            self._snapshot_num = nums[-1]
        for num in nums:
            self._held.put(num, True)
        return self._described(connection, nums, self._time_ms)

    def resume(self, connection: Connection, token: str) -> None:
        """Raises: InvalidError, ResumeTokenError."""
        head, now_ms, found = sequence.head(connection), sequence.now_ms(), _decoded(token)
        if found.registry_id != head.registry_id or found.revision > head.revision:
            raise ResumeTokenError("the resume token is of another registry, or of its future; come back without it")
        if found.time_ms < now_ms - KEPT_MS:
            text = "the resume token is older than 7 days; come back without it"
            raise ResumeTokenError(text, reason="RESUME_TOKEN_TOO_OLD")
        if not scope().is_everything:
            # What left his scope meanwhile could not be told from what was never in it.
            raise ResumeTokenError("a watch of a part of the city cannot be resumed; come back without the token")
        self._registry_id, self._start_ms = found.registry_id, found.start_ms
        self._position, self._types_revision = Change(found.revision, found.device_num), found.revision
        self._time_ms = min(found.time_ms, now_ms)
        self._held = _Held(is_known=False)
        self._meaning = self._meaning_of(connection, self._condition(connection))
        if found.meaning != self._meaning:
            raise _other_meaning()

    def step(self, connection: Connection) -> Step:
        """Raises: InvalidError if the filter names what is there no more, ResumeTokenError."""
        head, now_ms = sequence.head(connection), max(sequence.now_ms(), self._time_ms)
        condition = self._condition(connection)
        meaning = self._meaning_of(connection, condition)
        if meaning != self._meaning:
            if not self._held.is_known:
                raise _other_meaning()
            self._meaning, self._match_pass = meaning, 0
        if self._match_pass is not None:
            return self._match_again(connection, condition, now_ms)
        if self._type_pass is None and (types := changes.types_after(connection, self._types_revision)):
            self._types_revision, self._type_pass = head.revision, (types, 0)
        if self._type_pass is not None:
            return self._types_again(connection, condition, now_ms)
        return self._go_on(connection, condition, head.revision, now_ms)

    def token(self) -> str:
        """Where to go on after what was told so far; not within a snapshot."""
        position = self._position
        found = _Token(
            self._registry_id, position.revision, position.device_num, self._time_ms, self._start_ms, self._meaning
        )
        return base64.urlsafe_b64encode(msgspec.msgpack.encode(found)).decode()

    def _go_on(self, connection: Connection, condition: Condition, head: int, now_ms: int) -> Step:
        found = changes.changes_after(connection, self._position, self._limit)
        nums = {change.device_num for change in found}
        is_last = len(found) < self._limit
        self._position = Change(head, LAST_NUM) if is_last else found[-1]
        if is_last:
            until_ms, after_num = self._silent_pass or (now_ms, 0)
            silent = changes.fell_silent(connection, self._time_ms, until_ms, after_num, self._limit)
            nums.update(silent)
            is_last = len(silent) < self._limit
            if is_last:
                self._time_ms, self._silent_pass = until_ms, None
            else:
                self._silent_pass = (until_ms, silent[-1])
        matching = changes.matching(connection, condition, nums, now_ms) if nums else set()
        return self._told(connection, matching, nums - matching, now_ms, self.token(), is_last=is_last)

    def _match_again(self, connection: Connection, condition: Condition, now_ms: int) -> Step:
        """A group or a saved query of the filter is another: who matches that did not, who does not that did?"""
        first = self._match_pass or 0
        matching = changes.matching_after(connection, condition, first, self._limit, now_ms)
        held = self._held.after(first, self._limit)
        ends = [nums[-1] for nums in (matching, held) if len(nums) == self._limit]
        last = min(ends, default=LAST_NUM)
        self._match_pass = min(ends, default=None)
        now, before = {num for num in matching if num <= last}, {num for num in held if num <= last}
        return self._told(connection, now - before, before - now, now_ms, "", is_last=False)

    def _types_again(self, connection: Connection, condition: Condition, now_ms: int) -> Step:
        """With the interval of their type the health of devices has changed."""
        assert self._type_pass is not None
        types, after_num = self._type_pass
        nums = changes.devices_of_types(connection, types, after_num, self._limit)
        self._type_pass = (types, nums[-1]) if len(nums) == self._limit else None
        matching = changes.matching(connection, condition, nums, now_ms)
        return self._told(connection, matching, set(nums) - matching, now_ms, "", is_last=False)

    def _told(
        self,
        connection: Connection,
        changed: Collection[int],
        others: Collection[int],
        now_ms: int,
        token: str,
        *,
        is_last: bool,
    ) -> Step:
        """Args: changed: devices that match. others: those that don't, of which the watcher may have had some."""
        removed = [num for num in others if num in self._held]
        for num in removed:
            self._held.put(num, False)
        for num in changed:
            self._held.put(num, True)
        names = changes.device_ids(connection, removed) if removed else []
        return Step(self._described(connection, sorted(changed), now_ms), sorted(names), token, is_last)

    def _described(self, connection: Connection, nums: Collection[int], now_ms: int) -> list[Described]:
        return describe_numbers(connection, list(nums), now_ms, with_documents=self._with_documents)

    def _condition(self, connection: Connection) -> Condition:
        condition = selected(connection, self._filter, self._start_ms)
        for test in tests_of(condition):
            if not isinstance(test, Call) and test.field.name in _NOT_WATCHED:
                text = f"{test.field.name} changes with each message and cannot be watched; use connectivity or health"
                raise InvalidError([Violation("filter", "FILTER_NOT_WATCHABLE", text)])
        return condition

    def _meaning_of(self, connection: Connection, condition: Condition) -> bytes:
        """The same as long as nothing but devices and the clock decide who matches: a digest of the filter, the scope,
        the saved queries and groups that it names."""
        calls = [test for test in tests_of(condition) if isinstance(test, Call) and test.name == "in_group"]
        group_ids = sorted({str(call.arguments[0]) for call in calls})
        revisions = sorted(changes.group_revisions(connection, group_ids).items()) if group_ids else []
        return hashlib.blake2b(repr((condition, revisions)).encode(), digest_size=12).digest()


class _Held:
    """A set of device numbers, a bit for each up to the highest. Not known: all are in it until they are put out."""

    def __init__(self, *, is_known: bool) -> None:
        self.is_known = is_known
        self._fill = b"\x00" if is_known else b"\xff"
        self._bits = bytearray()

    def __contains__(self, num: int) -> bool:
        byte, bit = divmod(num, 8)
        bits = self._bits[byte] if byte < len(self._bits) else self._fill[0]
        return bool(bits >> bit & 1)

    def put(self, num: int, is_in: bool) -> None:
        byte, bit = divmod(num, 8)
        if byte >= len(self._bits):
            self._bits += self._fill * (byte + 1 - len(self._bits))
        if is_in:
            self._bits[byte] |= 1 << bit
        else:
            self._bits[byte] &= ~(1 << bit)

    def after(self, num: int, limit: int) -> list[int]:
        """The first of those above `num` that were put in, in order."""
        found: list[int] = []
        for byte in range((num + 1) // 8, len(self._bits)):
            if self._bits[byte]:
                found += [each for each in range(max(num + 1, byte * 8), byte * 8 + 8) if each in self]
                if len(found) >= limit:
                    break
        return found[:limit]


def _decoded(token: str) -> _Token:
    try:
        found = msgspec.msgpack.decode(base64.urlsafe_b64decode(token.encode()), type=_Token)
    except (binascii.Error, ValueError) as exc:
        raise ResumeTokenError("not a resume token of a watch of devices; come back without it") from exc
    numbers = (found.revision, found.device_num, found.time_ms, found.start_ms)
    if not all(0 <= number <= LAST_NUM for number in numbers):
        raise ResumeTokenError("not a resume token of a watch of devices; come back without it")
    return found


def _other_meaning() -> ResumeTokenError:
    text = "the filter, or a group or saved query that it names, is another than before; come back without the token"
    return ResumeTokenError(text, reason="RESUME_TOKEN_OF_OTHER_FILTER")
