"""The city's weather as a pure function of seed, place and time: one rain front, a smog night, the daily round."""

import math
from dataclasses import dataclass

from loadtest.fleet.noise import key_of, spread, wave

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
LOCAL_OFFSET_MS = 7 * HOUR_MS  # Asia/Ho_Chi_Minh has had no clock change since 1975

# Monthly mean temperature of Hanoi, degrees Celsius, January first (WMO normals, rounded).
_MONTHLY_CEL = (16.9, 18.0, 20.5, 24.4, 27.9, 29.7, 29.8, 29.2, 28.0, 25.6, 22.1, 18.3)
_CELLS = key_of("rain cells")


def local_hour(ts_ms: int) -> float:
    """Hour of the day in Hanoi, 0 to 24."""
    return ((ts_ms + LOCAL_OFFSET_MS) % DAY_MS) / HOUR_MS


def is_weekend(ts_ms: int) -> bool:
    return ((ts_ms + LOCAL_OFFSET_MS) // DAY_MS + 3) % 7 >= 5  # 1970-01-01 was a Thursday


def bump(distance: float, width: float) -> float:
    """A bell: 1 at distance 0, 0.61 at one width."""
    return math.exp(-0.5 * (distance / width) ** 2)


@dataclass(frozen=True, slots=True)
class Weather:
    """`anchor_ms` is the moment the story is told for: the front has just crossed the centre, last night was smoggy.

    The front comes from the north-west at `speed_km_h`, `width_km` is the bell's width along its way.
    """

    seed: int
    anchor_ms: int
    speed_km_h: float
    heading: tuple[float, float]
    width_km: float
    peak_mm_h: float
    crossing_ms: int

    @staticmethod
    def of(seed: int, anchor_ms: int) -> "Weather":
        key = key_of("front")
        angle = math.radians(spread(seed, key, 0, -60.0, -20.0))
        return Weather(
            seed,
            anchor_ms,
            speed_km_h=spread(seed, key, 1, 24.0, 34.0),
            heading=(math.cos(angle), math.sin(angle)),
            width_km=spread(seed, key, 2, 9.0, 13.0),
            peak_mm_h=spread(seed, key, 3, 75.0, 110.0),
            crossing_ms=anchor_ms - int(spread(seed, key, 4, 35.0, 55.0) * 60_000),
        )

    def rain_mm_h(self, x_km: float, y_km: float, ts_ms: int) -> float:
        """Intensity at a place, kilometres east and north of the centre."""
        hours = (ts_ms - self.crossing_ms) / HOUR_MS
        ahead_km = x_km * self.heading[0] + y_km * self.heading[1] - self.speed_km_h * hours
        if not -6.0 * self.width_km < ahead_km < 3.5 * self.width_km:
            return 0.0
        across_km = x_km * self.heading[1] - y_km * self.heading[0]
        # Cells of some 8 km are frozen into the front, so that neighbours see the same shower.
        cell = 0.62 + 0.38 * wave(self.seed, _CELLS, across_km / 8.0)
        burst = self.peak_mm_h * bump(ahead_km, self.width_km) * cell
        # Behind it, a weaker rain that fades over some 40 km.
        after = 4.0 * cell * math.exp(ahead_km / 20.0) if ahead_km < -self.width_km else 0.0
        return burst + after if burst + after >= 0.2 else 0.0

    def rain_over_mm(self, x_km: float, y_km: float, from_ms: int, to_ms: int, step_ms: int = 360_000) -> float:
        """Amount that fell between two times."""
        total, at = 0.0, from_ms
        while at < to_ms:
            width = min(step_ms, to_ms - at)
            total += self.rain_mm_h(x_km, y_km, at + width // 2) * width / HOUR_MS
            at += width
        return total

    def arrival_ms(self, x_km: float, y_km: float) -> int:
        """When the middle of the front is at the place."""
        along_km = x_km * self.heading[0] + y_km * self.heading[1]
        return self.crossing_ms + int(along_km / self.speed_km_h * HOUR_MS)

    def smog(self, ts_ms: int) -> float:
        """0 on a clear day to 1 at the worst hour (about 05:00) of the night before the anchor."""
        # The middle of the last night that is over at the anchor.
        anchor_local = self.anchor_ms + LOCAL_OFFSET_MS
        middle = anchor_local - (anchor_local - 5 * HOUR_MS) % DAY_MS - LOCAL_OFFSET_MS
        return bump((ts_ms - middle) / HOUR_MS, 4.0)

    def temperature_cel(self, ts_ms: int, rain_mm_h: float) -> float:
        day_of_year = (ts_ms // DAY_MS) % 365
        position = (day_of_year - 15) / 30.4
        month = math.floor(position)
        part = position - month
        mean = _MONTHLY_CEL[month % 12] * (1 - part) + _MONTHLY_CEL[(month + 1) % 12] * part
        daily = 3.6 * math.cos((local_hour(ts_ms) - 14.0) / 24.0 * 2 * math.pi)
        return mean + daily - 4.5 * (1 - math.exp(-rain_mm_h / 15.0))
