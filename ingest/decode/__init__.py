"""Decode: payloads of frames to readings by name."""

from ingest.decode.decoder import Decoder

__all__ = ["Decoder"]
