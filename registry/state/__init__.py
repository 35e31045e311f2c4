"""What devices are known to be like now: gathered by ingest, judged when it is read."""
