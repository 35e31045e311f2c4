"""The messages of Sparkplug B for the protobuf runtime, described from the field numbers of its specification.

Texts, and what is nested deeper than a metric's properties, are declared as bytes: they are not looked into before they
are needed.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_KINDS = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "u32": _KINDS.TYPE_UINT32,
    "u64": _KINDS.TYPE_UINT64,
    "float": _KINDS.TYPE_FLOAT,
    "double": _KINDS.TYPE_DOUBLE,
    "bool": _KINDS.TYPE_BOOL,
    "bytes": _KINDS.TYPE_BYTES,
}
_VALUES = ["int_value:u32", "long_value:u64", "float_value:float", "double_value:double", "boolean_value:bool"]
_VALUES += [f"{name}_value:bytes" for name in ("string", "bytes", "dataset", "template", "extension")]
# Numbered from 1 in this order.
_FIELDS = {
    "Payload": ["timestamp:u64", "metrics:*Metric", "seq:u64", "uuid:bytes", "body:bytes"],
    "Metric": ["name:bytes", "alias:u64", "timestamp:u64", "datatype:u32"]
    + ["is_historical:bool", "is_transient:bool", "is_null:bool", "metadata:bytes", "properties:PropertySet", *_VALUES],
    "PropertySet": ["keys:*bytes", "values:*PropertyValue"],
    "PropertyValue": ["type:u32", "is_null:bool", *_VALUES[:6]]
    + [f"{name}_value:bytes" for name in ("propertyset", "propertysets", "extension")],
}


def _describe() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug.proto", package="sparkplug", syntax="proto2")
    for message, fields in _FIELDS.items():
        described = file.message_type.add(name=message)
        for number, text in enumerate(fields, 1):
            name, kind = text.split(":")
            field = described.field.add(name=name, number=number, label=_KINDS.LABEL_OPTIONAL)
            if kind.startswith("*"):
                field.label = _KINDS.LABEL_REPEATED
                kind = kind[1:]
            if kind in _TYPES:
                field.type = _TYPES[kind]
            else:
                field.type, field.type_name = _KINDS.TYPE_MESSAGE, f".sparkplug.{kind}"
            if name.endswith("_value"):
                if not described.oneof_decl:
                    described.oneof_decl.add(name="value")
                field.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"sparkplug.{name}")) for name in _FIELDS}


_CLASSES = _describe()
Payload: Any = _CLASSES["Payload"]
Metric: Any = _CLASSES["Metric"]
PropertySet: Any = _CLASSES["PropertySet"]
PropertyValue: Any = _CLASSES["PropertyValue"]
