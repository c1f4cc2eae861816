"""The demo's last screen: where time went, one line per kind of error, and what has a source."""

from __future__ import annotations

import logging
from collections import Counter
from types import SimpleNamespace

import pytest
from rich.console import Console

import otel_studio as studio
from examples.demo_driver import summary
from otel_studio import api
from otel_studio.base.clock import ManualClock


def summed_up() -> str:
    console = Console(width=80, force_terminal=False)
    with console.capture() as capture:
        summary.print_summary(
            console, 5.0, Counter({"200": 3, "422": 1}), api.get_memory_usage_metrics()
        )
    return capture.get()


def test_the_slowest_run_is_split_and_its_error_is_told_once() -> None:
    """A failure that passes through two operations is one kind of error in both."""
    clock = ManualClock()
    shop = studio.service("shop")
    with studio.isolated(clock=clock):
        with pytest.raises(OSError, match="disk full"), shop.operation("order"):  # noqa: PT012
            clock.advance(0.5)
            with shop.operation("pay"):
                clock.advance(1.5)
                raise OSError("disk full")
        text = summed_up()
    assert "4 requests in 5.0 s: 3 x 200, 1 x 422" in text
    assert "2000.0 ms  shop  order\n            1500  1 x shop  pay\n" in text
    assert "Errors: 2 of 2 operations" in text
    assert text.count("OSError in ") == 1
    assert "1 x shop  order\n" in text
    assert "1 x shop  pay\n" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_cache_without_reads_has_no_hit_rate() -> None:
    """Nothing is divided by nothing."""
    with studio.isolated():
        studio.cache("covers", service="shop").set("a", size=10)
        assert "covers: no reads (0 hits, 0 misses), 0 evictions" in summed_up()


def test_a_failed_run_is_shown_with_its_trace_and_its_log_records() -> None:
    """Records are counted by level, and the last failure's are told with the id to look up."""
    with studio.isolated(logging=True) as isolated:
        with pytest.raises(OSError, match="full"), studio.service("shop").operation("pay"):  # noqa: PT012
            logging.getLogger("shop").warning("only 3 blocks are left")
            raise OSError("disk full")
        trace = f"{isolated.spans[0].context.trace_id:032x}"
        text = summed_up()
    assert f"Logs: 1 WARNING\n    trace {trace}, shop  pay\n" in text
    assert "WARNING only 3 blocks are left" in text
    assert max(map(len, text.splitlines())) <= 80


def test_gpus_are_shown_where_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure that the driver does not give is a dash; without a card there is no heading."""
    with studio.isolated():
        monkeypatch.setattr(api, "get_gpu_utilization_metrics", list)
        assert "GPUs" not in summed_up()
        card = SimpleNamespace(name="A card", gpu_utilization_percent=37.0, memory_used_mb=512.0)
        other = SimpleNamespace(name="B card", gpu_utilization_percent=None, memory_used_mb=None)
        monkeypatch.setattr(api, "get_gpu_utilization_metrics", lambda: [card, other])
        text = summed_up()
    assert "      37 %   A card, 512.00 MB used" in text
    assert "       - %   B card, - MB used" in text
