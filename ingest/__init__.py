"""Ingest: transport, decode, resolve, batch, spool, write. Data goes one way; only the ack comes back."""
