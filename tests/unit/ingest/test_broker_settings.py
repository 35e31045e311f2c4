"""Settings of the external broker that cannot work are refused, by their name."""

import pytest

from ingest.settings import IngestSettings
from runtime.settings import SettingsError, load


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"connections": 0}, "connections"),
        ({"connections": 65}, "connections"),
        ({"qos": 3}, "qos"),
        ({"keep_alive_s": 0}, "keep_alive_s"),
        ({"max_packet_bytes": 100}, "max_packet_bytes"),
        ({"session_expiry_s": -1}, "session_expiry_s"),
        ({"share_group": "a/b"}, "share_group"),
        ({"filters": []}, "filters"),
        ({"filters": ["$share/g/a"]}, "share_group"),
        ({"filters": ["a/#/b"]}, "'a/#/b'"),
        ({"filters": ["a/b+"]}, "'a/b+'"),
        ({"filters": [""]}, "empty"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(settings, word):
    with pytest.raises(SettingsError, match=word.replace("+", r"\+")):
        load(IngestSettings, None, {}, {f"broker.{key}": value for key, value in settings.items()})


def test_foreign_topics_may_be_named():
    filters = ["cf/v1/d/+/telemetry/#", "spBv1.0/#", "v3/+/devices/+/up", "application/+/device/+/event/up"]
    assert load(IngestSettings, None, {}, {"broker.filters": filters}).broker.filters == tuple(filters)
