"""Edge nodes made with pysparkplug: its payloads, sequence numbers, births and wills, over the paho client we have."""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import paho.mqtt.client as paho
import pysparkplug as sp


class Client(sp.Client):
    """pysparkplug's client, whose constructor is written for paho 1, over paho 2. Keeps what it receives."""

    def __init__(self, username: str | None = None, password: str | None = None, client_id: str = "") -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self._client = paho.Client(paho.CallbackAPIVersion.VERSION1, client_id=client_id, clean_session=True)
        if username is not None:
            self._client.username_pw_set(username, password)
        self._births = {}
        self._subscriptions = {}
        self.is_through = False

    def connect(self, *args: Any, callback: Callable[[sp.Client], None], **kwargs: Any) -> None:
        """`is_through` is set when the library's callback is: its own word comes before it has published the births."""

        def called(client: sp.Client) -> None:
            callback(client)
            self.is_through = True

        self.is_through = False
        super().connect(*args, callback=called, **kwargs)

    def drop(self) -> None:
        """Lose the connection without a good-bye: the will is sent."""
        self._client.loop_stop()
        socket = self._client.socket()
        if socket is not None:
            socket.close()


class Edge:
    """An edge node that is born again when it is asked to.

    `send(a=1.5)` publishes NDATA by alias alone, without datatypes, as edge nodes do that save bytes.
    """

    def __init__(
        self,
        group: str,
        name: str,
        metrics: dict[str, tuple[sp.DataType, Any]],
        devices: dict[str, dict[str, tuple[sp.DataType, Any]]] | None = None,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        self.group, self.name = group, name
        self.rebirths = 0
        self._sent_ms = _now()
        self._aliases: dict[tuple[str, str], tuple[int, sp.DataType]] = {}
        self.client = Client(username, password, client_id=f"{group}-{name}")
        control = sp.Metric(_now(), "Node Control/Rebirth", sp.DataType.BOOLEAN, value=False)
        self.node = sp.EdgeNode(
            group, name, [control, *self._metrics("", metrics)], client=self.client, cmd_callback=self._command
        )
        for device, its_metrics in (devices or {}).items():
            self.node.register(sp.Device(device, self._metrics(device, its_metrics)))

    def _metrics(self, device: str, metrics: dict[str, tuple[sp.DataType, Any]]) -> list[sp.Metric]:
        found = []
        for name, (datatype, value) in metrics.items():
            alias = len(self._aliases) + 1
            self._aliases[device, name] = (alias, datatype)
            found.append(sp.Metric(_now(), name, datatype, value=value, alias=alias))
        return found

    def _command(self, node: sp.EdgeNode, message: sp.Message) -> None:
        if any(metric.name == "Node Control/Rebirth" and metric.value is True for metric in message.payload.metrics):
            self.rebirths += 1
            self.give_birth()

    def connect(self, port: int) -> None:
        """Returns when the births have been handed to the client."""
        self.node.connect("127.0.0.1", port=port)
        wait(lambda: self.client.is_through, "the edge node did not connect")

    def give_birth(self) -> None:
        """NBIRTH with the bdSeq of this connection's will, and all DBIRTHs."""
        metrics = (*self.node.metrics.values(), self._bd_seq())
        self._publish("NBIRTH", sp.NBirth(_now(), seq=self.next_seq(), metrics=metrics), dtypes=True)
        for device in self.node.devices.values():
            birth = sp.DBirth(_now(), seq=self.next_seq(), metrics=tuple(device.metrics.values()))
            self._publish("DBIRTH", birth, device.device_id, dtypes=True)

    def _bd_seq(self) -> sp.Metric:
        """Of the present connection: after the births the library holds that of the next one."""
        return sp.Metric(_now(), "bdSeq", sp.DataType.INT64, value=(self.node._bd_seq_metric.value - 1) % 256)

    def next_seq(self) -> int:
        return self.node._seq

    def send(self, device: str = "", at_ms: int | None = None, seq: int | None = None, **values: Any) -> None:
        metrics = []
        for name, value in values.items():
            alias, datatype = self._aliases[device, name]
            metrics.append(sp.Metric(at_ms, None, datatype, value=value, alias=alias))
        self.send_metrics(metrics, device, seq)

    def send_metrics(self, metrics: list[sp.Metric], device: str = "", seq: int | None = None) -> None:
        kind, verb = (sp.DData, "DDATA") if device else (sp.NData, "NDATA")
        number = self.next_seq() if seq is None else seq
        # Two readings of one millisecond would be the same reading.
        self._sent_ms = max(self._sent_ms + 1, _now())
        self._publish(verb, kind(self._sent_ms, seq=number, metrics=tuple(metrics)), device)

    def _publish(self, verb: str, payload: Any, device: str = "", *, dtypes: bool = False) -> None:
        topic = sp.Topic(
            message_type=sp.MessageType[verb], group_id=self.group, edge_node_id=self.name, device_id=device or None
        )
        message = sp.Message(topic=topic, payload=payload, qos=sp.QoS.AT_MOST_ONCE, retain=False)
        self.client.publish(message, include_dtypes=dtypes)

    def die(self) -> None:
        """NDEATH, then a good-bye."""
        self._publish("NDEATH", sp.NDeath(_now(), bd_seq_metric=self._bd_seq()), dtypes=True)
        self.client.disconnect()


@contextmanager
def running(edge: Edge, port: int) -> Iterator[Edge]:
    edge.connect(port)
    try:
        yield edge
    finally:
        edge.client.disconnect()


def wait(condition: Callable[[], Any], message: str, seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, message
        time.sleep(0.02)
    return found


def _now() -> int:
    return int(sp.get_current_timestamp())
