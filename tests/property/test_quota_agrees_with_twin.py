"""Quotas: the buckets agree with a twin that counts anew, and hold every sender to its rate in the long run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext.telemetry.index import DeviceIndex
from ext.telemetry.quota import Quota
from tests.support.quota_twin import QuotaTwin

# Of the kind that no sum of steps pays for exactly, nor for the most that can be owed: there the two may differ by the
# last bit.
RATES = st.tuples(
    st.sampled_from([0, 0.37, 9.7, 1.01e6]), st.sampled_from([0, 19.3, 1.013e5]), st.sampled_from([0, 0.1, 5])
)
STEPS = st.lists(
    st.tuples(st.sampled_from([0, 0.00137, 0.5113, 29.773]), st.sampled_from([0, 1, 100, 1 << 28]), st.booleans()),
    max_size=60,
)
NOBODY = (0, 0, 0)


@given(RATES, STEPS, st.sampled_from([0, 5, 5000]))
def test_it_agrees_with_its_twin(rate, steps, slot):
    quota, twin = Quota(DeviceIndex(), rate, NOBODY), QuotaTwin(*rate)
    now_s = 1000.0
    for passed_s, size_bytes, is_taken in steps:
        now_s += passed_s
        found = quota.charge_at(slot, size_bytes, now_s, is_taken)
        assert found == pytest.approx(twin.charge(size_bytes, now_s, is_taken), abs=1e-6)
        assert quota.charge_at(slot + 1, 0, 0.0, False) >= 0, "another sender's bucket is another"


@given(st.integers(1, 50), st.integers(0, 10))
def test_in_the_long_run_no_more_than_rate_and_burst_come_through(per_s, burst_s):
    quota = Quota(DeviceIndex(), (per_s, 0, burst_s), NOBODY)
    seconds, taken = 30, 0
    for tick in range(seconds * 100):
        taken += quota.charge_at(0, 10, 500 + tick / 100, False) == 0
    assert taken <= per_s * (seconds + burst_s) + 2
    # One that is refused comes again at the next tick.
    assert taken >= per_s * seconds / (1 + per_s / 100) - 2


def test_a_negative_rate_is_refused():
    with pytest.raises(ValueError, match="negative"):
        Quota(DeviceIndex(), (-1, 0, 0), NOBODY)
