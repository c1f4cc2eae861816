"""The live table fits a terminal of 80 columns and hides nothing without saying so."""

from __future__ import annotations

import dataclasses
import logging
from types import SimpleNamespace

import pytest
from rich.console import Console

import otel_studio as studio
from examples.demo_driver.facts import facts
from examples.demo_driver.screen import (
    LastRecords,
    Rates,
    Screen,
    milliseconds,
    operations_table,
)
from otel_studio import api
from otel_studio.registry.operation_records import OperationMetrics, ServiceSummary


def metrics(count: int, duration: float | None = 1_234.5) -> OperationMetrics:
    return OperationMetrics(
        count=count,
        total_duration_ms=0.0,
        min_duration_ms=duration,
        max_duration_ms=duration,
        avg_duration_ms=duration,
        p50_duration_ms=duration,
        p95_duration_ms=duration,
        p99_duration_ms=duration,
        errors=count // 10,
        cancelled=0,
        abandoned=0,
        active=2,
        last_error=None,
        last_operation_time=None,
    )


def summary(name: str, operations: dict[str, OperationMetrics]) -> ServiceSummary:
    return ServiceSummary(
        service_name=name,
        uptime_seconds=60.0,
        total_operations=0,
        total_errors=0,
        active_operations=0,
        operations_per_second=0.0,
        error_rate=0.0,
        operation_metrics=operations,
    )


def printed(services: list[ServiceSummary], most_rows: int | None = None) -> list[str]:
    console = Console(width=80, force_terminal=False)
    with console.capture() as capture:
        console.print(operations_table(services, most_rows))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_the_widest_rows_keep_their_figures_in_80_columns() -> None:
    """Long names are cut; counts and durations are not."""
    long_name = "a_service_with_a_rather_long_name"
    services = [summary(long_name, {"GET /a/path/{with}/several/{parts}": metrics(999_999)})]
    lines = printed(services)
    assert max(map(len, lines)) <= 80
    (row,) = [line for line in lines if line.startswith("a_service")]
    assert row.split()[-8:] == ["999999", "-", "99999", "0", "2", "1234", "1234", "1234"]


def test_what_does_not_fit_is_counted() -> None:
    """With little room what fails comes first, then what is slow; the others are said to exist."""
    services = [
        summary(
            "cache",
            {
                "busy": metrics(9, 1.0),
                "slow": metrics(5, 900.0),
                "failing": metrics(20, 2.0),
                "idle": metrics(1, 3.0),
            },
        )
    ]
    lines = printed(services, most_rows=2)
    rows = [line.split()[1] for line in lines if line.startswith("cache")]
    assert rows == ["failing", "slow"]
    assert "2 more operations" in "\n".join(lines)


def test_the_totals_agree_with_the_rows() -> None:
    """Count, rate, errors, cancelled and active runs, those of hidden operations included."""
    clock = [100.0]
    rates = Rates(lambda: clock[0])
    before = [summary("a", {"x": metrics(10), "y": metrics(20)})]
    assert rates.after(before) == {}
    clock[0] += 5
    cancelled = dataclasses.replace(metrics(40), cancelled=3)
    services = [summary("a", {"x": metrics(20), "y": cancelled})]
    found = rates.after(services)
    assert found == {("a", "x"): 2.0, ("a", "y"): 4.0}
    for most in (None, 1):
        console = Console(width=80, force_terminal=False)
        with console.capture() as capture:
            console.print(operations_table(services, most, found))
        (total,) = [line for line in capture.get().splitlines() if line.startswith("all")]
        assert total.split() == ["all", "2", "operations", "60", "6.0", "6", "3", "4"]


def test_rates_look_back_some_seconds() -> None:
    """Not to the beginning: what stopped long ago has a rate of zero."""
    clock, count = [0.0], 0
    rates = Rates(lambda: clock[0])
    for second in range(60):
        clock[0] = float(second)
        count += 10 if second < 30 else 0
        found = rates.after([summary("a", {"x": metrics(count)})])
    assert found == {("a", "x"): 0.0}


