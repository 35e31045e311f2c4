"""What a metric, a device type and a device must look like by themselves; rules that ask the database are elsewhere."""

import math
import re
from collections.abc import Mapping

from registry.devices.decoder_rules import FOREIGN, PAYLOADS
from registry.devices.model import DeviceSpec, TypeSpec
from registry.devices.quality import Span, check_tests
from registry.devices.wards import wards
from registry.errors import Violation

DEVICE_ID = re.compile(r"[a-z0-9-]{1,63}")
METRIC_ID = re.compile(r"[a-z][a-z0-9_]{0,62}")
LABEL_KEY = re.compile(r"[a-z][a-z0-9_.-]{0,62}")
# Terminal symbols and operators of the UCUM syntax (https://ucum.org/ucum, section 2): no spaces, brackets in pairs.
UNIT = re.compile(r"[!-~]{1,63}")
HARDWARE_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,62}")
ENCODINGS = (*PAYLOADS, *FOREIGN)
# A DevEUI in capitals: a Sparkplug name has a slash.
DEVEUI = re.compile(r"[0-9A-Fa-f]{16}")
MAX_EXTERNAL_ID_BYTES = 191
MAX_LABELS = 32
MAX_LABEL_VALUE = 255
MAX_TEXT = 255
MAX_DESCRIPTION = 4096
MAX_TYPE_METRICS = 256
MAX_HARDWARE_REVISIONS = 64
MAX_INTERVAL_S = 31_622_400


def check_metric_id(metric_id: str) -> list[Violation]:
    if METRIC_ID.fullmatch(metric_id):
        return []
    text = (
        f"`{metric_id}` is not a metric: lowercase letters, digits and `_`, starting with a letter, at most 63 "
        "characters, as in water_level_m"
    )
    return [Violation("metric_id", "METRIC_ID_INVALID", text)]


def check_unit(unit: str) -> list[Violation]:
    if UNIT.fullmatch(unit) and unit.count("[") == unit.count("]") and unit.count("{") == unit.count("}"):
        return []
    return [Violation("unit", "UNIT_INVALID", f"`{unit}` is not a UCUM unit, as in m, ug/m3, Cel, %, 1")]


def check_type(spec: TypeSpec, metrics: Mapping[str, object]) -> list[Violation]:
    """All but how payloads are decoded. Args: metrics: the catalogue, by name."""
    found: list[Violation] = []
    if not DEVICE_ID.fullmatch(spec.type_id):
        text = f"`{spec.type_id}` is not a device type: lowercase letters, digits and `-`, 1 to 63 characters"
        found.append(Violation("name", "TYPE_ID_INVALID", text))
    found += check_text("display_name", spec.display_name, MAX_TEXT)
    found += check_text("description", spec.description, MAX_DESCRIPTION)
    if spec.default_encoding not in ENCODINGS:
        text = f"`{spec.default_encoding}` is not an encoding; one of {', '.join(ENCODINGS)}"
        found.append(Violation("default_encoding", "ENCODING_UNKNOWN", text))
    found += _check_interval("expected_interval_s", spec.expected_interval_s)
    found += _check_hardware_revisions(spec.hardware_revisions)
    if len(spec.metrics) > MAX_TYPE_METRICS:
        found.append(Violation("metrics", "TOO_MANY_METRICS", f"a type has at most {MAX_TYPE_METRICS} metrics"))
    seen: set[str] = set()
    for at, entry in enumerate(spec.metrics):
        field = f"metrics[{at}]"
        if entry.metric not in metrics:
            text = f"`{entry.metric}` is not in the metric catalogue; create it first: cityfleet metric create"
            found.append(Violation(f"{field}.metric", "METRIC_UNKNOWN", text))
        if entry.metric in seen:
            found.append(Violation(f"{field}.metric", "METRIC_TWICE", f"`{entry.metric}` is named twice"))
        seen.add(entry.metric)
        bounds = [bound for bound in (entry.min_value, entry.max_value) if bound is not None]
        if not all(map(math.isfinite, bounds)):
            found.append(Violation(field, "RANGE_NOT_FINITE", "min_value and max_value are finite numbers"))
        elif len(bounds) == 2 and bounds[0] >= bounds[1]:
            text = f"min_value {bounds[0]:g} is not below max_value {bounds[1]:g}"
            found.append(Violation(field, "RANGE_EMPTY", text))
        if not (math.isfinite(entry.resolution) and entry.resolution >= 0):
            text = "the sensor's smallest step in the metric's unit, or 0 if it is not known"
            found.append(Violation(f"{field}.resolution", "RESOLUTION_INVALID", text))
        found += _check_interval(f"{field}.expected_interval_s", entry.expected_interval_s)
        interval_s = entry.expected_interval_s or spec.expected_interval_s
        found += check_tests(entry.tests, Span(entry.min_value, entry.max_value), interval_s, f"{field}.tests")
    return found


def check_hardware_revision(revision: str, spec: TypeSpec) -> list[Violation]:
    """Of a device. Args: spec: its type's."""
    if not revision or revision in spec.hardware_revisions:
        return []
    known = ", ".join(spec.hardware_revisions) or "none yet"
    text = f"`{revision}` is not a hardware revision of {spec.type_id}; it has: {known}"
    return [Violation("hardware_revision", "HARDWARE_REVISION_UNKNOWN", text)]


