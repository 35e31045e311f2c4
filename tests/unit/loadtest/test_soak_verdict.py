"""What the soak calls flat: noise, saw teeth and single peaks are; a slow leak is not."""

import random

import pytest

from loadtest.soak.verdict import Allowed, judge

ALLOWED = Allowed(0.05, 8)
NOISE = random.Random(1)
TIMES = [float(second) for second in range(0, 1800, 2)]
SERIES = {
    "noise": [(t, 300 + NOISE.gauss(0, 10)) for t in TIMES],
    "saw teeth": [(t, 20 + t % 60) for t in TIMES],
    "peaks": [(t, 900.0 if t % 200 == 0 else 300.0) for t in TIMES],
    "falls": [(t, 500 - t / 10) for t in TIMES],
    "a step in the last moments": [(t, 300.0 if t < 1700 else 340.0) for t in TIMES],
}


@pytest.mark.parametrize("name", SERIES)
def test_what_does_not_grow_is_flat(name):
    assert judge(name, "MB", SERIES[name], ALLOWED).is_flat


@pytest.mark.parametrize("per_hour", [60, 200, 1000])
def test_a_leak_is_found_in_noise(per_hour):
    samples = [(t, 300 + per_hour * t / 3600 + NOISE.gauss(0, 10)) for t in TIMES]
    verdict = judge("leak", "MB", samples, ALLOWED)
    assert not verdict.is_flat
    assert verdict.per_hour == pytest.approx(per_hour, rel=0.2)


def test_growth_within_what_is_allowed_is_flat():
    assert judge("small", "files", [(t, 40 + 7 * t / 1800) for t in TIMES], ALLOWED).is_flat


def test_two_samples_are_enough_to_judge():
    assert judge("two", "files", [(0.0, 1.0), (10.0, 1.0)], ALLOWED).is_flat
