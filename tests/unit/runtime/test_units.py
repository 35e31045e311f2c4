"""Units: spellings and scales of one quantity convert into each other exactly, and nothing else does."""

from fractions import Fraction
from itertools import combinations

import pytest

from ext.telemetry.index import DeviceIndex
from runtime import units
from runtime.units import conversions
from tests.support.pipeline import Message, Pipeline

CASES = [
    ("m", "cm", 35, 0.35),
    ("m", "mm", 7, 0.007),
    ("mm", "m", 0.3, 300.0),
    ("mm", "[in_i]", 1, 25.4),
    ("Cel", "K", 300.15, 27.0),
    ("Cel", "[degF]", 212, 100.0),
    ("K", "Cel", 0, 273.15),
    ("1", "%", 45, 0.45),
    ("%", "/", 0.5, 50.0),
    ("%", "%RH", 99.9, 99.9),
    ("1", "/", 0.25, 0.25),
    ("{count}", "count", 12, 12.0),
    ("1", "count", 12, 12.0),
    ("{veh}", "1", 12, 12.0),
    ("km/h", "m/s", 10, 36.0),
    ("m/s", "km/h", 36, 10.0),
    ("km/h", "kn", 1, 1.852),
    ("km/h", "[mi_i]/h", 100, 160.9344),
    ("ug/m3", "mg/m3", 0.035, 35.0),
    ("ug/m3", "µg/m3", 12.5, 12.5),
    ("ug/m3", "μg/m³", 12.5, 12.5),
    ("hPa", "Pa", 101_325, 1013.25),
    ("hPa", "kPa", 101.325, 1013.25),
    ("hPa", "mbar", 1013.25, 1013.25),
    ("V", "mV", 3300, 3.3),
    ("s", "min", 1.5, 90.0),
    ("h", "s", 900, 0.25),
    ("mm/h", "m/s", 1e-5, 36.0),
    ("m3/s", "l/s", 250, 0.25),
    ("deg", "lat", 21.0285, 21.0285),
]


@pytest.mark.parametrize(("canonical", "unit", "value", "wanted"), CASES)
def test_readings_are_stored_in_the_canonical_unit(canonical: str, unit: str, value: float, wanted: float) -> None:
    index = DeviceIndex(conversions)
    index.put_metric(1, "metric", canonical)
    index.put_type(1, "type", False, "senml-json", [(1, None, None)])
    index.put_device(1, "d", 1, "", 0, [], True)
    rows, _ = Pipeline(index).run([Message(f'[{{"n":"metric","u":"{unit}","v":{value!r}}}]'.encode(), "d")])
    assert rows[0]["value"] == pytest.approx(wanted, rel=1e-15, abs=1e-13)


def test_decimal_scales_round_once() -> None:
    index = DeviceIndex(conversions)
    index.put_metric(1, "metric", "m")
    index.put_type(1, "type", False, "senml-json", [(1, None, None)])
    index.put_device(1, "d", 1, "", 0, [], True)
    pipeline = Pipeline(index)
    for hundredths in range(1, 3000):
        rows, _ = pipeline.run([Message(f'[{{"n":"metric","u":"cm","v":{hundredths}}}]'.encode(), "d")])
        assert rows[0]["value"] == hundredths / 100 == float(f"{hundredths / 100:.2f}")


def test_converting_there_and_back_is_the_identity() -> None:
    for quantity in units._QUANTITIES:
        for one, other in combinations(quantity, 2):
            there = {unit: (Fraction(factor), offset) for unit, factor, offset in conversions(one)}[other]
            back = {unit: (Fraction(factor), offset) for unit, factor, offset in conversions(other)}[one]
            assert float(there[0] * back[0]) == pytest.approx(1.0, rel=1e-15)


def test_every_unit_fits_the_index() -> None:
    for quantity in units._QUANTITIES:
        for number, unit in enumerate(quantity, 1):
            index = DeviceIndex(conversions)
            index.put_metric(number, "metric", unit)


def test_units_of_different_quantities_do_not_mix() -> None:
    assert "Cel" not in {unit for unit, _, _ in conversions("m")}
    assert "%" not in {unit for unit, _, _ in conversions("{count}")}
    assert list(conversions("furlong")) == []


def test_metric_with_an_unknown_canonical_unit_takes_only_that() -> None:
    index = DeviceIndex(conversions)
    index.put_metric(1, "metric", "[NTU]")
    index.put_type(1, "type", False, "senml-json", [(1, None, None)])
    index.put_device(1, "d", 1, "", 0, [], True)
    pipeline = Pipeline(index)
    assert len(pipeline.run([Message(b'[{"n":"metric","u":"[NTU]","v":1}]', "d")])[0]) == 1
    assert pipeline.run([Message(b'[{"n":"metric","u":"1","v":1}]', "d")])[1][0]["reason"] == "unknown_unit"
