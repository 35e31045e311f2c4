"""What the shell is offered behind a half-written command: ids that the registry has, and nothing where it is away."""

import pytest

from tests.support.cli import cityfleet


@pytest.fixture(scope="module")
def database_kind():
    return "sqlite"


@pytest.fixture(scope="module")
def offered(registry, stubs):
    def run(line, **environ):
        words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1), "_CITYFLEET_COMPLETE": "complete_bash"}
        done = cityfleet(registry.data_dir, **words, **environ)
        assert done.stderr == ""
        return done.stdout.split()

    for device_id in ("rain-07", "rain-08", "wl-1"):
        cityfleet(registry.data_dir, "device", "create", device_id, "-t", "gauge")
    cityfleet(registry.data_dir, "site", "create", "bts-1")
    cityfleet(registry.data_dir, "group", "create", "pilot")
    cityfleet(registry.data_dir, "savedquery", "create", "sick", "--filter", "health = bad")
    return run


@pytest.mark.parametrize(
    ("line", "ids"),
    [
        ("cityfleet device get ra", ["rain-07", "rain-08"]),
        ("cityfleet device update rain-07 w", ["wl-1"]),
        ("cityfleet device create x --type ga", ["gateway", "gauge"]),
        ("cityfleet device list --site-id b", ["bts-1"]),
        ("cityfleet device list --ward 0000", ["00004", "00008"]),
        ("cityfleet site get b", ["bts-1"]),
        ("cityfleet group add pi", ["pilot"]),
        ("cityfleet group add pilot rain-08", ["rain-08"]),
        ("cityfleet savedquery get s", ["sick"]),
        ("cityfleet metric get rain", ["rain_mm"]),
        ("cityfleet type get gau", ["gauge"]),
        ('cityfleet device get x"y', []),
        ("cityfleet device get Rain", []),
    ],
)
def test_ids_that_begin_so_are_offered(offered, line, ids):
    assert offered(line) == ids


def test_nothing_is_offered_where_nobody_answers(offered):
    assert offered("cityfleet --context none device get ra", XDG_CONFIG_HOME="/nowhere") == []
    assert offered("cityfleet device get --registry 127.0.0.1:1 ra") == []
