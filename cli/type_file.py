"""Device types as files: YAML (one or several documents), TOML or JSON."""

import base64
import binascii
import json
from typing import Annotated, Any

import msgspec

from cityfleet.registry.v1 import device_type_pb2 as pb
from cli.document_file import read_documents
from cli.errors import CommandError, ExitCode
from registry.api.decoder import decoder_message, decoder_of, vector_message, vector_of
from registry.api.quality import tests_message, tests_of
from registry.devices.decoder import Decoder, ExpectedReading, TestVector
from registry.devices.quality import QualityTests

_METRIC_OPTIONS = ("source", "source_unit", "resolution", "expected_interval_s")


Interval = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]


class TypeFileMetric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    metric: str
    min_value: float | None = None
    max_value: float | None = None
    source: str = ""
    source_unit: str = ""
    resolution: float = 0.0
    expected_interval_s: Interval = 0
    tests: QualityTests = QualityTests()


class TypeFileCommand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Schemas are written as YAML, not as text."""

    command: str
    description: str = ""
    parameters_schema: dict[str, Any] | None = None
    result_schema: dict[str, Any] | None = None
    is_idempotent: bool = False


Expected = float | bool | str


class TypeFileVector(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A test vector: the payload in hex or base64, or a JSON document, as YAML or as text."""

    name: str = ""
    payload: Any = None
    payload_base64: str | None = None
    json: Any = None
    f_port: int | None = None
    expect: dict[str, Expected | list[Expected]] = {}
    times: list[str] = []
    error: str = ""

    def vector(self, field: str) -> TestVector:
        """Raises: ValueError that names the field."""
        if self.payload is not None and self.payload_base64 is not None:
            raise ValueError(f"{field}: give payload or payload_base64, one of the two")
        text = self.json
        if text is not None and not isinstance(text, str):
            text = json.dumps(text, ensure_ascii=False)
        return TestVector(
            name=self.name,
            payload=self._bytes(field),
            json=text,
            f_port=self.f_port,
            expect=tuple(_expected(name, values) for name, values in self.expect.items()),
            error=self.error,
            times=tuple(self.times),
        )

    def _bytes(self, field: str) -> bytes | None:
        if self.payload_base64 is not None:
            try:
                return base64.b64decode(self.payload_base64, validate=True)
            except binascii.Error as exc:
                raise ValueError(f"{field}.payload_base64: {exc}") from exc
        if self.payload is None:
            return None
        if not isinstance(self.payload, str):  # YAML takes 0102 for a number, and its zero is lost
            raise ValueError(f"{field}.payload: write the hex digits in quotes")
        return hex_bytes(self.payload, f"{field}.payload")


def hex_bytes(text: str, field: str) -> bytes:
    """Raises: ValueError that names the field."""
    try:
        return bytes.fromhex(text)
    except ValueError as exc:
        raise ValueError(f"{field}: `{text}` is not hexadecimal, as in 0b b8 ff") from exc


def _expected(name: str, values: Expected | list[Expected]) -> ExpectedReading:
    entries = values if isinstance(values, list) else [values]
    texts = tuple(("true" if entry else "false") if isinstance(entry, bool) else str(entry)
                  for entry in entries if isinstance(entry, bool | str))  # fmt: skip
    numbers = tuple(float(entry) for entry in entries if not isinstance(entry, bool | str))
    return ExpectedReading(name, numbers, texts)


class TypeFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One device type. What `type get -o yaml` prints can be applied again: the last four are read and let go."""

    device_type: str
    display_name: str = ""
    description: str = ""
    is_gateway: bool = False
    default_encoding: str = "senml-json"
    expected_interval_s: Interval = 0
    metrics: list[str | TypeFileMetric] = []
    hardware_revisions: list[str] = []
    config_schema: dict[str, Any] | None = None
    commands: list[TypeFileCommand] = []
    decoder: Decoder = Decoder()
    vectors: list[TypeFileVector] = []
    etag: str = ""
    type_num: int = 0
    version: int = 0
    create_time: str = ""
    update_time: str = ""

    def message(self) -> pb.DeviceType:
        """Raises: ValueError that names the field."""
        entries = [TypeFileMetric(entry) if isinstance(entry, str) else entry for entry in self.metrics]
        return pb.DeviceType(
            name=f"deviceTypes/{self.device_type}",
            display_name=self.display_name,
            description=self.description,
            is_gateway=self.is_gateway,
            default_encoding=self.default_encoding,
            expected_interval_s=self.expected_interval_s,
            metrics=[
                pb.DeviceTypeMetric(
                    metric=entry.metric,
                    min_value=entry.min_value,
                    max_value=entry.max_value,
                    source=entry.source,
                    source_unit=entry.source_unit,
                    resolution=entry.resolution,
                    expected_interval_s=entry.expected_interval_s,
                    tests=tests_message(entry.tests),
                )
                for entry in entries
            ],
            hardware_revisions=self.hardware_revisions,
            config_schema=_schema_text(self.config_schema, "config_schema"),
            commands=[
                pb.CommandSchema(
                    command=entry.command,
                    description=entry.description,
                    parameters_schema=_schema_text(entry.parameters_schema, f"commands[{at}].parameters_schema"),
                    result_schema=_schema_text(entry.result_schema, f"commands[{at}].result_schema"),
                    is_idempotent=entry.is_idempotent,
                )
                for at, entry in enumerate(self.commands)
            ],
            decoder=decoder_message(self.decoder),
            vectors=[vector_message(one.vector(f"vectors[{at}]")) for at, one in enumerate(self.vectors)],
            etag=self.etag,
        )


def _schema_text(schema: dict[str, Any] | None, field: str) -> str:
    """Raises: ValueError that names the field."""
    if schema is None:
        return ""
    try:
        return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError) as exc:  # YAML has dates, and keys that are no text
        raise ValueError(f"{field}: {exc}; write it in quotes") from exc


def type_document(kind: pb.DeviceType) -> dict[str, Any]:
    """The type as a file has it: what is at its default is left out of metrics, decoder and vectors."""
    metrics = []
    for entry in kind.metrics:
        metric: dict[str, Any] = {"metric": entry.metric}
        metric |= {name: getattr(entry, name) for name in ("min_value", "max_value") if entry.HasField(name)}
        metric |= {name: getattr(entry, name) for name in _METRIC_OPTIONS if getattr(entry, name)}
        if entry.HasField("tests"):
            metric["tests"] = msgspec.to_builtins(tests_of(entry.tests))
        metrics.append(metric)
    document = {
        "device_type": kind.name.removeprefix("deviceTypes/").partition("@")[0],
        "display_name": kind.display_name,
        "description": kind.description,
        "is_gateway": kind.is_gateway,
        "default_encoding": kind.default_encoding,
        "expected_interval_s": kind.expected_interval_s,
        "metrics": metrics,
    }
    if kind.hardware_revisions:
        document["hardware_revisions"] = list(kind.hardware_revisions)
    if kind.config_schema:
        document["config_schema"] = json.loads(kind.config_schema)
    if kind.commands:
        document["commands"] = [_command_document(entry) for entry in kind.commands]
    if kind.HasField("decoder"):
        document["decoder"] = msgspec.to_builtins(decoder_of(kind.decoder))
    if kind.vectors:
        document["vectors"] = [_vector_document(vector_of(vector)) for vector in kind.vectors]
    return document


def _command_document(entry: pb.CommandSchema) -> dict[str, Any]:
    schemas = ("parameters_schema", "result_schema")
    document: dict[str, Any] = {"command": entry.command, "description": entry.description}
    document |= {name: json.loads(getattr(entry, name)) for name in schemas if getattr(entry, name)}
    document["is_idempotent"] = entry.is_idempotent
    return {name: value for name, value in document.items() if value not in ("", False)}


def _vector_document(vector: TestVector) -> dict[str, Any]:
    document: dict[str, Any] = {"name": vector.name, "f_port": vector.f_port, "json": vector.json}
    document["payload"] = None if vector.payload is None else vector.payload.hex()
    expect: dict[str, Any] = {}
    for entry in vector.expect:
        values = [*entry.numbers, *entry.texts]
        expect[entry.name] = values[0] if len(values) == 1 else values
    document |= {"expect": expect, "times": list(vector.times), "error": vector.error}
    return {name: value for name, value in document.items() if value not in (None, "", [], {})} or {"payload": ""}


def type_of(document: Any) -> pb.DeviceType:
    """Raises: ValueError that names the key."""
    return msgspec.convert(document, type=TypeFile).message()


def read_types(paths: list[str]) -> list[tuple[str, pb.DeviceType]]:
    """Types with where each came from; `-` is standard input (YAML or JSON), a folder stands for its files.

    Raises: CommandError naming the file and the key.
    """
    found = []
    for where, document in read_documents(paths):
        try:
            found.append((where, type_of(document)))
        except ValueError as exc:
            raise CommandError(f"{where}: {exc}", ExitCode.USAGE) from exc
    if not found:
        raise CommandError(f"no device type in {', '.join(paths)}", ExitCode.USAGE)
    return found
