"""A folder as a disk would keep it: what is durable, and what is only on its way there.

The rules are POSIX's, stricter than most file systems: an fsync of a file makes its data and size durable, not its
name; a name is durable by the fsync of its folder. A rename happens as a whole or not at all. A folder's changes reach
the disk in their order, a file's writes in any. With a journal, as ext4 and XFS have one, all names have one order, and
any fsync makes those before it durable.
"""

import os
import random
from dataclasses import dataclass, field
from pathlib import Path

from loadtest.fault.power.journal import Op, Record

_SECTOR, _PAGE = 512, 4096


@dataclass(slots=True, eq=False)
class _File:
    mode: int
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Record] = field(default_factory=list)
    synced: int = 0  # changes that were ever made durable; those before `synced + len(pending)` are known

    def settle(self, until: int) -> None:
        count = max(0, until - self.synced)
        for record in self.pending[:count]:
            _change(self.durable, record)
        del self.pending[:count]
        self.synced += count


@dataclass(slots=True, eq=False)
class _Names:
    """One change of the names in a folder, or in two: a rename between them."""

    removed: "list[tuple[_Folder, str]]"
    added: "list[tuple[_Folder, str, _Node]]"

    def apply(self, names: "dict[int, dict[str, _Node]]") -> None:
        for folder, name in self.removed:
            names[id(folder)].pop(name, None)
        for folder, name, node in self.added:
            names[id(folder)][name] = node


@dataclass(slots=True, eq=False)
class _Folder:
    mode: int
    live: "dict[str, _Node]" = field(default_factory=dict)
    pending: list[_Names] = field(default_factory=list)
    synced: int = 0


_Node = _File | _Folder


def _change(data: bytearray, record: Record) -> None:
    if record.op is Op.WRITE:
        _extend(data, record.at)
        data[record.at : record.at + len(record.data)] = record.data
    elif record.op is Op.TRUNCATE:
        _extend(data, record.at)
        del data[record.at :]
    else:
        # 2: punch a hole, 16: zero a range, 1: the size stays.
        if record.mode & (2 | 16):
            end = min(len(data), record.at + record.size)
            data[record.at : end] = bytes(max(0, end - record.at))
        if not record.mode & 1:
            _extend(data, record.at + record.size)


def _extend(data: bytearray, size: int) -> None:
    if len(data) < size:
        data.extend(bytes(size - len(data)))


