"""What `cityfleet apply` can bring about: for each kind how its documents are read and what the API calls it."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any, NamedTuple

from cityfleet.registry.v1 import (
    access_pb2,
    device_pb2,
    device_type_pb2,
    group_pb2,
    metric_pb2,
    operator_pb2,
    site_pb2,
)
from cli.manifest import message_of
from cli.record import row_of
from cli.type_file import type_document, type_of


class Kind(NamedTuple):
    """One kind of resource.

    Attributes:
        id_key: the key of a document that makes it one of this kind.
        noun: as in the names of its methods and messages, such as `Site` of GetSite and CreateSiteRequest.
        file: the generated module of its messages.
        service: its stub, by the name that it has in RegistryClient.
        fields: keys that a document may set; those that it leaves out stay as they are (but see `is_whole`).
        shown: keys that are printed beside those of the message.
        refers: keys whose values are ids of another kind, by the id_key of that.
        is_whole: a document stands for all fields: what it leaves out gets its default.
        members: the key with the ids of all devices that belong to it; they are changed apart. Empty: it has none.
    """

    word: str
    id_key: str
    collection: str
    noun: str
    file: ModuleType
    service: str
    fields: tuple[str, ...]
    shown: tuple[str, ...] = ()
    refers: Mapping[str, str] = {}
    is_whole: bool = False
    members: str = ""

    def message(self) -> Any:
        """A new one."""
        return getattr(self.file, self.noun)()

    def parsed(self, document: Mapping[str, Any]) -> Any:
        """Raises: ValueError that names the key."""
        if self.is_whole:
            return type_of(document)
        message = self.message()
        known = {field.name for field in message.DESCRIPTOR.fields} - {"name"}
        let_go = (self.id_key, self.members, *self.shown, *sorted(known - set(self.fields)))
        message_of(document, message, self.fields, let_go)
        for flag in ("is_ward_derived", "is_place_derived"):
            if flag in known and document.get(flag) is True:
                setattr(message, flag, True)
        return message

    def document(self, message: Any) -> dict[str, Any]:
        """What a file says of it; what the registry found by the place or took from the site is not said."""
        if self.is_whole:
            return type_document(message)
        row = row_of(message, self.id_key)
        if row.get("is_ward_derived"):
            row["ward_code"] = ""
        if row.get("is_place_derived"):
            row |= {"latitude": None, "longitude": None}
        return {field: row[field] for field in self.fields}

    def members_of(self, document: Mapping[str, Any]) -> frozenset[str] | None:
        """Ids of the devices that shall belong to it; None: that is not said. Raises: ValueError."""
        if not self.members or document.get(self.members) is None:
            return None
        ids = document[self.members]
        if not isinstance(ids, list) or not all(isinstance(each, str) and each and "/" not in each for each in ids):
            raise ValueError(f"{self.members}: a list of ids of devices is wanted; write numbers in quotes")
        return frozenset(ids)


METRIC = Kind("metric", "metric", "metrics", "Metric", metric_pb2, "metrics", ("unit", "description"))
TYPE = Kind("type", "device_type", "deviceTypes", "DeviceType", device_type_pb2, "types", (), is_whole=True)
SITE = Kind(
    "site",
    "site_id",
    "sites",
    "Site",
    site_pb2,
    "sites",
    ("display_name", "kind", "latitude", "longitude", "ward_code", "labels"),
)
DEVICE = Kind(
    "device",
    "device_id",
    "devices",
    "Device",
    device_pb2,
    "devices",
    (
        "display_name",
        "device_type",
        "gateway",
        "ward_code",
        "site",
        "site_id",
        "latitude",
        "longitude",
        "labels",
        "external_id",
        "hardware_revision",
    ),
    refers={"device_type": "device_type", "site_id": "site_id", "gateway": "device_id"},
)
GROUP = Kind(
    "group", "group_id", "groups", "Group", group_pb2, "groups", ("display_name", "description"), members="devices"
)
QUERY = Kind(
    "saved query", "saved_query_id", "savedQueries", "SavedQuery", group_pb2, "groups", ("display_name", "filter")
)
ACCOUNT = Kind(
    "account",
    "account_id",
    "accounts",
    "Account",
    access_pb2,
    "access",
    ("display_name", "is_service", "grants", "disabled"),
    shown=("state",),
)
OPERATOR = Kind(
    "operator",
    "operator",
    "operators",
    "Operator",
    operator_pb2,
    "operators",
    ("display_name", "subscribe_filters", "publish_filters", "disabled"),
    shown=("state",),
)
# In the order in which they are made: none needs what comes behind it.
KINDS = (METRIC, TYPE, SITE, DEVICE, GROUP, QUERY, ACCOUNT, OPERATOR)
# A document of a device has a site_id and a device_type too: the first of these keys that it has says what it is.
_BY_KEY = (DEVICE, SITE, GROUP, QUERY, ACCOUNT, OPERATOR, TYPE, METRIC)


def kind_of(document: Any) -> tuple[Kind, str]:
    """What a document is about, and its id. Raises: ValueError."""
    keys = ", ".join(kind.id_key for kind in _BY_KEY)
    if not isinstance(document, Mapping):
        raise ValueError(f"not a document with an id, which is one of {keys}")
    for kind in _BY_KEY:
        resource_id = document.get(kind.id_key)
        if resource_id is None:
            continue
        if not isinstance(resource_id, str) or not resource_id or "/" in resource_id or "@" in resource_id:
            raise ValueError(f"{kind.id_key}: `{resource_id}` is not an id; write it in quotes if it is a number")
        return kind, resource_id
    raise ValueError(f"no id; what it is about is said by one of {keys}")
