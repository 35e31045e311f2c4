"""What each kind of device measures: a pure function of seed, device and time."""

import math
from collections.abc import Callable
from functools import lru_cache

from loadtest.fleet.devices import AIR, GATEWAY, METRICS, RAIN, RIVER, STREET, TRAFFIC, CityDevice
from loadtest.fleet.noise import spread, unit, wave
from loadtest.fleet.weather import HOUR_MS, Weather, bump, is_weekend, local_hour

# Rain that a street's drains swallow; what falls faster stands on the street (Hanoi floods from 50 mm in 2 hours on).
DRAINED_MM_H = 26.0
FLOOD_MEMORY_MS = 8 * HOUR_MS
FLOOD_STEP_MS = HOUR_MS // 6


class City:
    """`City(seed, anchor_ms).measure(device, ts_ms, interval_s)` gives the device's values in the order of METRICS."""

    def __init__(self, seed: int, anchor_ms: int) -> None:
        self.seed = seed
        self.weather = Weather.of(seed, anchor_ms)
        self.anchor_ms = anchor_ms
        self._kinds: dict[str, Callable[[CityDevice, int, int], tuple[float, ...]]] = {
            GATEWAY: self._gateway,
            RIVER: self._river,
            STREET: self._street,
            RAIN: self._rain,
            AIR: self._air,
            TRAFFIC: self._traffic,
        }
        self._excess_mm = lru_cache(maxsize=200_000)(self._excess_of)

    def measure(self, device: CityDevice, ts_ms: int, interval_s: int) -> tuple[float, ...]:
        """Values of `METRICS[device.device_type]`; amounts and counts are of the interval that ends at `ts_ms`."""
        return self._kinds[device.device_type](device, ts_ms, interval_s)

    def _rain(self, device: CityDevice, ts_ms: int, interval_s: int) -> tuple[float, ...]:
        amount = self.weather.rain_over_mm(device.x_km, device.y_km, ts_ms - interval_s * 1000, ts_ms)
        return (round(amount * spread(self.seed, device.key, 1, 0.93, 1.07), 2),)

    def flood_mm(self, device: CityDevice, ts_ms: int) -> float:
        """Water on the street: fills with what the drains cannot take, runs off over one to two hours."""
        since_front_ms = ts_ms - self.weather.arrival_ms(device.x_km, device.y_km)
        if not -2 * HOUR_MS < since_front_ms < FLOOD_MEMORY_MS + 2 * HOUR_MS:
            return 0.0
        drain_ms = spread(self.seed, device.key, 2, 0.7, 1.6) * HOUR_MS
        prone = unit(self.seed, device.key, 3) ** 3  # most streets stay nearly dry, a few are known for it
        step = ts_ms // FLOOD_STEP_MS
        standing = 0.0
        # Whole steps of fixed times, so that every moment sees the same past rain, and the running one in part.
        for past in range(step - FLOOD_MEMORY_MS // FLOOD_STEP_MS, step + 1):
            excess = self._excess_mm(device.x_km, device.y_km, past)
            if excess:
                age_ms = ts_ms - past * FLOOD_STEP_MS
                part = min(1.0, age_ms / FLOOD_STEP_MS)
                standing += excess * part * math.exp(-age_ms / drain_ms)
        return 26.0 * prone * standing

    def _excess_of(self, x_km: float, y_km: float, step: int) -> float:
        return max(0.0, self.weather.rain_mm_h(x_km, y_km, step * FLOOD_STEP_MS) - DRAINED_MM_H) / 6.0

    def _street(self, device: CityDevice, ts_ms: int, _: int) -> tuple[float, ...]:
        depth = self.flood_mm(device, ts_ms)
        if depth < 4.0:  # below the gauge's threshold
            return (0.0,)
        return (float(round(min(1200.0, depth * (1.0 + 0.03 * wave(self.seed, device.key, ts_ms / 120_000))))),)

    def _river(self, device: CityDevice, ts_ms: int, _: int) -> tuple[float, ...]:
        gauge = device.gauge
        assert gauge is not None
        hours = (ts_ms - self.anchor_ms) / HOUR_MS
        slow = 0.12 * wave(self.seed, device.key, ts_ms / (9 * HOUR_MS))
        ripple = 0.015 * wave(self.seed, device.key + 1, ts_ms / 240_000)
        first_alarm = next((level for level in gauge.alarms_m if level is not None), None)
        if first_alarm is None:
            # A city canal: half a day's local rain, an hour late.
            began = max(self.weather.arrival_ms(device.x_km, device.y_km) - 2 * HOUR_MS, ts_ms - 12 * HOUR_MS)
            fallen = self.weather.rain_over_mm(device.x_km, device.y_km, began, max(began, ts_ms - HOUR_MS // 2))
            return (round(gauge.usual_m + slow + ripple + 0.018 * fallen, 3),)
        # A flood wave from upstream: rises over a day, peaks some hours after the anchor, falls over two days.
        reach = spread(self.seed, device.key, 4, 0.82, 1.16)
        peak_h = spread(self.seed, device.key, 5, -1.0, 6.0)
        width_h = 11.0 if hours < peak_h else 26.0
        rise = (first_alarm - gauge.usual_m) * reach * bump(hours - peak_h, width_h)
        return (round(gauge.usual_m + slow + ripple + rise, 3),)

    def _air(self, device: CityDevice, ts_ms: int, _: int) -> tuple[float, ...]:
        weather, seed, key = self.weather, self.seed, device.key
        hour = local_hour(ts_ms)
        rain = weather.rain_mm_h(device.x_km, device.y_km, ts_ms)
        fallen_h = (ts_ms - weather.arrival_ms(device.x_km, device.y_km)) / HOUR_MS
        washed = 1.0 - 0.65 * math.exp(-fallen_h / 7.0) if fallen_h > 0 else 1.0
        rush = 9.0 * bump(hour - 7.8, 1.3) + 11.0 * bump(hour - 19.5, 2.0)
        urban = 1.0 if device.spot.is_urban else 0.72
        local = spread(seed, key, 6, 0.8, 1.25) * (1.0 + 0.18 * wave(seed, key, ts_ms / (2.5 * HOUR_MS)))
        fine = (21.0 + rush + 125.0 * weather.smog(ts_ms)) * urban * local * washed
        fine = max(1.0, fine + 1.2 * wave(seed, key + 1, ts_ms / 90_000))
        coarse = fine * spread(seed, key, 7, 1.3, 1.6) + 8.0 * urban * washed
        warmth = weather.temperature_cel(ts_ms, rain) + spread(seed, key, 8, -0.6, 0.6)
        damp = 72.0 - 2.4 * 3.6 * math.cos((hour - 14.0) / 24.0 * 2 * math.pi) + 24.0 * (1 - math.exp(-rain / 4.0))
        damp = min(99.0, max(35.0, damp + 3.0 * wave(seed, key + 2, ts_ms / HOUR_MS)))
        return (round(fine, 1), round(coarse, 1), round(warmth, 2), round(damp, 1))

    def _traffic(self, device: CityDevice, ts_ms: int, interval_s: int) -> tuple[float, ...]:
        seed, key = self.seed, device.key
        demand = demand_share(ts_ms) * spread(seed, key, 9, 0.7, 1.18) * (1.0 if device.spot.is_urban else 0.7)
        demand *= 1.0 + 0.08 * wave(seed, key, ts_ms / 420_000)
        free_km_h = spread(seed, key, 10, 32.0, 58.0)
        rain = self.weather.rain_mm_h(device.x_km, device.y_km, ts_ms)
        slick = 1.0 - 0.35 * (1.0 - math.exp(-rain / 20.0))
        flooded = 1.0 / (1.0 + self.flood_mm(device, ts_ms) / 120.0)
        crowd = min(1.35, demand)
        speed = free_km_h * slick * flooded * (1.0 - 0.68 * min(1.0, crowd) ** 3) / max(1.0, crowd)
        speed = max(2.5, speed * (1.0 + 0.05 * wave(seed, key + 1, ts_ms / 60_000)))
        # Flow falls again when the street is jammed.
        flow_h = spread(seed, key, 11, 1_800.0, 5_200.0) * min(1.0, crowd) * min(1.0, 0.35 + speed / free_km_h)
        count = round(flow_h * interval_s / 3600.0)
        occupancy = min(96.0, 1.5 + 38.0 * demand * (free_km_h / speed) ** 0.5 * 0.55)
        return (float(count), round(speed, 1), round(occupancy, 1))

    def _gateway(self, device: CityDevice, ts_ms: int, _: int) -> tuple[float, ...]:
        weather, seed, key = self.weather, self.seed, device.key
        rain = weather.rain_mm_h(device.x_km, device.y_km, ts_ms)
        battery = 100.0
        if unit(seed, key, 12) < 0.08:  # the storm cuts the mains of some, for hours
            dark_h = (ts_ms - weather.arrival_ms(device.x_km, device.y_km)) / HOUR_MS
            battery = max(12.0, 100.0 - 11.0 * max(0.0, dark_h))
        signal = spread(seed, key, 13, -96.0, -62.0) - 0.06 * rain + 2.5 * wave(seed, key, ts_ms / 300_000)
        cabinet = weather.temperature_cel(ts_ms, rain) + 7.0 + 1.5 * wave(seed, key + 1, ts_ms / HOUR_MS)
        return (round(battery, 1), float(round(signal)), round(cabinet, 1))


def demand_share(ts_ms: int) -> float:
    """Traffic demand as a share of capacity: two rush hours on working days, one long hump at the weekend."""
    hour = local_hour(ts_ms)
    base = 0.08 + 0.34 * bump(hour - 13.5, 5.0)
    if is_weekend(ts_ms):
        return base + 0.25 * bump(hour - 17.0, 3.5)
    return base + 0.72 * bump(hour - 7.8, 0.9) + 0.8 * bump(hour - 17.8, 1.2)


def metric_names(device: CityDevice) -> tuple[str, ...]:
    return METRICS[device.device_type]