class Disk:
    """Takes a folder as durable, then records one after the other; `write_to` lays out what would be left now."""

    def __init__(self, folder: Path, *, has_journal: bool = False) -> None:
        """`folder` as it is on the disk; nobody changes it meanwhile."""
        # Names of all folders in one order, and how many of them are durable.
        self._journal: list[_Names] | None = [] if has_journal else None
        self._journaled = 0
        self._names: dict[int, dict[str, _Node]] = {}
        self._by_inode: dict[int, _Node] = {}
        self._marks: dict[tuple[int, int], tuple[_Node, int, int]] = {}
        self._root = self._load(folder)

    def _load(self, path: Path) -> _Folder:
        about = path.stat()
        folder = self._new_folder(about.st_mode, about.st_ino)
        for entry in path.iterdir():
            about = entry.lstat()
            node: _Node
            if entry.is_dir() and not entry.is_symlink():
                node = self._load(entry)
            elif entry.is_file() and not entry.is_symlink():
                known = self._by_inode.get(about.st_ino)
                node = known if known is not None else _File(about.st_mode, bytearray(entry.read_bytes()))
                self._by_inode[about.st_ino] = node
            else:
                continue  # sockets and the like do not outlive their process
            folder.live[entry.name] = node
        self._names[id(folder)].update(folder.live)
        return folder

    def _new_folder(self, mode: int, inode: int) -> _Folder:
        folder = _Folder(mode)
        self._names[id(folder)] = {}
        self._by_inode[inode] = folder
        return folder

    def _place(self, path: str) -> tuple[_Folder, str]:
        """The folder that holds the name, as the processes see it."""
        *above, name = path.split("/")
        folder = self._root
        for part in above:
            found = folder.live.get(part)
            if not isinstance(found, _Folder):
                raise ValueError(f"the journal names {path}, which was never made")
            folder = found
        return folder, name

    def apply(self, record: Record) -> None:
        op = record.op
        if op in (Op.WRITE, Op.TRUNCATE, Op.ALLOCATE):
            node = self._by_inode.get(record.inode)
            if isinstance(node, _File):
                node.pending.append(record)
                if op is Op.WRITE and record.mode:
                    node.settle(node.synced + len(node.pending))
        elif op is Op.SYNC_BEGIN:
            found = self._by_inode.get(record.inode)
            if found is not None:
                journaled = self._journaled + len(self._journal or ())
                self._marks[record.stream, record.at] = (found, found.synced + len(found.pending), journaled)
        elif op is Op.SYNC_END:
            mark = self._marks.pop((record.stream, record.at), None)
            if mark is not None:
                self._settle(*mark)
        elif op is Op.CREATE:
            folder, name = self._place(record.path)
            is_folder = record.mode & 0o170000 == 0o040000
            node = self._new_folder(record.mode, record.inode) if is_folder else _File(record.mode)
            self._by_inode[record.inode] = node
            self._add(folder, name, node)
        elif op is Op.LINK:
            source, name = self._place(record.path)
            folder, to = self._place(record.to)
            self._add(folder, to, source.live[name])
        elif op is Op.UNLINK:
            folder, name = self._place(record.path)
            folder.live.pop(name, None)
            self._queue(_Names([(folder, name)], []), folder)
        elif op is Op.RENAME:
            source, name = self._place(record.path)
            folder, to = self._place(record.to)
            node = source.live.pop(name)
            folder.live[to] = node
            self._queue(_Names([(source, name)], [(folder, to, node)]), source, folder)
        elif op is Op.EXCHANGE:
            source, name = self._place(record.path)
            folder, to = self._place(record.to)
            one, other = source.live[name], folder.live[to]
            source.live[name], folder.live[to] = other, one
            self._queue(_Names([], [(source, name, other), (folder, to, one)]), source, folder)

    def _add(self, folder: _Folder, name: str, node: _Node) -> None:
        folder.live[name] = node
        self._queue(_Names([], [(folder, name, node)]), folder)

    def _queue(self, change: _Names, *folders: _Folder) -> None:
        if self._journal is not None:
            self._journal.append(change)
            return
        for folder in {id(folder): folder for folder in folders}.values():
            folder.pending.append(change)

    def _settle(self, node: _Node, until: int, journaled: int) -> None:
        if self._journal is not None:
            count = max(0, journaled - self._journaled)
            for change in self._journal[:count]:
                change.apply(self._names)
            del self._journal[:count]
            self._journaled += count
        if isinstance(node, _File):
            node.settle(until)
            return
        count = max(0, until - node.synced)
        for change in node.pending[:count]:
            change.apply(self._names)
            self._drop_elsewhere(change, node)
        del node.pending[:count]
        node.synced += count

    @staticmethod
    def _drop_elsewhere(change: _Names, but: _Folder) -> None:
        """A rename between two folders is on the disk as soon as one of them is; again later, it would undo more."""
        folders = [folder for folder, _ in change.removed] + [folder for folder, _, _ in change.added]
        for folder in folders:
            if folder is not but and change in folder.pending:
                folder.pending[folder.pending.index(change)] = _Names([], [])

    def write_to(self, target: Path, chance: random.Random | None = None) -> None:
        """Lay out what is left of the folder below `target`, which is made.

        Args:
            chance: None: only what is durable. Else a part of what was on its way, by chance, has reached the disk too:
                changes of names in their order, of data in any, to the sector.
        """
        names = {key: dict(entries) for key, entries in self._names.items()}
        if chance is not None:
            folders = [node for node in self._by_inode.values() if isinstance(node, _Folder) and node.pending]
            for queue in [folder.pending for folder in folders] + [self._journal or []]:
                for change in queue[: chance.randint(0, len(queue))]:
                    change.apply(names)
        written: dict[int, Path] = {}
        self._write_folder(self._root, names, target, chance, written)

    def _write_folder(
        self,
        folder: _Folder,
        names: dict[int, dict[str, _Node]],
        target: Path,
        chance: random.Random | None,
        written: dict[int, Path],
    ) -> None:
        target.mkdir(parents=True)
        for name, node in names[id(folder)].items():
            path = target / name
            if isinstance(node, _Folder):
                self._write_folder(node, names, path, chance, written)
            elif id(node) in written:
                os.link(written[id(node)], path)
            else:
                path.write_bytes(_left_of(node, chance))
                path.chmod(node.mode & 0o7777)
                written[id(node)] = path
        target.chmod(folder.mode & 0o7777)


def _left_of(file: _File, chance: random.Random | None) -> bytes:
    """What a power loss leaves of a file."""
    if chance is None or not file.pending:
        return bytes(file.durable)
    fate = chance.random()
    if fate < 0.35:
        return bytes(file.durable)
    data = bytearray(file.durable)
    if fate < 0.7:
        # In order, all or up to somewhere; the last one torn.
        count = len(file.pending) if fate < 0.45 else chance.randint(0, len(file.pending))
        for record in file.pending[:count]:
            _change(data, record)
        if count < len(file.pending) and file.pending[count].op is Op.WRITE:
            record = file.pending[count]
            size = chance.randint(0, len(record.data)) // _SECTOR * _SECTOR
            _change(data, record._replace(data=record.data[:size]))
        return bytes(data)
    # Pages by chance; the size may be there before the data, which then reads as zeros.
    for record in file.pending:
        if record.op is not Op.WRITE:
            if chance.random() < 0.5:
                _change(data, record)
            continue
        if chance.random() < 0.5:
            _extend(data, record.at + len(record.data))
        for first in range(0, len(record.data), _PAGE):
            if chance.random() < 0.5:
                _change(data, record._replace(at=record.at + first, data=record.data[first : first + _PAGE]))
    return bytes(data)
