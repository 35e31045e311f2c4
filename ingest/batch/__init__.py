"""Batch: resolved readings in columns, sealed into the blocks of one commit window."""
