"""The live screen of operations, facts and logs: redrawn on a terminal, else printed anew."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from examples.demo_driver.facts import Fact, facts
from examples.demo_driver.odd_jobs import join_loguru
from examples.demo_driver.waiting import stopped_within
from otel_studio import api
from otel_studio.api import OperationMetrics, ServiceSummary

#: Seconds between two tables where they cannot be redrawn in place.
PLAIN_INTERVAL = 5.0
LIVE_INTERVAL = 0.5
#: Seconds that the rate of an operation looks back.
RATE_SECONDS = 10.0
#: Lines of a terminal that are neither rows nor facts: addresses, headings, log records.
OTHER_LINES = 13
#: A log record's time, the beginning of its trace's id, and what it says.
LOG_FORMAT = "%(asctime)s %(trace_id)-8.8s %(levelname)s %(message)s"
CONTRIB_PREFIX = "opentelemetry.instrumentation."
#: Service and operation.
Key = tuple[str, str]


class LastRecords(logging.Handler):
    """Keeps the last log records for the screen.

    Args:
        limit: how many.
    """

    def __init__(self, limit: int = 4) -> None:
        super().__init__()
        self._lines: deque[str] = deque(maxlen=limit)
        outside_of_any_trace = {"trace_id": ""}
        self.setFormatter(logging.Formatter(LOG_FORMAT, "%H:%M:%S", defaults=outside_of_any_trace))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record, the oldest one going."""
        self._lines.append(plain(self.format(record).partition("\n")[0]))

    def lines(self) -> list[str]:
        """Return the records as lines, the newest last."""
        return list(self._lines)


def keep_last_records() -> LastRecords:
    """Send what is logged from INFO on to the screen, and return where it is kept."""
    records = LastRecords()
    logging.basicConfig(level=logging.INFO, handlers=[records])
    # The load's own client would say every request.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    join_loguru()
    return records


