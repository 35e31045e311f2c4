"""Worker processes: several of ingest on one machine, which share the listening ports and know of each other."""
