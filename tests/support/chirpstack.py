"""ChirpStack's uplink messages for the protobuf runtime, from their field numbers in chirpstack-api 4.20."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2, timestamp_pb2

Field = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "string": Field.TYPE_STRING,
    "bytes": Field.TYPE_BYTES,
    "bool": Field.TYPE_BOOL,
    "uint32": Field.TYPE_UINT32,
    "int32": Field.TYPE_INT32,
    "float": Field.TYPE_FLOAT,
}
_MESSAGES = {
    "DeviceInfo": "1 tenant_id string, 7 device_name string, 8 dev_eui string",
    "UplinkRxInfo": "1 gateway_id string, 2 uplink_id uint32, 3 gw_time .google.protobuf.Timestamp, "
    "17 ns_time .google.protobuf.Timestamp, 6 rssi int32, 7 snr float, 8 channel uint32, 13 context bytes",
    "JoinServerContext": "1 session_key_id string",
    "UplinkEvent": "1 deduplication_id string, 2 time .google.protobuf.Timestamp, 3 device_info .cs.DeviceInfo, "
    "4 dev_addr string, 5 adr bool, 6 dr uint32, 7 f_cnt uint32, 8 f_port uint32, 9 confirmed bool, 10 data bytes, "
    "11 object .google.protobuf.Struct, 12 rx_info* .cs.UplinkRxInfo, 15 join_server_context .cs.JoinServerContext, "
    "16 region_config_id string",
}


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="cs.proto", package="cs", syntax="proto3")
    file.dependency.extend(["google/protobuf/struct.proto", "google/protobuf/timestamp.proto"])
    for name, text in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for entry in text.split(", "):
            number, field, kind = entry.split(" ")
            label = Field.LABEL_REPEATED if field.endswith("*") else Field.LABEL_OPTIONAL
            added = message.field.add(name=field.rstrip("*"), number=int(number), label=label)
            if kind.startswith("."):
                added.type, added.type_name = Field.TYPE_MESSAGE, kind
            else:
                added.type = _TYPES[kind]
    return file


_pool = descriptor_pool.DescriptorPool()
for _module in (struct_pb2, timestamp_pb2):
    _pool.AddSerializedFile(_module.DESCRIPTOR.serialized_pb)
_pool.Add(_file())
UplinkEvent: Any = message_factory.GetMessageClass(_pool.FindMessageTypeByName("cs.UplinkEvent"))
