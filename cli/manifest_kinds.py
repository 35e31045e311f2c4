"""What `cityfleet apply` can bring about: for each kind how it is read, compared, created, changed and deleted."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from google.protobuf.field_mask_pb2 import FieldMask

from cityfleet.registry.v1 import access_pb2, device_pb2, device_type_pb2, group_pb2, metric_pb2, site_pb2
from cli.manifest import message_of
from cli.options import request_id_of
from cli.record import row_of
from cli.registry_client import CALL_S, RegistryClient
from cli.type_file import type_document, type_of


class Put(NamedTuple):
    """A resource as it shall be.

    Attributes:
        message: with its name and, unless it is new, its etag.
        fields: those to set; of a new one all that are set.
    """

    resource_id: str
    message: Any
    fields: tuple[str, ...]
    is_new: bool
    is_dry_run: bool


class Kind(NamedTuple):
    """One kind of resource.

    Attributes:
        id_key: the key of a document that makes it one of this kind.
        fields: keys that a document may set; those that it leaves out stay as they are (but see `is_whole`).
        is_whole: a document stands for all fields: what it leaves out gets its default.
        shown: keys that are printed beside those of the message.
        refers: keys whose values are ids of another kind, by the id_key of that.
        put: creates or changes it; the answer's token, if there is one.
        has_trial: whether a change (a creation always) can be tried with validate_only.
    """

    word: str
    id_key: str
    collection: str
    message: Callable[[], Any]
    fields: tuple[str, ...]
    get: Callable[[RegistryClient, str], Any]
    put: Callable[[RegistryClient, Put], str]
    shown: tuple[str, ...] = ()
    refers: Mapping[str, str] = {}
    delete: Callable[[RegistryClient, str, str], Any] | None = None
    is_whole: bool = False
    has_trial: bool = True

    def parsed(self, document: Mapping[str, Any]) -> Any:
        """Raises: ValueError that names the key."""
        if self.is_whole:
            return type_of(document)
        message = self.message()
        known = {field.name for field in message.DESCRIPTOR.fields} - {"name"}
        message_of(document, message, self.fields, (self.id_key, *self.shown, *sorted(known - set(self.fields))))
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


def _put_metric(client: RegistryClient, put: Put) -> str:
    common: dict[str, Any] = {"metric": put.message, "validate_only": put.is_dry_run, "request_id": request_id_of("")}
    if put.is_new:
        create = metric_pb2.CreateMetricRequest(metric_id=put.resource_id, **common)
        client.metrics.CreateMetric(create, timeout=CALL_S)
    else:
        update = metric_pb2.UpdateMetricRequest(update_mask=FieldMask(paths=put.fields), **common)
        client.metrics.UpdateMetric(update, timeout=CALL_S)
    return ""


def _put_type(client: RegistryClient, put: Put) -> str:
    request = device_type_pb2.ApplyDeviceTypeRequest(
        device_type=put.message, validate_only=put.is_dry_run, request_id=request_id_of("")
    )
    client.types.ApplyDeviceType(request, timeout=CALL_S)
    return ""


def _put_site(client: RegistryClient, put: Put) -> str:
    common: dict[str, Any] = {"site": put.message, "validate_only": put.is_dry_run, "request_id": request_id_of("")}
    if put.is_new:
        client.sites.CreateSite(site_pb2.CreateSiteRequest(site_id=put.resource_id, **common), timeout=CALL_S)
    else:
        update = site_pb2.UpdateSiteRequest(update_mask=FieldMask(paths=put.fields), **common)
        client.sites.UpdateSite(update, timeout=CALL_S)
    return ""


def _put_device(client: RegistryClient, put: Put) -> str:
    common: dict[str, Any] = {"device": put.message, "validate_only": put.is_dry_run, "request_id": request_id_of("")}
    if put.is_new:
        create = device_pb2.CreateDeviceRequest(device_id=put.resource_id, **common)
        return str(client.devices.CreateDevice(create, timeout=CALL_S).token)
    update = device_pb2.UpdateDeviceRequest(update_mask=FieldMask(paths=put.fields), **common)
    client.devices.UpdateDevice(update, timeout=CALL_S)
    return ""


def _put_group(client: RegistryClient, put: Put) -> str:
    if put.is_new:
        create = group_pb2.CreateGroupRequest(
            group_id=put.resource_id, group=put.message, validate_only=put.is_dry_run, request_id=request_id_of("")
        )
        client.groups.CreateGroup(create, timeout=CALL_S)
    else:
        update = group_pb2.UpdateGroupRequest(
            group=put.message, update_mask=FieldMask(paths=put.fields), request_id=request_id_of("")
        )
        client.groups.UpdateGroup(update, timeout=CALL_S)
    return ""


def _put_query(client: RegistryClient, put: Put) -> str:
    if put.is_new:
        create = group_pb2.CreateSavedQueryRequest(
            saved_query_id=put.resource_id,
            saved_query=put.message,
            validate_only=put.is_dry_run,
            request_id=request_id_of(""),
        )
        client.groups.CreateSavedQuery(create, timeout=CALL_S)
    else:
        update = group_pb2.UpdateSavedQueryRequest(
            saved_query=put.message, update_mask=FieldMask(paths=put.fields), request_id=request_id_of("")
        )
        client.groups.UpdateSavedQuery(update, timeout=CALL_S)
    return ""


def _put_account(client: RegistryClient, put: Put) -> str:
    if put.is_new:
        create = access_pb2.CreateAccountRequest(
            account_id=put.resource_id,
            account=put.message,
            validate_only=put.is_dry_run,
            request_id=request_id_of(""),
        )
        client.access.CreateAccount(create, timeout=CALL_S)
    else:
        update = access_pb2.UpdateAccountRequest(
            account=put.message, update_mask=FieldMask(paths=put.fields), request_id=request_id_of("")
        )
        client.access.UpdateAccount(update, timeout=CALL_S)
    return ""


def _delete_site(client: RegistryClient, name: str, etag: str) -> Any:
    request = site_pb2.DeleteSiteRequest(name=name, etag=etag, request_id=request_id_of(""))
    return client.sites.DeleteSite(request, timeout=CALL_S)


def _delete_device(client: RegistryClient, name: str, etag: str) -> Any:
    request = device_pb2.DeleteDeviceRequest(name=name, etag=etag, request_id=request_id_of(""))
    return client.devices.DeleteDevice(request, timeout=CALL_S)


METRIC = Kind(
    "metric",
    "metric",
    "metrics",
    metric_pb2.Metric,
    ("unit", "description"),
    lambda client, name: client.metrics.GetMetric(metric_pb2.GetMetricRequest(name=name), timeout=CALL_S),
    _put_metric,
)
TYPE = Kind(
    "type",
    "device_type",
    "deviceTypes",
    device_type_pb2.DeviceType,
    (),
    lambda client, name: client.types.GetDeviceType(device_type_pb2.GetDeviceTypeRequest(name=name), timeout=CALL_S),
    _put_type,
    is_whole=True,
)
SITE = Kind(
    "site",
    "site_id",
    "sites",
    site_pb2.Site,
    ("display_name", "kind", "latitude", "longitude", "ward_code", "labels"),
    lambda client, name: client.sites.GetSite(site_pb2.GetSiteRequest(name=name), timeout=CALL_S),
    _put_site,
    delete=_delete_site,
)
DEVICE = Kind(
    "device",
    "device_id",
    "devices",
    device_pb2.Device,
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
    lambda client, name: client.devices.GetDevice(
        device_pb2.GetDeviceRequest(name=name, view=device_pb2.DEVICE_VIEW_BASIC), timeout=CALL_S
    ),
    _put_device,
    refers={"device_type": "device_type", "site_id": "site_id", "gateway": "device_id"},
    delete=_delete_device,
)
GROUP = Kind(
    "group",
    "group_id",
    "groups",
    group_pb2.Group,
    ("display_name", "description"),
    lambda client, name: client.groups.GetGroup(group_pb2.GetGroupRequest(name=name), timeout=CALL_S),
    _put_group,
    has_trial=False,
)
QUERY = Kind(
    "saved query",
    "saved_query_id",
    "savedQueries",
    group_pb2.SavedQuery,
    ("display_name", "filter"),
    lambda client, name: client.groups.GetSavedQuery(group_pb2.GetSavedQueryRequest(name=name), timeout=CALL_S),
    _put_query,
    has_trial=False,
)
ACCOUNT = Kind(
    "account",
    "account_id",
    "accounts",
    access_pb2.Account,
    ("display_name", "is_service", "grants", "disabled"),
    lambda client, name: client.access.GetAccount(access_pb2.GetAccountRequest(name=name), timeout=CALL_S),
    _put_account,
    shown=("state",),
    has_trial=False,
)
# In the order in which they are made: none needs what comes behind it.
KINDS = (METRIC, TYPE, SITE, DEVICE, GROUP, QUERY, ACCOUNT)
# A document of a device has a site_id and a device_type too: the first of these keys that it has says what it is.
_BY_KEY = (DEVICE, SITE, GROUP, QUERY, ACCOUNT, TYPE, METRIC)


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
