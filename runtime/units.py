"""Conversions to a metric's canonical unit, between the spellings and scales that senders use.

Sources: UCUM (case-sensitive symbols), the SenML units of RFC 8428 section 12.1, the secondary units of RFC 8798.
"""

from collections.abc import Iterator
from fractions import Fraction


def _scale(factor: str, offset: str = "0") -> tuple[Fraction, Fraction]:
    """Base unit = value * factor + offset; both as exact fractions."""
    return Fraction(factor), Fraction(offset)


# One dict per quantity: unit -> what it is in the quantity's base unit. A unit may serve several quantities.
_QUANTITIES: tuple[dict[str, tuple[Fraction, Fraction]], ...] = (
    {  # length, and rain as a height
        "m": _scale("1"),
        "dm": _scale("1/10"),
        "cm": _scale("1/100"),
        "mm": _scale("1/1000"),
        "um": _scale("1/1000000"),
        "km": _scale("1000"),
        "[in_i]": _scale("0.0254"),
        "[ft_i]": _scale("0.3048"),
        "[mi_i]": _scale("1609.344"),
        "l/m2": _scale("1/1000"),
        "L/m2": _scale("1/1000"),
    },
    {  # temperature
        "Cel": _scale("1"),
        "degC": _scale("1"),
        "°C": _scale("1"),
        "K": _scale("1", "-273.15"),
        "[degF]": _scale("5/9", "-160/9"),
        "degF": _scale("5/9", "-160/9"),
        "°F": _scale("5/9", "-160/9"),
    },
    {  # ratio
        "1": _scale("1"),
        "/": _scale("1"),
        "EL": _scale("1"),
        "%": _scale("1/100"),
        "%RH": _scale("1/100"),
        "%EL": _scale("1/100"),
        "[ppth]": _scale("1/1000"),
        "[ppm]": _scale("1/1000000"),
        "ppm": _scale("1/1000000"),
        "[ppb]": _scale("1/1000000000"),
        "ppb": _scale("1/1000000000"),
    },
    {  # things counted
        "1": _scale("1"),
        "count": _scale("1"),
        "{count}": _scale("1"),
        "{veh}": _scale("1"),
        "{vehicle}": _scale("1"),
        "{vehicles}": _scale("1"),
    },
    {  # speed, and the intensity of rain
        "m/s": _scale("1"),
        "cm/s": _scale("1/100"),
        "mm/s": _scale("1/1000"),
        "km/h": _scale("5/18"),
        "[mi_i]/h": _scale("0.44704"),
        "mph": _scale("0.44704"),
        "[kn_i]": _scale("463/900"),
        "kn": _scale("463/900"),
        "mm/h": _scale("1/3600000"),
        "mm/min": _scale("1/60000"),
        "cm/h": _scale("1/360000"),
    },
    {  # mass concentration
        "kg/m3": _scale("1"),
        "g/m3": _scale("1e-3"),
        "mg/m3": _scale("1e-6"),
        "ug/m3": _scale("1e-9"),
        "µg/m3": _scale("1e-9"),  # micro sign
        "μg/m3": _scale("1e-9"),  # Greek mu
        "µg/m³": _scale("1e-9"),
        "μg/m³": _scale("1e-9"),
        "ng/m3": _scale("1e-12"),
    },
    {  # pressure
        "Pa": _scale("1"),
        "hPa": _scale("100"),
        "kPa": _scale("1000"),
        "MPa": _scale("1000000"),
        "mbar": _scale("100"),
        "bar": _scale("100000"),
        "mm[Hg]": _scale("133.322"),
        "mmHg": _scale("133.322"),
    },
    {"V": _scale("1"), "mV": _scale("1/1000"), "kV": _scale("1000")},
    {"A": _scale("1"), "mA": _scale("1/1000"), "uA": _scale("1/1000000")},
    {"W": _scale("1"), "mW": _scale("1/1000"), "kW": _scale("1000"), "MW": _scale("1000000")},
    {"J": _scale("1"), "kJ": _scale("1000"), "Wh": _scale("3600"), "W.h": _scale("3600"), "kWh": _scale("3600000")}
    | {"kW.h": _scale("3600000")},
    {"Hz": _scale("1"), "1/s": _scale("1"), "kHz": _scale("1000"), "MHz": _scale("1000000"), "1/min": _scale("1/60")},
    {"dBm": _scale("1"), "dB[mW]": _scale("1"), "B[mW]": _scale("10"), "dBW": _scale("1", "30")},
    {"dB": _scale("1"), "B": _scale("10")},
    {"dB[SPL]": _scale("1"), "B[SPL]": _scale("10"), "Bspl": _scale("10")},
    {  # time
        "s": _scale("1"),
        "ms": _scale("1/1000"),
        "us": _scale("1/1000000"),
        "min": _scale("60"),
        "h": _scale("3600"),
        "d": _scale("86400"),
    },
    {  # flow
        "m3/s": _scale("1"),
        "m3/h": _scale("1/3600"),
        "l/s": _scale("1/1000"),
        "L/s": _scale("1/1000"),
        "l/min": _scale("1/60000"),
        "L/min": _scale("1/60000"),
    },
    {"m3": _scale("1"), "l": _scale("1/1000"), "L": _scale("1/1000"), "ml": _scale("1e-6"), "mL": _scale("1e-6")},
    {"kg": _scale("1"), "g": _scale("1/1000"), "mg": _scale("1e-6"), "t": _scale("1000")},
    {"lx": _scale("1"), "klx": _scale("1000")},
    {"W/m2": _scale("1"), "mW/m2": _scale("1/1000"), "kW/m2": _scale("1000")},
    {"deg": _scale("1"), "lat": _scale("1"), "lon": _scale("1"), "°": _scale("1")},
    {"S/m": _scale("1"), "mS/cm": _scale("1/10"), "uS/cm": _scale("1/10000")},
    {"By": _scale("1"), "KiBy": _scale("1024"), "MiBy": _scale("1048576"), "kBy": _scale("1000")},
)


def conversions(canonical: str) -> Iterator[tuple[str, float, float]]:
    """Every other unit that readings of a metric may come in, for `ext.telemetry.index.DeviceIndex`.

    Args:
        canonical: the metric's UCUM unit. One that is not known here converts from nothing but itself.
    Yields: (unit, factor, offset); value in the canonical unit = value * factor + offset, each the closest double.
    """
    for quantity in _QUANTITIES:
        if canonical not in quantity:
            continue
        own_factor, own_offset = quantity[canonical]
        for unit, (factor, offset) in quantity.items():
            if unit != canonical:
                yield unit, float(factor / own_factor), float((offset - own_offset) / own_factor)
