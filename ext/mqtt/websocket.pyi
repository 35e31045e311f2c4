from ext.mqtt.connection import Connection

class WebSocketConnection(Connection):
    """The protocol of one socket that speaks MQTT in the frames of a WebSocket."""
