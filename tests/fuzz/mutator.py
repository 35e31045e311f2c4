"""Inputs made from good ones by damage: what fuzzes where atheris cannot be had, and in the short run of every test."""

import random
from collections.abc import Callable, Sequence

MAX_BYTES = 16_384
_EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 63) - 1, 1 << 63)


class Mutator:
    """The same seed and corpus give the same inputs. Knows nothing of coverage."""

    def __init__(self, corpus: Sequence[bytes], seed: int) -> None:
        self._corpus = list(corpus) or [b""]
        self._random = random.Random(seed)
        self._left = list(self._corpus)
        self._steps: tuple[Callable[[bytearray], None], ...] = (
            self._flip,
            self._set,
            self._insert,
            self._delete,
            self._repeat,
            self._splice,
            self._edge,
            self._cut,
        )

    def next(self) -> bytes:
        """First the corpus as it is, then damage to it, now and then bytes of no origin."""
        if self._left:
            return self._left.pop(0)
        if self._random.random() < 0.02:
            return self._random.randbytes(self._random.randrange(64))
        data = bytearray(self._random.choice(self._corpus))
        for _ in range(min(self._random.randint(1, 8), self._random.randint(1, 8))):
            self._random.choice(self._steps)(data)
        return bytes(data[:MAX_BYTES])

    def _place(self, data: bytearray) -> int:
        return self._random.randrange(len(data) + 1)

    def _range(self, data: bytearray) -> slice:
        start = self._place(data)
        return slice(start, start + self._random.choice((1, 2, 4, 8, self._random.randrange(1, 65))))

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)

    def _set(self, data: bytearray) -> None:
        if data:
            data[self._random.randrange(len(data))] = self._random.randrange(256)

    def _insert(self, data: bytearray) -> None:
        at = self._place(data)
        data[at:at] = self._random.randbytes(self._random.randrange(1, 9))

    def _delete(self, data: bytearray) -> None:
        del data[self._range(data)]

    def _repeat(self, data: bytearray) -> None:
        at = self._place(data)
        data[at:at] = data[self._range(data)] * self._random.choice((1, 1, 2, 30))

    def _splice(self, data: bytearray) -> None:
        other = self._random.choice(self._corpus)
        start = self._random.randrange(len(other) + 1)
        data[self._range(data)] = other[start : start + self._random.randrange(1, 129)]

    def _edge(self, data: bytearray) -> None:
        size = self._random.choice((1, 2, 4, 8))
        value = self._random.choice(_EDGES) + self._random.randint(-1, 1)
        at = self._place(data)
        order = self._random.choice(("big", "little"))
        data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, order)  # type: ignore[arg-type]

    def _cut(self, data: bytearray) -> None:
        del data[self._place(data) :]