def _check_hardware_revisions(revisions: tuple[str, ...]) -> list[Violation]:
    found = []
    if len(revisions) > MAX_HARDWARE_REVISIONS:
        text = f"at most {MAX_HARDWARE_REVISIONS}, not {len(revisions)}"
        found.append(Violation("hardware_revisions", "TOO_MANY_HARDWARE_REVISIONS", text))
    for at, revision in enumerate(revisions):
        field = f"hardware_revisions[{at}]"
        if not HARDWARE_REVISION.fullmatch(revision):
            text = f"`{revision}`: letters, digits, `.`, `_`, `+` and `-`, at most 63, as in B2 or 1.4-rev3"
            found.append(Violation(field, "HARDWARE_REVISION_INVALID", text))
        if revision in revisions[:at]:
            found.append(Violation(field, "HARDWARE_REVISION_TWICE", f"`{revision}` is named twice"))
    return found


def _check_interval(field: str, interval_s: int) -> list[Violation]:
    if interval_s <= MAX_INTERVAL_S:
        return []
    text = f"{interval_s} s is more than a year; give seconds, 0 if it is not known"
    return [Violation(field, "INTERVAL_TOO_LONG", text)]


def check_device(spec: DeviceSpec) -> list[Violation]:
    found: list[Violation] = []
    if not DEVICE_ID.fullmatch(spec.device_id):
        text = f"`{spec.device_id}` is not a device id: lowercase letters, digits and `-`, 1 to 63 characters"
        found.append(Violation("device_id", "DEVICE_ID_INVALID", text))
    if not spec.device_type:
        text = "required; `cityfleet type list` shows the types there are"
        found.append(Violation("device_type", "DEVICE_TYPE_MISSING", text))
    if spec.ward_code and spec.ward_code not in wards():
        found.append(bad_ward(spec.ward_code))
    if spec.gateway and spec.gateway == spec.device_id:
        found.append(Violation("gateway", "GATEWAY_ITSELF", "a device cannot be behind itself; leave it empty"))
    found += check_text("display_name", spec.display_name, MAX_TEXT)
    found += check_text("site", spec.site, MAX_TEXT)
    found += check_place(spec.latitude, spec.longitude)
    if spec.external_id:
        found += _check_external_id(spec.external_id)
    if spec.labels:
        found += check_labels(spec.labels)
    return found


def bad_ward(code: str) -> Violation:
    text = f"`{code}` is not a ward of Hanoi; 5 digits, as in 00070, or empty for a device outside the city"
    if code.isdecimal() and code.zfill(5) in wards():
        text = f"`{code}` has lost its leading zeros: write {code.zfill(5)}"
    return Violation("ward_code", "WARD_UNKNOWN", text)


def _check_external_id(external_id: str) -> list[Violation]:
    found = []
    if len(external_id.encode()) > MAX_EXTERNAL_ID_BYTES:
        text = f"at most {MAX_EXTERNAL_ID_BYTES} bytes of UTF-8, not {len(external_id.encode())}"
        found.append(Violation("external_id", "TEXT_TOO_LONG", text))
    if external_id != external_id.strip() or not external_id.isprintable():
        found.append(Violation("external_id", "EXTERNAL_ID_INVALID", "printable, without spaces around it"))
    if DEVEUI.fullmatch(external_id) and external_id != external_id.lower():
        text = f"a DevEUI is written in lowercase: {external_id.lower()}"
        found.append(Violation("external_id", "DEVEUI_NOT_LOWERCASE", text))
    return found


def check_place(latitude: float | None, longitude: float | None) -> list[Violation]:
    if latitude is None and longitude is None:
        return []
    if latitude is None or longitude is None:
        field = "latitude" if latitude is None else "longitude"
        return [Violation(field, "PLACE_INCOMPLETE", "latitude and longitude go together: give both or none")]
    found = []
    if not -90 <= latitude <= 90:  # false for NaN, too
        found.append(Violation("latitude", "LATITUDE_INVALID", f"{latitude:g} is not within -90 to 90 degrees"))
    if not -180 <= longitude <= 180:
        found.append(Violation("longitude", "LONGITUDE_INVALID", f"{longitude:g} is not within -180 to 180 degrees"))
    return found


def check_labels(labels: Mapping[str, str]) -> list[Violation]:
    found = []
    if len(labels) > MAX_LABELS:
        found.append(Violation("labels", "TOO_MANY_LABELS", f"at most {MAX_LABELS} labels, not {len(labels)}"))
    for key, value in labels.items():
        if not LABEL_KEY.fullmatch(key):
            text = (
                f"`{key}` is not a label key: lowercase letters, digits, `_`, `-`, `.`, starting with a letter, "
                "at most 63 characters"
            )
            found.append(Violation("labels", "LABEL_KEY_INVALID", text))
        found += check_text(f"labels.{key}", value, MAX_LABEL_VALUE)
    return found


def check_text(field: str, text: str, longest: int) -> list[Violation]:
    """Args: longest: in characters."""
    if len(text) > longest:
        return [Violation(field, "TEXT_TOO_LONG", f"at most {longest} characters, not {len(text)}")]
    if not text.isprintable() and any(ord(char) < 32 and char not in "\n\t" for char in text):
        return [Violation(field, "TEXT_NOT_PRINTABLE", "no control characters")]
    return []
