"""One MQTT client: an asyncio.BufferedProtocol for uvloop that puts PUBLISH packets into the hub's chunk."""

import asyncio

from ext.mqtt.hub import Hub

class Connection(asyncio.BufferedProtocol):
    def __init__(self, hub: Hub) -> None: ...
    def go_on(self) -> None:
        """The other workers have answered what `Hub.on_coming` asked them: CONNACK, and what came behind CONNECT."""
