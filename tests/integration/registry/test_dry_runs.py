"""`validate_only`: every method that changes something can be tried; then nothing has changed and no secret is told."""

import itertools
import json

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message_factory import GetMessageClass

from cityfleet.registry.v1 import access_pb2, device_pb2
from registry.api.refusals import is_change
from registry.services import NAMES

# Streams say it in their first message.
STREAMED = {"ImportDevices", "LoadWardBoundaries"}
# What ingest reports is no request of a person.
NOT_ASKED = {"ReportDeviceStates"}
TRIED = {
    "CreateMetric": {"metric_id": "tried_m", "metric": {"unit": "m"}},
    "UpdateMetric": {"metric": {"name": "metrics/water_level_m", "description": "x"}},
    "ApplyDeviceType": {"device_type": {"name": "deviceTypes/tried"}},
    "DeleteDeviceType": {"name": "deviceTypes/spare"},
    "CreateDevice": {"device_id": "tried", "device": {"device_type": "gauge"}},
    "UpdateDevice": {"device": {"name": "devices/there", "display_name": "x"}},
    "DecommissionDevice": {"name": "devices/there"},
    "DeleteDevice": {"name": "devices/there"},
    "UndeleteDevice": {"name": "devices/gone"},
    "BatchCreateDevices": {"requests": [{"device_id": "tried", "device": {"device_type": "gauge"}}]},
    "BatchUpdateDevices": {"requests": [{"device": {"name": "devices/there", "display_name": "x"}}]},
    "BatchDeleteDevices": {"requests": [{"name": "devices/there"}]},
    "RotateDeviceToken": {"name": "devices/there"},
    "CreateSite": {"site_id": "tried"},
    "UpdateSite": {"site": {"name": "sites/there", "display_name": "x"}},
    "BatchUpdateSites": {"requests": [{"site": {"name": "sites/tried", "kind": "pole"}, "allow_missing": True}]},
    "DeleteSite": {"name": "sites/there"},
    "BatchDeleteSites": {"requests": [{"name": "sites/there"}]},
    "UndeleteSite": {"name": "sites/gone"},
    "CreateGroup": {"group_id": "tried"},
    "UpdateGroup": {"group": {"name": "groups/there", "display_name": "x"}},
    "DeleteGroup": {"name": "groups/there"},
    "ModifyGroupMembers": {"name": "groups/there", "add_devices": ["devices/there"]},
    "CreateSavedQuery": {"saved_query_id": "tried", "saved_query": {"filter": "health = bad"}},
    "UpdateSavedQuery": {"saved_query": {"name": "savedQueries/there", "display_name": "x"}},
    "DeleteSavedQuery": {"name": "savedQueries/there"},
    "CreateOperator": {"operator_id": "tried", "operator": {"subscribe_filters": ["cf/v1/#"]}},
    "UpdateOperator": {"operator": {"name": "operators/there", "disabled": True}},
    "DeleteOperator": {"name": "operators/there"},
    "RotateOperatorToken": {"name": "operators/there"},
    "CreateAccount": {"account_id": "tried"},
    "UpdateAccount": {"account": {"name": "accounts/there", "disabled": True}},
    "DeleteAccount": {"name": "accounts/there"},
    "CreateAccessToken": {"parent": "accounts/there"},
    "RevokeAccessToken": {"name": "accounts/there/tokens/TOKEN"},
    "BulkUpdateDevices": {
        "filter": "device_id = there",
        "device": {"display_name": "x"},
        "update_mask": {"paths": ["display_name"]},
    },
    "BulkDeleteDevices": {"filter": "device_id = there", "action": 2},
}


def changing():
    pool = device_pb2.DESCRIPTOR.pool
    for name in NAMES:
        for method in pool.FindServiceByName(name).methods if name.startswith("cityfleet.") else ():
            if is_change(f"{name}/{method.name}") and method.name not in STREAMED | NOT_ASKED:
                yield method


def call(stubs, method, fields):
    handler = stubs.channel.unary_unary(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    return handler(GetMessageClass(method.input_type)(**fields), timeout=60)


@pytest.fixture(scope="module")
def there(stubs):
    """Something of each kind, called `there`, and of what is deleted softly `gone`. Gives the id of a token."""
    by_name = {method.name: method for method in changing()}
    for name in ("there", "gone"):
        call(stubs, by_name["CreateDevice"], {"device_id": name, "device": {"device_type": "gauge"}})
        call(stubs, by_name["CreateSite"], {"site_id": name})
    call(stubs, by_name["DeleteDevice"], {"name": "devices/gone"})
    call(stubs, by_name["DeleteSite"], {"name": "sites/gone"})
    call(stubs, by_name["ApplyDeviceType"], {"device_type": {"name": "deviceTypes/spare"}})
    call(stubs, by_name["CreateGroup"], {"group_id": "there"})
    query = {"saved_query_id": "there", "saved_query": {"filter": "health = bad"}}
    call(stubs, by_name["CreateSavedQuery"], query)
    operator = {"operator_id": "there", "operator": {"subscribe_filters": ["cf/v1/#"]}}
    call(stubs, by_name["CreateOperator"], operator)
    call(stubs, by_name["CreateAccount"], {"account_id": "there"})
    made = call(stubs, by_name["CreateAccessToken"], {"parent": "accounts/there"})
    assert made.token
    return made.access_token.name.rpartition("/")[2]


def events(stubs) -> int:
    pool = device_pb2.DESCRIPTOR.pool
    verify = pool.FindMethodByName(f"{access_pb2.DESCRIPTOR.package}.AuditService.VerifyAuditLog")
    return call(stubs, verify, {}).last_event


def tokens_in(answer) -> list[str]:
    """Secrets anywhere in an answer."""
    waiting, found = [MessageToDict(answer, preserving_proto_field_name=True)], []
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            found += [text for key, text in value.items() if key == "token" and text]
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return found


@pytest.mark.parametrize("method", list(changing()), ids=lambda method: method.name)
def test_a_change_can_be_tried(stubs, there, method):
    assert "validate_only" in method.input_type.fields_by_name
    fields = json.loads(json.dumps(TRIED[method.name]).replace("TOKEN", there))
    before = events(stubs)
    answers = [call(stubs, method, fields | {"validate_only": True}) for _ in itertools.repeat(None, 2)]
    assert [tokens_in(answer) for answer in answers] == [[], []]
    assert events(stubs) == before
