"""Settings of ingest's processes that cannot work are refused, by their name."""

import pytest

from ingest.settings import IngestSettings
from runtime.settings import SettingsError, load


@pytest.mark.parametrize("settings", [{"workers": 0}, {"workers": 65}, {"nice": -1}, {"nice": 20}])
def test_a_setting_that_cannot_work_is_refused(settings):
    (name,) = settings
    with pytest.raises(SettingsError, match=name):
        load(IngestSettings, None, {}, settings)