class Screen:
    """Shows the operations while the load runs.

    Args:
        console: where to.
        records: shown below the table.
        now: returns the time in seconds, for the rates.
    """

    def __init__(
        self,
        console: Console,
        records: LastRecords,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._records = records
        self._rates = Rates(now)

    async def run(self, stop: asyncio.Event) -> None:
        """Show the table until told to stop.

        Args:
            stop: ends it.
        """
        if not self._console.is_terminal:
            while not await stopped_within(stop, PLAIN_INTERVAL):
                self._console.print(self.picture())
            return
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            while not await stopped_within(stop, LIVE_INTERVAL):
                live.update(self.picture(), refresh=True)

    def picture(self) -> RenderableType:
        """Return the table of now, the facts beside it, and the last log records."""
        known = facts()
        rows = self._console.height - OTHER_LINES - len(known)
        services = api.get_all_metrics()
        table = operations_table(
            services,
            max(rows, 1) if self._console.is_terminal else None,
            self._rates.after(services),
        )
        records = Text("\n".join(self._records.lines()), "dim", no_wrap=True, overflow="ellipsis")
        return Group(table, *map(fact_line, known), records)


class Rates:
    """Tells how often operations ran per second, from the counts that it is shown.

    Args:
        now: returns the time in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._seen: deque[tuple[float, dict[Key, int]]] = deque()

    def after(self, services: Iterable[ServiceSummary]) -> dict[Key, float]:
        """Return the runs per second since the counts of some seconds ago; at first none.

        Args:
            services: from `api.get_all_metrics()`.
        """
        now, counts = self._now(), {key: one.count for key, one in _operations(services)}
        self._seen.append((now, counts))
        while len(self._seen) > 2 and now - self._seen[1][0] >= RATE_SECONDS:
            self._seen.popleft()
        began, before = self._seen[0]
        if now <= began:
            return {}
        return {key: (count - before.get(key, 0)) / (now - began) for key, count in counts.items()}


def rates_over(seconds: float, services: Iterable[ServiceSummary]) -> dict[Key, float]:
    """Return the runs per second of each operation over a whole time.

    Args:
        seconds: how long it was.
        services: from `api.get_all_metrics()`.
    """
    return {key: one.count / seconds for key, one in _operations(services)} if seconds else {}


def _operations(services: Iterable[ServiceSummary]) -> list[tuple[Key, OperationMetrics]]:
    return [
        ((summary.service_name, name), metrics)
        for summary in services
        for name, metrics in summary.operation_metrics.items()
    ]


def fact_line(fact: Fact) -> Text:
    """Return one line that says something beside the table."""
    label, words = fact
    beside = plain(words)
    return Text.assemble((f"{label:<8} ", "bold"), beside, no_wrap=True, overflow="ellipsis")


def operations_table(
    services: Iterable[ServiceSummary],
    most_rows: int | None = None,
    rates: Mapping[Key, float] | None = None,
) -> Table:
    """Return the operations as a table of at most 80 columns, with a line of totals.

    Args:
        services: from `api.get_all_metrics()`.
        most_rows: show only so many operations: those that fail first, then the slowest.
        rates: runs per second, where they are known.
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, show_footer=True)
    operations = _operations(services)
    known = rates or {}
    everything = [metrics for _, metrics in operations]
    table.add_column("service", "all", no_wrap=True, max_width=12)
    table.add_column("operation", f"{len(operations)} operations", no_wrap=True, max_width=22)
    totals = (
        str(sum(one.count for one in everything)),
        per_second(sum(known.values()) if known else None),
        str(sum(one.errors for one in everything)),
        str(sum(one.cancelled for one in everything)),
        str(sum(one.active for one in everything)),
    )
    for heading, total in zip(("count", "/s", "err", "canc", "act"), totals, strict=True):
        table.add_column(heading, total, justify="right", no_wrap=True, min_width=3)
    for heading in ("p50", "p95", "p99"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=5)
    shown = sorted(operations, key=lambda row: row[0])
    if most_rows is not None and most_rows < len(operations):
        shown = sorted(operations, key=_urgency)[:most_rows]
    for (service, name), metrics in shown:
        table.add_row(
            Text(plain(short_name(service)), "cyan"),
            Text(plain(name)),  # no markup, whatever is in it
            str(metrics.count),
            per_second(known.get((service, name))),
            _figure(metrics.errors, "red"),
            _figure(metrics.cancelled, "yellow"),
            _figure(metrics.active, "green"),
            *map(
                milliseconds,
                (metrics.p50_duration_ms, metrics.p95_duration_ms, metrics.p99_duration_ms),
            ),
        )
    hidden = len(operations) - len(shown)
    table.caption = "durations in ms; canc: cancelled" + (
        f"; {hidden} more operations" if hidden else ""
    )
    return table


def _urgency(row: tuple[Key, OperationMetrics]) -> tuple[bool, float, Key]:
    """Return what sorts failing operations to the front, and the slow ones before the others."""
    key, metrics = row
    return not metrics.errors, -(metrics.p95_duration_ms or 0.0), key


def _figure(count: int, style: str) -> Text:
    return Text(str(count), style if count else "dim")


def per_second(rate: float | None) -> str:
    """Return a rate with at most one decimal, or a dash when it is not known."""
    if rate is None:
        return "-"
    return f"{rate:.0f}" if rate >= 100 else f"{rate:.1f}"


def plain(text: str) -> str:
    """Return a line that no terminal obeys: what is not for showing stands as `�`.

    Args:
        text: may hold anything, such as a log message with the escapes of colours.
    """
    return "".join([letter if letter.isprintable() else "�" for letter in text])


def short_name(service: str) -> str:
    """Return a service's name without the prefix that OpenTelemetry's own ones share."""
    return service.removeprefix(CONTRIB_PREFIX)


def milliseconds(duration: float | None) -> str:
    """Return a duration with about three digits, or a dash when there is none.

    Args:
        duration: in milliseconds.
    """
    if duration is None:
        return "-"
    if duration >= 100:
        return f"{duration:.0f}"
    return f"{duration:.1f}" if duration >= 10 else f"{duration:.2f}"
