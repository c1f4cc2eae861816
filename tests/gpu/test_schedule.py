"""The tiers keep to their grid, for eight hours and when readings are late."""

from __future__ import annotations

import gc
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_nvml import FakeDriver
from otel_studio.base.clock import ManualClock
from otel_studio.gpu.monitor import GpuMonitor
from otel_studio.gpu.schedule import Schedule, Tier

import proving

_SECOND = 1_000_000_000


@given(st.lists(st.integers(min_value=0, max_value=200 * _SECOND), max_size=60))
def test_readings_stay_on_the_grid(steps: list[int]) -> None:
    """Whatever the delays, no period is read twice, none is made up for, and none drifts."""
    schedule = Schedule()
    start = now = 12_345
    periods: dict[Tier, list[int]] = {tier: [] for tier in Tier}
    for step in steps:
        now += step
        for tier in schedule.due(now):
            first = start + (steps[0] if steps else 0)
            periods[tier].append((now - first) // tier.period_ns)
        wait = schedule.wait_ns(now)
        assert 0 < wait <= _SECOND
        assert (now + wait - start - steps[0]) % _SECOND == 0
    for numbers in periods.values():
        assert numbers == sorted(set(numbers))


@pytest.mark.patient
@pytest.mark.prove
def test_eight_hours(driver: FakeDriver, monitor: GpuMonitor, clock: ManualClock) -> None:
    """In eight hours every tier is read exactly as often as it is due, in the same memory."""
    driver.change({"count": 1})
    later = proving.scaled(7, 7)
    hours = 1 + later
    for _ in range(3_600):
        clock.advance(monitor.sample() or 0)
    gc.collect()
    blocks = sys.getallocatedblocks()
    for _ in range(later * 3_600):
        clock.advance(monitor.sample() or 0)
    gc.collect()
    fast, medium, slow = 3_600 * hours, 720 * hours, 60 * hours
    assert dict(monitor.batches) == {Tier.FAST: fast, Tier.MEDIUM: medium, Tier.SLOW: slow}
    assert driver.calls("nvmlDeviceGetUtilizationRates") == fast
    assert driver.calls("nvmlDeviceGetEncoderStats") == medium
    assert driver.calls("nvmlDeviceGetFieldValues") == slow
    assert clock.monotonic_ns() == (1 + hours * 3_600) * _SECOND
    assert sys.getallocatedblocks() - blocks < 1_000


def test_a_late_reading_is_not_made_up_for(
    driver: FakeDriver, monitor: GpuMonitor, clock: ManualClock
) -> None:
    """After a pause of 7.3 s the fast tier is read once, and the next is due on the old grid."""
    monitor.sample()
    clock.advance(7.3)
    assert monitor.sample() == 0.7
    assert dict(monitor.batches) == {Tier.FAST: 2, Tier.MEDIUM: 2, Tier.SLOW: 1}


def test_old_readings_are_not_shown(
    driver: FakeDriver, monitor: GpuMonitor, clock: ManualClock
) -> None:
    """A figure that was not read for a while is not current any more, and nor is the status."""
    monitor.sample()
    clock.advance(10)
    assert monitor.utilization_metrics()[0].temperature_celsius == 61
    clock.advance(1)
    card = monitor.utilization_metrics()[0]
    assert (card.temperature_celsius, card.sampled_at) == (None, None)
    assert (card.status, card.status_reason) == (None, "the driver has not answered lately")
    assert card.active_encoders == 2
    clock.advance(5)
    assert monitor.utilization_metrics()[0].active_encoders is None
    assert monitor.utilization_metrics()[1].ecc_errors_corrected == 17
    clock.advance(180)
    assert monitor.utilization_metrics()[1].ecc_errors_corrected is None
