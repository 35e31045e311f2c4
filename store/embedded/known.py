"""Statements that were looked at and may be run: boards and writers send the same ones again and again."""

_STATEMENTS = 500
_CHARACTERS = 4000


class Known:
    """A few of them, each with all that the verdict rests on."""

    def __init__(self) -> None:
        self._found: set[tuple[str, ...]] = set()

    def __contains__(self, looked_at: tuple[str, ...]) -> bool:
        return looked_at in self._found

    def learn(self, looked_at: tuple[str, ...]) -> None:
        if len(self._found) >= _STATEMENTS:
            self._found.clear()
        if sum(map(len, looked_at)) <= _CHARACTERS:
            self._found.add(looked_at)
