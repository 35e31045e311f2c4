"""Replay: payloads of quarantine through decode and resolve again, and into the pipeline if they are good now."""
