"""Settings of the registry's process that cannot work are refused, by their name."""

import pytest

from registry.settings import RegistrySettings
from runtime.settings import SettingsError, load


@pytest.mark.parametrize("nice", [-1, 20])
def test_a_nice_value_that_there_is_not_is_refused(nice):
    with pytest.raises(SettingsError, match="nice"):
        load(RegistrySettings, None, {}, {"nice": nice})
