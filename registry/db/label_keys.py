"""How many devices have which labels, by key: kept with each change, since to count them takes longer than a page."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, func, select, text

from registry.db.schema import device_labels, label_keys

# Of all devices; a label's own key is never empty.
_ALL = ""
_ADD = text(
    "INSERT INTO label_keys (key, devices) VALUES (:key, :devices) "
    "ON CONFLICT (key) DO UPDATE SET devices = label_keys.devices + excluded.devices"
)


def note_new(connection: Connection, labels: Iterable[Mapping[str, str]]) -> None:
    """Note devices that came, by the labels of each."""
    more: Counter[str] = Counter()
    for each in labels:
        more.update(_named(each))
        more[_ALL] += 1
    _add(connection, more)


def note_changed(connection: Connection, changes: Iterable[tuple[Mapping[str, str], Mapping[str, str]]]) -> None:
    """Args: changes: labels of a device before and after."""
    more: Counter[str] = Counter()
    for before, after in changes:
        more.subtract(_named(before))
        more.update(_named(after))
    _add(connection, more)


def note_purged(connection: Connection, device_nums: Sequence[int]) -> None:
    """To be called as long as their labels are there."""
    labels = device_labels.c
    query = select(labels.key, func.count()).where(labels.device_num.in_(device_nums), labels.value != "")
    found = {key: -count for key, count in connection.execute(query.group_by(labels.key))}
    _add(connection, Counter({_ALL: -len(device_nums), **found}))


def have_all(connection: Connection, key: str) -> bool:
    """Whether every device has a label with that key that is not empty."""
    query = select(label_keys.c.key, label_keys.c.devices).where(label_keys.c.key.in_((_ALL, key)))
    counts = {row.key: row.devices for row in connection.execute(query)}
    return bool(counts.get(key)) and counts[key] == counts[_ALL]


def all_devices(connection: Connection) -> int:
    """How many there are, whatever their state."""
    found: int = connection.execute(select(label_keys.c.devices).where(label_keys.c.key == _ALL)).scalar_one()
    return found


def _named(labels: Mapping[str, str]) -> list[str]:
    return [key for key, value in labels.items() if value]


def _add(connection: Connection, more: Counter[str]) -> None:
    rows = [{"key": key, "devices": count} for key, count in more.items() if count]
    if rows:
        connection.execute(_ADD, rows)
