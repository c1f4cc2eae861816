"""The live screen of operations, facts and logs: redrawn on a terminal, else printed anew."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from examples.demo_driver.facts import Fact, facts
from examples.demo_driver.waiting import stopped_within
from otel_studio import api
from otel_studio.api import ServiceSummary

#: Seconds between two tables where they cannot be redrawn in place.
PLAIN_INTERVAL = 5.0
LIVE_INTERVAL = 0.5
#: Lines of a terminal that are neither rows nor facts: addresses, headings, log records.
OTHER_LINES = 12
#: A log record's time, the beginning of its trace's id, and what it says.
LOG_FORMAT = "%(asctime)s %(trace_id)-8.8s %(levelname)s %(message)s"
CONTRIB_PREFIX = "opentelemetry.instrumentation."


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
    return records


class Screen:
    """Shows the operations while the load runs.

    Args:
        console: where to.
        records: shown below the table.
    """

    def __init__(self, console: Console, records: LastRecords) -> None:
        self._console = console
        self._records = records

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
        table = operations_table(
            api.get_all_metrics(), max(rows, 1) if self._console.is_terminal else None
        )
        records = Text("\n".join(self._records.lines()), "dim", no_wrap=True, overflow="ellipsis")
        return Group(table, *map(fact_line, known), records)


def fact_line(fact: Fact) -> Text:
    """Return one line that says something beside the table."""
    label, words = fact
    beside = plain(words)
    return Text.assemble((f"{label:<8} ", "bold"), beside, no_wrap=True, overflow="ellipsis")


def operations_table(services: Iterable[ServiceSummary], most_rows: int | None = None) -> Table:
    """Return the operations as a table of at most 80 columns.

    Args:
        services: from `api.get_all_metrics()`.
        most_rows: show only so many operations, those with the most runs.
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    table.add_column("service", no_wrap=True, max_width=15)
    table.add_column("operation", no_wrap=True, max_width=25)
    for heading in ("count", "errors", "active", "p50", "p95", "p99"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=5)
    operations = [
        (short_name(summary.service_name), name, metrics)
        for summary in services
        for name, metrics in summary.operation_metrics.items()
    ]
    shown = sorted(operations, key=lambda row: row[2].count, reverse=True)[:most_rows]
    for service, name, metrics in sorted(shown, key=lambda row: row[:2]):
        table.add_row(
            Text(plain(service), "cyan"),
            Text(plain(name)),  # no markup, whatever is in it
            str(metrics.count),
            Text(str(metrics.errors), "red" if metrics.errors else "dim"),
            Text(str(metrics.active), "green" if metrics.active else "dim"),
            *map(
                milliseconds,
                (metrics.p50_duration_ms, metrics.p95_duration_ms, metrics.p99_duration_ms),
            ),
        )
    hidden = len(operations) - len(shown)
    table.caption = "durations in ms" + (f"; {hidden} more operations" if hidden else "")
    return table


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
