"""Names that are not clean text: one service, one operation, found under either spelling."""

from __future__ import annotations

import otel_studio
from otel_studio import api

RAW, CLEAN = "caf\udce9\x1b", "caf��"


def test_a_service_is_one_under_its_raw_and_its_clean_name() -> None:
    """The same object, and the queries answer for both."""
    with otel_studio.isolated():
        raw, clean = otel_studio.service(RAW), otel_studio.service(CLEAN)
        assert raw is clean
        assert raw.name == CLEAN
        raw.record_operation(RAW, 1)
        clean.record_operation(CLEAN, 1)
        (summary,) = api.get_all_metrics()
        assert summary.operation_metrics[CLEAN].count == 2
        assert api.get_service_metrics(RAW) is not None
        assert api.get_service_metrics(CLEAN) is not None
        assert len(api.get_recent_operations(RAW, RAW)) == 2
        assert sum(bucket.count for bucket in api.get_latency_buckets(RAW, RAW)) == 2
        api.reset_service_metrics(RAW)
        assert api.get_recent_operations(CLEAN) == []


def test_a_cache_is_one_under_its_raw_and_its_clean_name() -> None:
    """Its hits are added, and its keys are text that can be shown."""
    with otel_studio.isolated():
        otel_studio.cache(RAW, service=RAW).hit("key\udce9")
        otel_studio.cache(CLEAN, service=CLEAN).hit("key\udce9")
        (found,) = api.get_cache_performance_metrics(RAW)
        assert (found.cache, found.hits) == (CLEAN, 2)
        assert [key.key for key in found.top_accessed_keys] == ["key�"]


def test_a_decorated_function_has_a_clean_name() -> None:
    """Given or its own; labels and thresholds are declared for the name that is counted."""

    @otel_studio.track(RAW, service=RAW, labels=("tenant",), slow_threshold=5.0)
    def work() -> None: ...

    with otel_studio.isolated() as isolated:
        work()
        assert isolated.operation(CLEAN, CLEAN).count == 1
        assert isolated.studio.declared.labels == {(CLEAN, CLEAN): ("tenant",)}
