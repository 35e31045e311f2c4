"""docs/filters.md names every field and function that there is, and no other."""

import re
from pathlib import Path

import pytest

from registry.filter.fields import AUDIT_EVENTS, DEVICES, SITES, Resource
from registry.filter.order import GROUPABLE

TEXT = (Path(__file__).parents[4] / "docs/filters.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "resource"), [("devices", DEVICES), ("sites", SITES), ("audit events", AUDIT_EVENTS)])
def test_every_field_and_function_is_told(name: str, resource: Resource):
    (row,) = re.findall(rf"^\| {name} \|(.*)\|$", TEXT, re.MULTILINE)
    assert ", ".join(re.findall(r"`([^`]*)`", row)) == str(resource)


def test_what_counts_go_by_is_told():
    (told,) = re.findall(r"by up to three of (.*?)\.$", TEXT, re.DOTALL | re.MULTILINE)
    assert set(re.findall(r"`([^`]*)`", told)) == {*GROUPABLE, "labels.KEY"}
