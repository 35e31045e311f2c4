"""Readings of two wards in a store, and accounts that see one of them."""

import time
from urllib import error, parse, request

from store.access import accounts
from tests.support.store import QueryError, StoreHandle

OWN, OTHER = "00070", "00004"
# What only the other ward has: it must not come out, in no answer and no error.
MARKER = "secret"


def fill(store: StoreHandle) -> None:
    """Forty devices each: even numbers in the own ward, odd ones in the other, whose texts are no numbers."""
    ward = f"if(number % 2 = 0, '{OWN}', '{OTHER}')"
    text = f"if(number % 2 = 0, toString(number), '{MARKER}-' || toString(number))"
    kind = "if(number < 4, 'gauge-river', 'gauge-street')"
    for sql in (
        f"INSERT INTO cityfleet.wards VALUES ('{OWN}', 'Hoàn Kiếm', 'ward', '01', 1)",
        f"INSERT INTO cityfleet.wards VALUES ('{OTHER}', 'Ba Đình', 'ward', '01', 1)",
        "INSERT INTO cityfleet.metrics VALUES (7, 'water_level_m', 'm', '', 1)",
        "INSERT INTO cityfleet.metrics VALUES (8, 'street_flood_depth_mm', 'mm', '', 1)",
        "INSERT INTO cityfleet.device_types (type_num, device_type, metric_nums, metric_intervals_s, "
        "metric_min_values, metric_max_values, metric_resolutions, metric_tests, version) VALUES "
        "(1, 'gauge-river', [7], [0], [NULL], [NULL], [0], [''], 1), "
        "(2, 'gauge-street', [8], [0], [NULL], [NULL], [0], [''], 1)",
        "INSERT INTO cityfleet.devices (device_num, device_id, device_type, display_name, ward_code, state, site_id, "
        "version) "
        f"SELECT number, {text}, {kind}, {text}, {ward}, 'active', {text}, 1 FROM numbers(80)",
        "INSERT INTO cityfleet.sites (site_num, site_id, display_name, kind, ward_code, version) "
        f"SELECT number, {text}, {text}, if(number % 2 = 0, '1', '{MARKER}'), {ward}, 1 FROM numbers(80)",
        "INSERT INTO cityfleet.readings_text (device_num, metric_num, ts, kind, value, ward_code, received_at) "
        f"SELECT number % 80, 8, toDateTime64('2026-11-01 00:00:00', 3, 'UTC') + intDiv(number, 80), "
        f"'string', {text}, {ward}, now64() FROM (SELECT number FROM numbers(8000))",
        *(
            f"INSERT INTO cityfleet.{table} (device_num, metric_num, ts, value, quality, ward_code, received_at) "
            f"SELECT number, if(number < 4, 7, 8), toDateTime64('2026-11-01 00:00:00', 3, 'UTC'), number, 1, {ward}, "
            "now64() FROM numbers(80)"
            for table in ("readings", "latest")
        ),
        "INSERT INTO cityfleet.quarantine (received_at, device_id, payload, reason) "
        f"SELECT now64(), '{MARKER}', '{MARKER}', 'x' FROM numbers(3)",
    ):
        store.query(sql, "writer")


def account(store: StoreHandle, user: str, *wards: str) -> str:
    """Make an account; its password."""
    with accounts.editing(accounts.file_of(store.data_dir)) as known:
        known[user], password = accounts.made(user, wards)
    return password


class Ward:
    """Asks the store as an account of a ward."""

    def __init__(self, store: StoreHandle, user: str, password: str) -> None:
        self._url = store.url
        self._user = user
        self._password = password
        self.headers: dict[str, str] = {}

    def query(self, sql: str, **parameters: object) -> str:
        """Raises QueryError."""
        values = {name: str(value) for name, value in parameters.items()}
        asked = request.Request(f"{self._url}/?{parse.urlencode(values)}", data=sql.encode())
        asked.add_header("X-ClickHouse-User", self._user)
        asked.add_header("X-ClickHouse-Key", self._password)
        try:
            with request.urlopen(asked, timeout=60) as answer:
                self.headers = dict(answer.headers)
                text: str = answer.read().decode()
        except error.HTTPError as exc:
            code = int(exc.headers.get("X-ClickHouse-Exception-Code") or 0)
            raise QueryError(exc.code, code, exc.read().decode(errors="replace")) from None
        return text


def settled_account(store: StoreHandle, user: str, *wards: str, devices: int) -> str:
    """Make an account that sees so many devices, and wait until the store has seen which metrics are public."""
    password = account(store, user, *wards)
    deadline = time.monotonic() + 60
    while Ward(store, user, password).query("SELECT count() FROM ioc.devices").strip() != str(devices):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return password
