"""Content types of ClickHouse's output formats."""

_TYPES = {
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "CSVWithNamesAndTypes": "text/csv; charset=UTF-8; header=present",
    "XML": "application/xml; charset=UTF-8",
    "Markdown": "text/markdown; charset=UTF-8",
}
_BINARY = ("Native", "RowBinary", "Parquet", "Arrow", "ORC", "Avro", "MsgPack", "Npy", "BSON", "RawBLOB")


def content_type(name: str) -> str:
    """The Content-Type header a ClickHouse server sends for this format."""
    if name in _TYPES:
        return _TYPES[name]
    if name.startswith(("TabSeparated", "TSV")):
        return _TYPES["TSV"]
    if name.endswith("EachRow") or "EachRowWith" in name:
        return "application/x-ndjson; charset=UTF-8"
    if name.startswith("JSON"):
        return "application/json; charset=UTF-8"
    if name.startswith(_BINARY):
        return "application/octet-stream"
    return "text/plain; charset=UTF-8"
