"""What of ingest goes into a backup: the spools, and what it remembers beside them."""

from pathlib import Path

from runtime.archive import Source

_FOLDER = "ingest"
# A restored spool is another spool: it takes a name of its own, and so no token is given twice. The ledger is that of
# processes that will not come back; a spare file of the spool has nothing that counts.
_LEFT_OUT = ("node", "ledger*.json", "*.spare", "*.draft", ".*")


def spool_files(data_dir: Path) -> list[Source]:
    """Segments and counters of all workers' spools, as they are now.

    A segment that the store has is removed at any moment, and its file may become another segment's.
    """
    folders = sorted((data_dir / _FOLDER).glob("spool*"))
    return [source for folder in folders for source in _below(data_dir, folder, is_spool=True)]


def state_files(data_dir: Path) -> list[Source]:
    """The device index, the births of Sparkplug's edge nodes, the broker's filters, state documents not told yet."""
    folders = sorted(path for path in (data_dir / _FOLDER).glob("*") if not path.name.startswith("spool"))
    return [source for folder in folders for source in _below(data_dir, folder)]


def _below(data_dir: Path, path: Path, *, is_spool: bool = False) -> list[Source]:
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [
        Source(str(file.relative_to(data_dir)), file, may_vanish=True, may_shrink=is_spool, counts_while_there=is_spool)
        for file in found
        if file.is_file() and not file.is_symlink() and not any(file.match(pattern) for pattern in _LEFT_OUT)
    ]
