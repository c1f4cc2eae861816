"""What operations allocate is measured where the setting asks for it, in the run's own thread."""

from __future__ import annotations

import otel_studio
from otel_studio import api
from otel_studio.testing.isolation import isolated


def test_runs_are_measured_by_operation_when_asked_for() -> None:
    """With one run in one sampled, an operation that keeps memory shows what it kept."""
    kept: list[list[object]] = []
    with isolated(sample_allocations=1) as s:
        shop = otel_studio.service("shop")
        for _ in range(5):
            with shop.operation("keep"):
                kept.append([object() for _ in range(20_000)])
            with shop.operation("nothing"):
                pass
        found = {row.operation: row for row in api.get_memory_usage_metrics().operations}
        s.assert_operation("shop", "keep", count=5, active=0)
    assert found["keep"].sampled_runs == 5
    assert found["keep"].allocations is not None
    assert found["keep"].allocations >= 5 * 20_000


def test_nothing_is_measured_unless_asked_for() -> None:
    """By default no run carries the cost."""
    with isolated():
        with otel_studio.service("shop").operation("keep"):
            pass
        assert api.get_memory_usage_metrics().operations == []
