"""Recorded CSV files as readings of registered devices: a map says how, the sender carries them over MQTT."""