def test_contrib_services_are_called_by_their_short_name() -> None:
    """The common prefix of OpenTelemetry's instrumentations would fill the column."""
    lines = printed([summary("opentelemetry.instrumentation.fastapi", {"GET /": metrics(1)})])
    assert any(line.startswith("fastapi ") for line in lines)


@pytest.mark.parametrize(
    ("duration", "text"),
    [(None, "-"), (0.0123, "0.01"), (9.99, "9.99"), (12.34, "12.3"), (1234.5, "1234")],
)
def test_durations_have_about_three_digits(duration: float | None, text: str) -> None:
    """An operation that never ran has a dash, not a zero."""
    assert milliseconds(duration) == text


def test_only_the_last_log_records_are_shown() -> None:
    """Each record is one line with the beginning of its trace's id, and old ones go."""
    records = LastRecords(limit=3)
    with studio.isolated(logging=True) as isolated:
        logger = logging.getLogger("shop")
        logger.addHandler(records)
        try:
            for message in ("first", "second\nand its stack", "third"):
                logger.warning(message)
            with studio.service("shop").operation("pay"):
                logger.warning("fourth")
            (span,) = isolated.spans
        finally:
            logger.removeHandler(records)
    said = [line.split(" ", 1)[1] for line in records.lines()]
    trace = f"{span.context.trace_id:032x}"[:8]
    nothing = " " * 8
    assert said == [
        f"{nothing} WARNING second",
        f"{nothing} WARNING third",
        f"{trace} WARNING fourth",
    ]


def test_the_screen_of_a_service_fits_80_by_24() -> None:
    """Table, facts and log records leave room for the four lines of addresses above them."""
    console = Console(width=80, height=24, force_terminal=True, color_system=None)
    records = LastRecords()
    with studio.isolated(gpu=False):
        for number in range(40):
            studio.service("shop").record_operation(f"operation {number}", duration=0.01)
        studio.cache("a cache with rather a long name", service="shop").hit("a")
        studio.service("a service with a long name").track_memory(lambda: 123_456_789)
        for _ in range(9):
            records.handle(logging.LogRecord("shop", 30, "", 0, "many words " * 20, None, None))
        with console.capture() as capture:
            console.print(Screen(console, records).picture())
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 20
    text = "\n".join(lines)
    assert "a cache with rather a long name: 100% hits, 100% in the last minute" in text
    assert "a service with a long name 123 MB" in text
    assert "more operations" in text


def test_gpus_have_a_line_where_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the driver does not say is a dash, and no card is no line."""
    card = SimpleNamespace(name="A card", gpu_utilization_percent=37.0, memory_used_mb=512.0)
    other = SimpleNamespace(name="B card", gpu_utilization_percent=None, memory_used_mb=None)
    with studio.isolated(gpu=False):
        assert "gpu" not in dict(facts())
        monkeypatch.setattr(api, "get_gpu_utilization_metrics", lambda: [card, other])
        said = [words for label, words in facts() if label == "gpu"]
    assert said == ["A card: 37 %, 512 MB used", "B card: - %, - MB used"]


def test_names_are_no_markup_and_no_commands() -> None:
    """What would be a style or an escape of the terminal is shown as the text that it is."""
    names = {"[bold]x[/bold] :smile:": metrics(10), "b\x1b[31m\x9b\udce9": metrics(9)}
    text = "\n".join(printed([summary("[red]a[/]", names)]))
    assert "[red]a[/]" in text
    assert "[bold]x[/bold] :smile:" in text
    assert "b�[31m��" in text


def test_records_are_no_commands_either() -> None:
    """A log message with escapes, or of a name that is no Unicode, is one harmless line."""
    records = LastRecords()
    record = logging.makeLogRecord({"msg": "red \x1b[31m\x07 \udce9\nmore", "trace_id": "0" * 32})
    records.emit(record)
    (line,) = records.lines()
    assert line.endswith("red �[31m� �")
