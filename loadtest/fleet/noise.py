"""Randomness as a function: the same seed, key and step give the same number in every process and in any order."""

from math import floor
from zlib import crc32

_MASK = (1 << 64) - 1


def key_of(text: str) -> int:
    """A stable number for a name (Python's own `hash` changes from process to process)."""
    return crc32(text.encode())


def unit(seed: int, key: int, step: int) -> float:
    """Uniform in [0, 1). Source: the finalizer of SplitMix64 (Steele, Lea, Flood 2014)."""
    z = (seed * 0x9E3779B97F4A7C15 + key * 0xD1B54A32D192ED03 + step * 0x8CB92BA72F3D8DD7 + 0x632BE59BD9B4E019) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return (z ^ (z >> 31)) / 2.0**64


def spread(seed: int, key: int, step: int, low: float, high: float) -> float:
    """Uniform between `low` and `high`."""
    return low + (high - low) * unit(seed, key, step)


def wave(seed: int, key: int, position: float) -> float:
    """Smooth noise in [-1, 1] along `position`: one independent value at every whole number, eased between them."""
    whole = floor(position)
    part = position - whole
    ease = part * part * (3.0 - 2.0 * part)
    left, right = unit(seed, key, whole), unit(seed, key, whole + 1)
    return 2.0 * (left + (right - left) * ease) - 1.0
