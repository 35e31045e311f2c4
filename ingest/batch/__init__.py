"""Batch: resolved readings to ClickHouse Native blocks."""

from ingest.batch.batch import Batch

__all__ = ["Batch"]
