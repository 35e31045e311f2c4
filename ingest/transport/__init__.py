"""Transports: sockets to chunks of frames. Each has its own way to acknowledge."""
